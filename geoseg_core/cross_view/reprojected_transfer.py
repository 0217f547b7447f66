"""Masks carried by the depth and the cameras that an encoder predicts, and by nothing else."""

import numpy as np

from geoseg_core.cross_view.followed import mean_confidence
from geoseg_core.cross_view.reprojected import reprojected_mask
from geoseg_core.cross_view.reprojection import visibility
from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks
from geoseg_core.geometry.encoder import EncodedScene


class ReprojectedTransfer:
    """Keeps the contract of `MaskTransfer`. The score is the mean confidence of the depth under the mask.

    Args:
        tolerance: how far a surface may lie off another view's and be the same, as a part of its depth.
    """

    def __init__(self, tolerance: float = 0.05) -> None:
        self.tolerance = tolerance

    def __call__(self, scene: EncodedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source` into all views.

        Raises:
            BadInput: see `checked_masks`.
        """
        masks = checked_masks(scene.frames, source, masks)
        start, count = scene.views[source], len(masks)
        shown = [start.points[mask] for mask in masks]
        points = [each[np.isfinite(each[:, 0])] for each in shown]
        found, states, scores = [], [], []
        for index, goal in enumerate(scene.views):
            there = masks
            if index != source:
                there = np.zeros((count, *goal.depth_m.shape), bool)
                for row, mask in enumerate(masks):
                    there[row] = reprojected_mask(goal, start, mask, self.tolerance)
            found.append(there)
            states.append([visibility(mask, each, goal) for mask, each in zip(there, points, strict=True)])
            scores.append([1.0 if index == source else mean_confidence(goal, mask) for mask in there])
        grid = (len(found), count)
        return TransferredMasks(
            tuple(found), np.array(states, int).reshape(grid), np.array(scores, float).reshape(grid)
        )
