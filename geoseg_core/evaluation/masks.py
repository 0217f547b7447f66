"""How well masks are carried between views. Nothing here knows a method, an encoder or a dataset.

Definitions, as the tables use them; those of the correspondence benchmark of Ego-Exo4D where it has one:

- An object counts where it has `least_px` pixels in the source view and as many in the target view. Each object of each
  set weighs the same.
- IoU: intersection over union of the found and the true mask.
- Location error: distance between the centroids of both masks over the diagonal of the target image. An empty mask
  stands at the middle of the image, as in the benchmark's program (which takes the middle of the box as the centroid).
- Contour accuracy: F measure of the contours, found and true, that lie within 0.8 % of the diagonal (rounded up to a
  pixel) of each other, as DAVIS and the benchmark's program have it.
- Visibility accuracy: the mean of two shares. Present: objects that count and that the method says are visible. Absent:
  objects without a pixel in the target that it says are not visible. None where one of the two is missing.
- Reliability: of all masks that were found (those of absent objects have IoU 0), ten bins of the expected IoU with the
  mean that was expected and the mean that was reached. The calibration error (ECE) is the mean difference of the two,
  each bin weighing as many masks as it has.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.cross_view import DIRECTIONS
from geoseg_core.evaluation.overlap import mask_iou

BINS = 10
CONTOUR_SHARE = 0.008


def location_error(found: np.ndarray, truth: np.ndarray) -> float:
    """Distance of the centroids of two masks (H, W) bool over the diagonal of the image, 0 to 1."""
    return float(np.linalg.norm(centroid(found) - centroid(truth)) / np.hypot(*truth.shape))


def centroid(mask: np.ndarray) -> np.ndarray:
    """(2,) mean row and column of a mask (H, W); the middle of the image for an empty one."""
    if not mask.any():
        return (np.array(mask.shape) - 1) / 2
    return np.argwhere(mask).mean(axis=0)


def contour_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """F measure of the contours of two masks (H, W) bool, 0 to 1; 1 where both masks are empty."""
    one, two = contour(found), contour(truth)
    if not one.any() or not two.any():
        return float(one.any() == two.any())
    reach = np.ceil(CONTOUR_SHARE * np.hypot(*truth.shape))
    precision, recall = (float((away(other)[line] <= reach).mean()) for line, other in ((one, two), (two, one)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool pixels of a mask that have a neighbour beside, above or below which is not of it; the edge of the
    image is none."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return mask & (cv2.erode(mask.astype(np.uint8), cross) == 0)


def away(line: np.ndarray) -> np.ndarray:
    """(H, W) distance in pixels of each pixel from the nearest one of a mask (H, W)."""
    return cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


@dataclass(frozen=True)
class Bin:
    """Masks with an expected IoU from `low` to `high`: the mean expected, the mean reached, and how many there are."""

    low: float
    high: float
    expected: float
    reached: float
    count: int


def reliability(expected: Sequence[float], reached: Sequence[float], bins: int = BINS) -> list[Bin]:
    """Bins of equal width of IoUs that were expected (N,) and reached (N,), each in [0, 1]; without those of no mask.

    Raises:
        BadInput: not as many expected as reached, or one outside of [0, 1].
    """
    hoped, true = np.asarray(expected, float), np.asarray(reached, float)
    if hoped.shape != true.shape:
        raise BadInput(f"reliability: expected an expected IoU for each, got {len(hoped)} for {len(true)}")
    if ((hoped < 0) | (hoped > 1)).any():
        raise BadInput(f"reliability: expected scores from 0 to 1, got {hoped.min():g} to {hoped.max():g}")
    rows = np.minimum((hoped * bins).astype(int), bins - 1)
    found = []
    for row in np.unique(rows).tolist():
        here = rows == row
        means = float(hoped[here].mean()), float(true[here].mean())
        found.append(Bin(row / bins, (row + 1) / bins, *means, int(here.sum())))
    return found


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Mean distance of what was reached from what was expected; None without masks."""
    count = sum(each.count for each in bins)
    return sum(each.count * abs(each.expected - each.reached) for each in bins) / count if count else None


@dataclass(frozen=True, eq=False)
class Carried:
    """An object in a target view.

    Attributes:
        object_id: its number in the truth.
        source, target: numbers of the views.
        truth, found: (H, W) bool in the target.
        visible: whether the method says that the target shows it.
        score: the IoU that the method expects, in [0, 1].
    """

    object_id: int
    source: int
    target: int
    truth: np.ndarray
    found: np.ndarray
    visible: bool
    score: float

    @property
    def iou(self) -> float:
        """The IoU that was reached."""
        return mask_iou(self.found, self.truth)


@dataclass(eq=False)
class Direction:
    """The figures of all objects in one direction; lists have a value for each object that counts."""

    iou: list[float] = field(default_factory=list)
    location_error: list[float] = field(default_factory=list)
    contour_accuracy: list[float] = field(default_factory=list)
    present: list[bool] = field(default_factory=list)
    absent: list[bool] = field(default_factory=list)

    def report(self) -> dict[str, float | int | None]:
        """Means, and how many objects they are of; None where there was none."""
        present, absent = mean(self.present), mean(self.absent)
        return {
            "iou": mean(self.iou),
            "location_error": mean(self.location_error),
            "contour_accuracy": mean(self.contour_accuracy),
            "visibility_accuracy": None if present is None or absent is None else (present + absent) / 2,
            "present_accuracy": present,
            "absent_accuracy": absent,
            "objects": len(self.iou),
            "absent_objects": len(self.absent),
        }


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return float(np.mean(values)) if values else None


class MaskScore:
    """Collects what one method made of the objects of all sets; `report` gives the figures.

    Attributes:
        least_px: pixels of an object in the target, at least; the source's are the caller's concern.
        refusals: what the method could not do, for messages.
        scores: of each mask that was found, the IoU that the method expected and the one that it reached.
    """

    def __init__(self, least_px: int) -> None:
        self.least_px = least_px
        self.refusals: list[str] = []
        self.seconds: list[float] = []
        self._directions = {each: Direction() for each in DIRECTIONS}
        self.scores: list[tuple[float, float]] = []

    def add(self, way: str, carried: Carried) -> None:
        """Count an object; one with fewer pixels than needed, but not none, is left out."""
        pixels, figures = int(np.count_nonzero(carried.truth)), self._directions[way]
        if 0 < pixels < self.least_px:
            return
        if carried.found.any():
            self.scores.append((carried.score, carried.iou))
        if not pixels:
            figures.absent.append(not carried.visible)
            return
        figures.iou.append(carried.iou)
        figures.location_error.append(location_error(carried.found, carried.truth))
        figures.contour_accuracy.append(contour_accuracy(carried.found, carried.truth))
        figures.present.append(carried.visible)

    def reliability(self) -> list[Bin]:
        """The bins of both directions together."""
        return reliability([score for score, _ in self.scores], [iou for _, iou in self.scores])

    def report(self) -> dict[str, Any]:
        """The figures of both directions, the reliability of the score, sets, refusals and seconds for a set.

        Raises:
            BadInput: there was no set.
        """
        if not self.seconds:
            raise BadInput("masks: expected at least one set with instance ids, got none")
        bins = self.reliability()
        return {
            **{way: figures.report() for way, figures in self._directions.items()},
            "calibration_error": calibration_error(bins),
            "reliability": [asdict(each) for each in bins],
            "sets": len(self.seconds),
            "refused": len(self.refusals),
            "seconds_median": float(np.median(self.seconds)),
        }
