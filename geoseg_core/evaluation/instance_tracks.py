"""How well found things stand for true ones in the views of one scene: T-mIoU and T-SR of IGGT, and mean IoU.

Definitions, of IGGT's appendix where it has one. An object o is seen in T views; found is the mask of its one found
thing.

- T-mIoU(o): mean over these views of the intersection over union of the found and the true mask.
- T-SR(o): 1 if the found mask has a pixel in every one of these views, else 0. Whether it lies on the object is not
  asked for.
- Both are averaged over all objects of all scenes.
- Half share: the share of these views with an IoU of at least 0.5, a stricter figure of ours. `geoseg evaluate` calls
  this T-SR.

Departures and choices. The paper does not say which found thing stands for which object: here Hungarian assignment on
the IoU summed over the views, of one found thing to one object at most, never of two that meet nowhere. A view counts
where it shows at least `least_px` pixels of the object; the paper's objects were picked by hand. The paper's mean IoU
is one of classes, from open vocabulary; here each object is a class of its own, and the assignment is one on the IoU
with the masks of all views taken jointly (2-D) or on points (3-D).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from geoseg_core.evaluation.instances import MATCH_IOU
from geoseg_core.evaluation.overlap import Overlap


@dataclass(frozen=True)
class ObjectTrack:
    """What one object's views showed; `found_id` is 0 where no found thing stands for it."""

    object_id: int
    found_id: int
    t_miou: float
    t_sr: float
    half_share: float


def object_tracks(counts: Overlap, truths: np.ndarray, least_px: int) -> list[ObjectTrack]:
    """The figures of the objects of one scene that some view shows; `truths` (T,) bool chooses among the true ids."""
    seen = counts.truth_px[:, truths] >= least_px  # (V, K)
    iou = counts.view_iou()[:, truths] * seen[..., None]
    taken = assigned(iou.sum(axis=0))
    tracks = []
    for row, object_id in enumerate(counts.truth_ids[truths].tolist()):
        views = seen[:, row]
        if not views.any():
            continue
        if taken[row] < 0:
            tracks.append(ObjectTrack(object_id, 0, 0.0, 0.0, 0.0))
            continue
        overlaps, there = iou[views, row, taken[row]], counts.predicted_px[views, taken[row]] > 0
        figures = float(overlaps.mean()), float(there.all()), float((overlaps >= MATCH_IOU).mean())
        tracks.append(ObjectTrack(object_id, int(counts.predicted_ids[taken[row]]), *figures))
    return tracks


def assigned_ious(counts: Overlap, truths: np.ndarray) -> np.ndarray:
    """(K,) IoU of each chosen truth with the found thing that stands for it, 0 where none does."""
    iou = counts.iou()[truths]
    taken = assigned(iou)
    return np.where(taken >= 0, iou[np.arange(len(iou)), taken] if iou.size else 0.0, 0.0)


def assigned(gain: np.ndarray) -> np.ndarray:
    """(K,) column that each row of a gain (K, P) gets for the highest sum; -1 where that would gain nothing."""
    rows, columns = linear_sum_assignment(gain, maximize=True)
    taken = np.full(len(gain), -1)
    useful = gain[rows, columns] > 0
    taken[rows[useful]] = columns[useful]
    return taken
