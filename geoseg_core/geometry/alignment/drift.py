"""The drift alarm: tf (or a depth camera) and the prediction disagree, not once but set after set."""

from dataclasses import dataclass

import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.alignment.measurement import DepthFit, ScaleMeasurement
from geoseg_core.geometry.alignment.poses import PoseFit, PoseGate


@dataclass(frozen=True)
class DriftConfig:
    """When known poses and scales contradict the prediction, and for how long before the alarm."""

    rotation_deg: float = setting(8.0, "a camera turned farther off tf contradicts it", "degree", 0.1, 180.0)
    offset: float = setting(
        0.25, "so does one farther off its place, as part of the cameras' distance from their centre", "", 0.01, 10.0
    )
    scale: float = setting(0.1, "two sources of the scale that differ by more contradict each other", "", 0.001, 10.0)
    depth: float = setting(0.3, "so does depth whose ratio to a depth camera's spreads by more", "", 0.01, 10.0)
    sets: int = setting(5, "the alarm goes on, and off, after so many sets in a row", "sets", 1, 1000)

    @property
    def gate(self) -> PoseGate:
        return PoseGate(self.rotation_deg, self.offset)


class DriftAlarm:
    """On after `sets` sets in a row with a problem, off after as many without; `reason` is "" while it is off."""

    def __init__(self, config: DriftConfig) -> None:
        self._sets = config.sets
        self.reset()

    def reset(self) -> None:
        self.reason = ""
        self._run = 0

    def update(self, problem: str) -> None:
        """Take what contradicts in one set, "" for nothing."""
        if bool(problem) == bool(self.reason):
            self._run = 0
        else:
            self._run += 1
        if self._run >= self._sets or (self.reason and problem):
            self.reason, self._run = problem, 0


def pose_problem(cameras: list[str], fit: PoseFit, config: DriftConfig) -> str:
    """Which cameras lie off their known poses, in words; "" for none."""
    found = []
    for name, turned, offset in zip(cameras, fit.rotation_deg, fit.offset, strict=True):
        if turned > config.rotation_deg:
            found.append(f"{name} is turned by {turned:.1f} degrees")
        elif offset > config.offset:
            found.append(f"{name} lies {100 * offset:.0f} % of the cameras' distance away")
    return f"tf and prediction disagree: {', '.join(found)}" if found else ""


def depth_problem(fit: DepthFit, config: DriftConfig) -> str:
    """Whether predicted depth has another shape than measured depth, in words; "" if it has not."""
    if fit.residual <= config.depth:
        return ""
    return f"depth camera and prediction disagree: their ratio spreads by {100 * fit.residual:.0f} %"


def scale_problem(measurements: list[ScaleMeasurement], config: DriftConfig) -> str:
    """Which two sources of the scale contradict each other most, in words; "" for none."""
    worst, words = config.scale, ""
    for index, first in enumerate(measurements):
        for second in measurements[index + 1 :]:
            apart = abs(float(np.log(first.scale / second.scale)))
            if apart > worst and apart > 3 * np.sqrt(first.variance + second.variance):
                worst = apart
                words = f"{first.source} gives a scale of {first.scale:.4g}, {second.source} of {second.scale:.4g}"
    return words
