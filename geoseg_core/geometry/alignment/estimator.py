"""The scale over time: a Kalman filter on its logarithm, with the states UNKNOWN, ESTIMATED and LOCKED.

The network's unit, though carried from set to set (unit.py), is not quite the same in each, so the filter lets it
drift. The rules:
- UNKNOWN becomes ESTIMATED once the relative standard deviation is at most `usable_deviation`, and ESTIMATED becomes
  UNKNOWN when it is more, as it will be some time after the last measurement.
- ESTIMATED becomes LOCKED once the deviation was at most `lock_deviation` in `lock_sets` measured sets in a row, and
  LOCKED becomes ESTIMATED when it is more, or while the drift alarm is on (see drift.py).
- A measurement that lies more than `gate` standard deviations off is not believed, `restart_sets` times in a row; the
  next one begins the filter anew.
"""

from dataclasses import dataclass

import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.alignment.measurement import ScaleMeasurement
from geoseg_core.results import ScaleState, ScaleStatus


@dataclass(frozen=True)
class ScaleConfig:
    """How scales are fused over time."""

    change: float = setting(0.005, "how much the carried unit may change from set to set, relative", "", 0.0, 1.0)
    lost_change: float = setting(0.1, "the same where every camera has moved or is new", "", 0.0, 10.0)
    usable_deviation: float = setting(0.3, "above this relative standard deviation the scale is UNKNOWN", "", 0.0, 1.0)
    lock_deviation: float = setting(0.03, "relative standard deviation at which the scale is LOCKED", "", 0.0, 1.0)
    lock_sets: int = setting(5, "after so many measured sets in a row", "sets", 1, 1000)
    gate: float = setting(4.0, "a measurement farther off, in standard deviations, is not believed", "", 1.0, 100.0)
    restart_sets: int = setting(5, "after so many of them in a row the scale begins anew", "sets", 1, 1000)


class ScaleEstimator:
    """The scale of one workplace over time."""

    def __init__(self, config: ScaleConfig = ScaleConfig()) -> None:  # noqa: B008 (frozen)
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Know nothing."""
        # How often the scale has begun anew at another value.
        self.restarts = 0
        self._forget()

    def _forget(self) -> None:
        self._log, self._variance, self._systematic = 0.0, float("inf"), 0.0
        self._source = ""
        self._good_sets = self._refused = 0
        self._locked = False

    @property
    def scale(self) -> float:
        """Metres for one unit; 1 while nothing is known."""
        return float(np.exp(self._log))

    @property
    def deviation(self) -> float:
        """Relative standard deviation of the scale."""
        return float(np.sqrt(self._variance + self._systematic**2))

    def update(self, measured: ScaleMeasurement | None, is_unit_lost: bool = False) -> str:
        """Take what one set says of the scale (None: nothing).

        Args:
            is_unit_lost: the unit was carried over from the set before by a guess.

        Returns:
            why it is not believed, "" if it is.
        """
        self._variance += (self.config.lost_change if is_unit_lost else self.config.change) ** 2
        problem = "" if measured is None else self._take(measured)
        sharp = self.deviation <= self.config.lock_deviation
        if measured is not None:
            self._good_sets = self._good_sets + 1 if sharp and not problem else 0
        self._locked = sharp and (self._locked or self._good_sets >= self.config.lock_sets)
        return problem

    def state(self, drift: str = "") -> ScaleState:
        """Status with source and deviation; `drift` is the alarm's reason, "" for none."""
        if self.deviation > self.config.usable_deviation:
            return ScaleState(drift=drift)
        status = ScaleStatus.LOCKED if self._locked and not drift else ScaleStatus.ESTIMATED
        return ScaleState(status, self._source, self.deviation, drift)

    def _take(self, measured: ScaleMeasurement) -> str:
        step = float(np.log(measured.scale)) - self._log
        own = self._variance + self._systematic**2
        if np.isinf(own):
            self._log, self._variance, self._systematic = self._log + step, measured.deviation**2, measured.systematic
            self._source = measured.source
            return ""
        if abs(step) > self.config.gate * np.sqrt(own + measured.variance):
            return self._refuse(measured)
        if measured.source == self._source:
            gain = self._variance / max(self._variance + measured.deviation**2, 1e-18)
            self._systematic = measured.systematic
        else:  # what is systematic in one source is independent of what is in another
            gain = own / max(own + measured.variance, 1e-18)
            self._systematic = float(np.hypot((1 - gain) * self._systematic, gain * measured.systematic))
            self._source = measured.source if gain >= 0.5 else self._source
        self._log += gain * step
        self._variance = (1 - gain) ** 2 * self._variance + gain**2 * measured.deviation**2
        self._refused = 0
        return ""

    def _refuse(self, measured: ScaleMeasurement) -> str:
        problem = f"{measured.source} gives a scale of {measured.scale:.4g} where {self.scale:.4g} was known"
        self._refused += 1
        if self._refused > self.config.restart_sets:
            self._forget()
            self._take(measured)
            self.restarts += 1
        return problem
