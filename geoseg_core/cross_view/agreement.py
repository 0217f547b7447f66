"""Whether what is known of an object agrees: its mask, its masks in other views seen through depth, and the instances.

A planner that grasps by a mask wants to know where the parts that found it contradict each other.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geoseg_core.cross_view.reprojected import reprojected_mask
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.results import Agreement, ObjectMask

# Masks and reprojections of fewer pixels say nothing.
LEAST_PX = 30
# How far predicted depth of two views may differ for one surface, as a part of the depth.
TOLERANCE = 0.1
# Of the smaller one of a mask and a reprojection, so much lies in the other where both show the same.
SHARED = 0.5


def with_agreement(
    views: Sequence[ViewGeometry], masks: Sequence[ObjectMask], labels: Sequence[np.ndarray] | None
) -> list[ObjectMask]:
    """One object's masks in all views of a set, each with whether it agrees with what else is known.

    The mask with the highest score is reprojected into every other view; where its surface is seen there, both must lie
    on each other to a good half. And where the object lies on instances, all views must say the same one.

    Args:
        labels: instance ids (H, W) of each view; None where no instances are known.
    """
    instances = [instance_under(each.mask, of) for each, of in zip(masks, labels or (None,) * len(masks), strict=True)]
    best = max(range(len(masks)), key=lambda view: (masks[view].mask.sum() >= LEAST_PX, masks[view].score))
    states = [
        compared(each.mask, None if view == best else reprojection(views, best, view, masks[best].mask))
        for view, each in enumerate(masks)
    ]
    if any(each is Agreement.AGREED for each in states):
        states[best] = Agreement.AGREED
    elif any(each is Agreement.DISPUTED for each in states):
        states[best] = Agreement.DISPUTED
    for view, own in enumerate(instances):
        if own and instances[best]:
            other = own != instances[best]
            states[view] = Agreement.DISPUTED if other or states[view] is Agreement.DISPUTED else Agreement.AGREED
    return [replace(each, agreement=state) for each, state in zip(masks, states, strict=True)]


def reprojection(views: Sequence[ViewGeometry], source: int, target: int, mask: np.ndarray) -> np.ndarray:
    """A mask (h, w) of the source through the depth of both views, (H, W) bool."""
    return reprojected_mask(views[target], views[source], mask, TOLERANCE)


def compared(mask: np.ndarray, other: np.ndarray | None) -> Agreement:
    """What a mask (H, W) and a reprojection (H, W) say of each other; hidden parts of either are no contradiction."""
    if other is None:
        return Agreement.UNCHECKED
    smaller = min(int(mask.sum()), int(other.sum()))
    if smaller < LEAST_PX:
        return Agreement.UNCHECKED
    return Agreement.AGREED if (mask & other).sum() >= SHARED * smaller else Agreement.DISPUTED


def instance_under(mask: np.ndarray, labels: np.ndarray | None) -> int:
    """The instance on which most of a mask (H, W) lies; 0 = none."""
    if labels is None or mask.sum() < LEAST_PX:
        return 0
    counts = np.bincount(labels[mask].astype(np.intp))
    winner = int(counts.argmax())
    return winner if counts[winner] > SHARED * mask.sum() else 0
