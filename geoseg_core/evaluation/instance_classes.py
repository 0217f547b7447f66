"""Average precision by class, with what counts as in the program of ScanNet's benchmark, evaluate_semantic_instance.py.

A prediction fits a truth of its own class alone. Void is what has no label or no class. A prediction that fits no truth
is left out where the share of it on void, and on things of its class that are too small, exceeds the threshold of
intersection over union; otherwise it is a false positive, on a thing of another class, too. Predictions without a class
are left out.

Departures: the benchmark evaluates a fixed list of classes, without walls and floors, while here each class id but 0 is
one; its curve is not made monotone, and ends at an IoU of 0.90.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from geoseg_core.evaluation.instances import RankedPredictions
from geoseg_core.evaluation.overlap import Overlap


class ClassPredictions:
    """Predictions of many sets, those of each class ranked together.

    Attributes:
        ranked: by class id; also those classes that no truth has.
    """

    def __init__(self, thresholds: Sequence[float], least: int) -> None:
        """As `RankedPredictions`."""
        self._thresholds, self._least = thresholds, least
        self.ranked: dict[int, RankedPredictions] = {}

    def add(
        self, counts: Overlap, true: Mapping[int, int], scores: Mapping[int, float], found: Mapping[int, int]
    ) -> None:
        """Count one set.

        Args:
            true: class ids of true ids; without one, or with 0, an id is void.
            scores: of predicted ids; found: their class ids.
        """
        true_classes = np.array([true.get(int(each), 0) for each in counts.truth_ids], np.int64)
        found_classes = np.array([found.get(int(each), 0) for each in counts.predicted_ids], np.int64)
        shared = counts.shared_px.sum(0)
        void_px = counts.predicted_px.sum(0) - shared[true_classes > 0].sum(0)
        for number in {*true_classes.tolist(), *found_classes.tolist()} - {0}:
            predictions = found_classes == number
            part = counts.part(true_classes == number, predictions)
            if number not in self.ranked:
                self.ranked[number] = RankedPredictions(self._thresholds, self._least)
            self.ranked[number].add(part, part.truth_ids.tolist(), scores, void_px[predictions])
