"""Instance metrics on label images: AP in the manner of ScanNet, id switches of MOTA, and how well one id serves a
truth for a whole sequence (T-mIoU as IGGT has it; T-SR here is the share of views with an IoU of at least 0.5, a
stricter figure than the one of IGGT, which evaluation/instance_tracks.py has).

The masks of all views of a set are taken jointly: a prediction fits a truth when the intersection over union
of the pixels of all views exceeds the threshold.

What counts. A truth is an object (role "object") with at least `min_pixels` pixels in the set. Ignored regions
are the pixels of every other role and of objects with fewer pixels. A prediction of fewer than `min_pixels`
pixels is left out. A prediction that fits no truth is left out too when more than half of its pixels lie in
ignored regions and it covers no more than a quarter of any truth; every other one is a false positive, also
on pixels without any label.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from geoseg_core.evaluation.overlap import Overlap

MATCH_IOU = 0.5
SWALLOWED_SHARE = 0.25


def average_precision(scores: np.ndarray, hits: np.ndarray, truth_count: int) -> float | None:
    """Area under the precision-recall curve, precision made monotone; equal scores are one step.

    Args:
        scores: (N,) confidence of the predictions.
        hits: (N,) bool, the prediction fits a truth that no better one took.
        truth_count: number of truths; None is returned where it is 0.
    """
    if truth_count == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    steps = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    true_positives = np.cumsum(hits[order])[steps]
    precision = true_positives / (steps + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], true_positives / truth_count])
    return float((np.diff(recall) * precision).sum())


def match(iou: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """(P,) row of the truth that each prediction takes, -1 for none: best score first, then best IoU."""
    taken = np.full(iou.shape[1], -1)
    free = np.ones(iou.shape[0], bool)
    best = iou.max(0, initial=0.0)
    for column in np.lexsort((-best, -scores)):
        candidates = np.where(free, iou[:, column], 0.0)
        row = int(candidates.argmax()) if len(candidates) else -1
        if row >= 0 and candidates[row] > threshold:
            taken[column] = row
            free[row] = False
    return taken


class RankedPredictions:
    """Predictions of many sets, ranked together: average precision at each of some thresholds."""

    def __init__(self, thresholds: Sequence[float], least: int) -> None:
        """`least`: what has fewer pixels (or points) is neither a truth nor a prediction."""
        self.least = least
        self.truth_count = 0
        self._ranked: dict[float, list[tuple[float, bool]]] = {each: [] for each in thresholds}

    def add(
        self,
        counts: Overlap,
        things: Iterable[int],
        scores: Mapping[int, float],
        void_px: np.ndarray | None = None,
    ) -> np.ndarray:
        """Count one set; `things` are the ids that may be truths, `scores` those of predicted ids (1 where unknown).

        Args:
            void_px: (P,) pixels of each prediction where nothing is evaluated; with them ScanNet's own rule says which
                predictions are left out.

        Returns:
            (T,) bool: which of the true ids are truths.
        """
        truths = np.isin(counts.truth_ids, list(things)) & (counts.truth_px.sum(0) >= self.least)
        confidence = np.array([scores.get(int(each), 1.0) for each in counts.predicted_ids])
        iou = counts.iou()[truths]
        self.truth_count += int(truths.sum())
        usable = counts.predicted_px.sum(0) >= self.least
        excused = _excused(counts, truths)
        for threshold, ranked in self._ranked.items():
            taken = match(iou[:, usable], confidence[usable], threshold)
            if void_px is not None:
                excused = _void(counts, truths, void_px, threshold)
            kept = (taken >= 0) | ~excused[usable]
            ranked += zip(confidence[usable][kept].tolist(), (taken[kept] >= 0).tolist(), strict=True)
        return truths

    def average_precision(self, threshold: float) -> float | None:
        """That of all sets so far; None where no truth was seen."""
        ranked = self._ranked[threshold]
        scores = np.array([score for score, _ in ranked])
        return average_precision(scores, np.array([hit for _, hit in ranked], bool), self.truth_count)


class InstanceScore:
    """Collects sets in time order; `report` gives ap50, ap25, id_switches, t_miou and t_sr."""

    def __init__(self, names: Mapping[int, str], min_pixels: int) -> None:
        """`names` maps the ids of role object to names; every other id is an ignored region."""
        self.names = dict(names)
        self.min_pixels = min_pixels
        self._ranked = RankedPredictions((0.5, 0.25), min_pixels)
        self._last_id: dict[int, int] = {}
        self._switches: dict[int, int] = {}
        self._track_iou: dict[tuple[int, int], list[float]] = {}
        self._seen: dict[int, int] = {}

    def add(self, counts: Overlap, scores: Mapping[int, float]) -> dict[int, int]:
        """Count one set; `scores` gives the confidence of each predicted id (1 where unknown).

        Returns the predicted id that fits each truth id, for those that have one.
        """
        truths = self._ranked.add(counts, self.names, scores)
        self._add_tracks(counts, truths)
        return self._add_identities(counts.truth_ids[truths], counts.predicted_ids, counts.iou()[truths])

    def _add_identities(self, truth_ids: np.ndarray, predicted_ids: np.ndarray, iou: np.ndarray) -> dict[int, int]:
        fits = {int(truth_ids[row]): int(predicted_ids[column]) for row, column in np.argwhere(iou > MATCH_IOU)}
        for truth_id, predicted_id in fits.items():
            changed = self._last_id.get(truth_id, predicted_id) != predicted_id
            self._switches[truth_id] = self._switches.get(truth_id, 0) + changed
        self._last_id.update(fits)
        return fits

    def _add_tracks(self, counts: Overlap, truths: np.ndarray) -> None:
        view_iou = counts.view_iou()
        for row in np.flatnonzero(truths):
            truth_id = int(counts.truth_ids[row])
            for view in np.flatnonzero(counts.truth_px[:, row] >= self.min_pixels):
                self._seen[truth_id] = self._seen.get(truth_id, 0) + 1
                for column in np.flatnonzero(counts.shared_px[view, row]):
                    pair = truth_id, int(counts.predicted_ids[column])
                    self._track_iou.setdefault(pair, []).append(float(view_iou[view, row, column]))

    def report(self) -> dict[str, Any]:
        """All figures of the sets so far; None where no truth was seen."""
        per_object = track_figures(self._track_iou, self._seen)
        t_miou, t_sr = (
            float(np.mean([each[figure] for each in per_object.values()])) if per_object else None for figure in (0, 1)
        )
        return {
            "ap50": self._ranked.average_precision(0.5),
            "ap25": self._ranked.average_precision(0.25),
            "id_switches": sum(self._switches.values()) if self._seen else None,
            "t_miou": t_miou,
            "t_sr": t_sr,
            "truths": self._ranked.truth_count,
            "per_object": {
                self.names[each]: {"t_miou": figures[0], "t_sr": figures[1], "id_switches": self._switches.get(each, 0)}
                for each, figures in per_object.items()
            },
        }


def _excused(counts: Overlap, truths: np.ndarray) -> np.ndarray:
    """(P,) bool: mostly on ignored regions and not swallowing any truth."""
    shared = counts.shared_px.sum(0)
    ignored = shared[~truths].sum(0) > 0.5 * counts.predicted_px.sum(0)
    swallows = shared[truths] > SWALLOWED_SHARE * counts.truth_px.sum(0)[truths][:, None]
    return ignored & ~swallows.any(0)


def _void(counts: Overlap, truths: np.ndarray, void_px: np.ndarray, threshold: float) -> np.ndarray:
    """(P,) bool: fitting no truth, and with more than the threshold's share of its pixels on void or on things that are
    too small."""
    ignored = void_px + counts.shared_px.sum(0)[~truths].sum(0)
    fits = (counts.iou()[truths] > threshold).any(0)
    return np.asarray(~fits & (ignored > threshold * counts.predicted_px.sum(0)))


def track_figures(
    track_iou: Mapping[tuple[int, int], Iterable[float]], seen: Mapping[int, int]
) -> dict[int, tuple[float, float]]:
    """T-mIoU and T-SR of each truth: one predicted id serves one truth for the whole sequence.

    Args:
        track_iou: for each pair of (truth id, predicted id) the IoUs in the views of the sets where they meet.
        seen: in how many views of sets each truth is visible.

    Returns:
        Mean IoU, and share of its views with an IoU of at least 0.5, of the id that Hungarian assignment
        on the summed IoU gives each truth; views where they do not meet count 0.
    """
    truths = sorted(seen)
    tracks = sorted({predicted for _, predicted in track_iou})
    total = np.array([[sum(track_iou.get((row, column), ())) for column in tracks] for row in truths])
    total = total.reshape(len(truths), len(tracks))
    rows, columns = linear_sum_assignment(total, maximize=True)
    chosen = {truths[row]: tracks[column] for row, column in zip(rows, columns, strict=True)}
    figures = {}
    for truth in truths:
        ious = list(track_iou.get((truth, chosen.get(truth, 0)), ()))
        figures[truth] = sum(ious) / seen[truth], sum(iou >= MATCH_IOU for iou in ious) / seen[truth]
    return figures
