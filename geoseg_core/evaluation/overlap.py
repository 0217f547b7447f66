"""How masks and label images overlap: the counts from which every metric is made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg_core.errors import BadInput


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks; 1 where both are empty.

    Raises:
        BadInput: the masks have different sizes.
    """
    if first.shape != second.shape:
        raise BadInput(f"mask IoU: expected masks of one size, got {first.shape} and {second.shape}")
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


@dataclass(frozen=True, eq=False)
class Overlap:
    """Shared pixels of the truths and the predictions of one set.

    Attributes:
        truth_ids: (T,) and predicted_ids: (P,), 0 left out.
        shared_px: (V, T, P) pixels of each view that carry both ids.
        truth_px: (V, T); predicted_px: (V, P) pixels of each.
    """

    truth_ids: np.ndarray
    predicted_ids: np.ndarray
    shared_px: np.ndarray
    truth_px: np.ndarray
    predicted_px: np.ndarray

    def iou(self) -> np.ndarray:
        """(T, P) intersection over union with the masks of all views taken jointly."""
        return _ratio(self.shared_px.sum(0), self.truth_px.sum(0), self.predicted_px.sum(0))

    def part(self, truths: np.ndarray, predictions: np.ndarray) -> "Overlap":
        """Those of some truths (T,) bool and predictions (P,) bool alone."""
        shared = self.shared_px[:, truths][:, :, predictions]
        ids = self.truth_ids[truths], self.predicted_ids[predictions]
        return Overlap(*ids, shared, self.truth_px[:, truths], self.predicted_px[:, predictions])

    def view_iou(self) -> np.ndarray:
        """(V, T, P) intersection over union, each view for itself."""
        return _ratio(self.shared_px, self.truth_px, self.predicted_px)


def _ratio(shared: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    union = truth[..., :, None] + predicted[..., None, :] - shared
    return shared / np.maximum(union, 1)


def overlap(truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> Overlap:
    """Count the overlaps of label images: one (H, W) pair of unsigned integers a view, 0 = none.

    Raises:
        BadInput: the two images of a view have different sizes.
    """
    truth_ids, predicted_ids = _ids(truth), _ids(predicted)
    shared = np.zeros((len(truth), len(truth_ids), len(predicted_ids)), np.int64)
    truth_px = np.zeros((len(truth), len(truth_ids)), np.int64)
    predicted_px = np.zeros((len(truth), len(predicted_ids)), np.int64)
    for view, (true_labels, labels) in enumerate(zip(truth, predicted, strict=True)):
        if true_labels.shape != labels.shape:
            raise BadInput(f"label images: expected one size, got {true_labels.shape} and {labels.shape}")
        counts = _joint_counts(true_labels, labels, truth_ids, predicted_ids)
        shared[view] = counts[1:, 1:]
        truth_px[view], predicted_px[view] = counts.sum(1)[1:], counts.sum(0)[1:]
    return Overlap(truth_ids, predicted_ids, shared, truth_px, predicted_px)


def _ids(images: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) ids other than 0 that occur in any of the images, in order."""
    longest = max((int(image.max(initial=0)) for image in images), default=0)
    present = np.zeros(longest + 1, bool)
    for image in images:
        present |= np.bincount(image.ravel(), minlength=longest + 1) > 0
    return np.flatnonzero(present[1:]) + 1


def _joint_counts(first: np.ndarray, second: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(1 + rows, 1 + columns) pixels for each pair of ids; row and column 0 stand for no id."""
    row_of, column_of = _positions(rows), _positions(columns)
    width = len(columns) + 1
    codes = row_of[first.ravel()] * width + column_of[second.ravel()]
    return np.bincount(codes, minlength=(len(rows) + 1) * width).reshape(-1, width)


def _positions(ids: np.ndarray) -> np.ndarray:
    table = np.zeros(int(ids.max(initial=0)) + 1, np.intp)
    table[ids] = np.arange(1, len(ids) + 1)
    return table
