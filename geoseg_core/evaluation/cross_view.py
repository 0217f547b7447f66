"""Cross-view IoU by the protocol of the Ego-Exo4D correspondence benchmark.

In every set the ground-truth mask of an object is given in a source view, and its mask is predicted in a
target view. A pair counts where the object has at least `min_pixels` truth pixels in both views; its IoU is
averaged over the sets of each object, then over the objects, so that a rarely seen object weighs as much as
any other. Where the object has no pixel at all in the target view, a prediction of `min_pixels` or more is a
false positive.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from geoseg_core.evaluation.overlap import mask_iou

DIRECTIONS = ("ego_to_exo", "exo_to_ego")


def direction(source: str, target: str, ego: str) -> str | None:
    """Which direction a pair of cameras belongs to; None between two exo views or within one view."""
    if source == target or ego not in (source, target):
        return None
    return "ego_to_exo" if source == ego else "exo_to_ego"


class CrossViewScore:
    """Collects pairs of truth and prediction; `report` gives the mean IoU in each direction."""

    def __init__(self, min_pixels: int) -> None:
        self.min_pixels = min_pixels
        self._ious: dict[str, dict[str, list[float]]] = {each: defaultdict(list) for each in DIRECTIONS}
        self._false_positives: dict[str, list[bool]] = {each: [] for each in DIRECTIONS}

    def add(self, way: str, name: str, truth: np.ndarray, predicted: np.ndarray) -> float | None:
        """Count one object in one target view; both masks (H, W) bool. Returns the IoU where it counts."""
        truth_px = np.count_nonzero(truth)
        if truth_px >= self.min_pixels:
            iou = mask_iou(truth, predicted)
            self._ious[way][name].append(iou)
            return iou
        if truth_px == 0:
            self._false_positives[way].append(int(np.count_nonzero(predicted)) >= self.min_pixels)
        return None

    def report(self) -> dict[str, Any]:
        """For each direction: iou, pairs, per_object, false_positive_rate, absent_pairs; None where nothing counted."""
        return {way: self._direction_report(way) for way in DIRECTIONS}

    def _direction_report(self, way: str) -> dict[str, Any]:
        per_object = {name: float(np.mean(ious)) for name, ious in sorted(self._ious[way].items())}
        absent = self._false_positives[way]
        return {
            "iou": float(np.mean(list(per_object.values()))) if per_object else None,
            "pairs": sum(map(len, self._ious[way].values())),
            "per_object": per_object,
            "false_positive_rate": float(np.mean(absent)) if absent else None,
            "absent_pairs": len(absent),
        }
