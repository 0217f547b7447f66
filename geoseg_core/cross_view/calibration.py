"""The overlap (IoU) that a head expects of its masks, corrected by what it reached on held-out views.

A file of weights holds the correction in its metadata under `calibration`, as JSON: two lists of as many numbers.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import isotonic_regression

from geoseg_core.errors import BadInput
from geoseg_core.weights.header import read_metadata

CALIBRATION = "calibration"
KNOTS = 12


@dataclass(frozen=True)
class Calibration:
    """A piecewise linear map from the overlap that is expected to the one that is reached; both never fall."""

    expected: tuple[float, ...] = (0.0, 1.0)
    reached: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse what is no such map."""
        for name in ("expected", "reached"):
            values = np.asarray(getattr(self, name), float)
            within = values.ndim == 1 and len(values) > 1 and ((values >= 0) & (values <= 1)).all()
            if not within or (np.diff(values) < 0).any():
                raise BadInput(f"calibration: expected {name} that rise within 0 and 1, got {getattr(self, name)}")
        if len(self.expected) != len(self.reached):
            raise BadInput(f"calibration: expected {len(self.expected)} numbers reached, got {len(self.reached)}")

    def __call__(self, expected: np.ndarray) -> np.ndarray:
        """Overlaps (...) that are expected to those that are to be expected; an empty mask (0) stays one."""
        values = np.asarray(expected, float)
        return np.where(values > 0, np.interp(values, self.expected, self.reached), 0.0)

    @property
    def metadata(self) -> dict[str, str]:
        """For a file of weights."""
        return {CALIBRATION: json.dumps(asdict(self))}


def fitted(expected: Sequence[float], reached: Sequence[float], knots: int = KNOTS) -> Calibration:
    """The map that masks tell which were expected to reach (N,) and reached (N,): the means of equally many each, made
    to rise (isotonic regression).

    Raises:
        BadInput: fewer masks than knots.
    """
    if len(expected) < knots:
        raise BadInput(f"calibration: expected at least {knots} masks, got {len(expected)}; measure on more views")
    order = np.argsort(expected)
    parts = np.array_split(order, knots)
    hoped = np.array([np.mean(np.asarray(expected)[part]) for part in parts])
    true = np.array([np.mean(np.asarray(reached)[part]) for part in parts])
    rising = isotonic_regression(true, weights=[len(part) for part in parts]).x
    return Calibration(tuple(hoped.round(4).tolist()), tuple(rising.clip(0, 1).round(4).tolist()))


def stored_calibration(path: Path) -> Calibration:
    """The correction in a file of weights; none changes nothing.

    Raises:
        BadInput: the file holds something else under that name.
    """
    text = read_metadata(path).get(CALIBRATION)
    if text is None:
        return Calibration()
    try:
        values = json.loads(text)
        return Calibration(tuple(values["expected"]), tuple(values["reached"]))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput(f"{path}: expected a calibration in its metadata, got {text!r:.80} ({error})") from error
