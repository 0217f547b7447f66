"""One id for one thing: objects that are followed by their masks, and instances on which those masks lie."""

from collections.abc import Sequence

import numpy as np

from geoseg_core.instances.keeper import Keeper
from geoseg_core.instances.segmenter import Layout
from geoseg_core.results import ViewMasks

# Masks of both that overlap more, all views together, are of one thing.
SAME = 0.5
# An instance that has an id of its own gets that of the object after so many sets running.
SURE_SETS = 3


class SameThings:
    """Brings the ids of instances to those of the objects that are followed, which win."""

    def __init__(self) -> None:
        self._agreed: dict[tuple[int, int], int] = {}

    def update(self, layout: Layout, masks: Sequence[ViewMasks], keeper: Keeper) -> None:
        """Look at one set: its layout, and the masks of what is followed in it."""
        tracks = layout.paint(np.arange(1, len(layout.tracks) + 1, dtype=np.uint16))
        followed = {mask.object_id for view in masks for mask in view.masks}
        agreed: dict[tuple[int, int], int] = {}
        for object_id in sorted(followed):
            mine = [mask.mask for view in masks for mask in view.masks if mask.object_id == object_id]
            number = best_label(mine, tracks) - 1
            if number < 0 or (track := layout.tracks[number]).object_id in followed:
                continue
            pair = (object_id, track.object_id)
            agreed[pair] = self._agreed.get(pair, 0) + 1
            if track.object_id == 0 or agreed[pair] >= SURE_SETS:
                keeper.rename(track, object_id, layout.scene.frames.stamp_ns)
        self._agreed = agreed
        for track in keeper.tracks:
            track.followed = track.object_id in followed


def best_label(masks: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> int:
    """The label of images (H, W) whose pixels overlap masks (H, W) best, all views together; 0 where none is SAME."""
    count = 1 + max((int(image.max(initial=0)) for image in labels), default=0)
    shared, whole, area = np.zeros(count), np.zeros(count), 0
    for mask, image in zip(masks, labels, strict=True):
        shared += np.bincount(image[mask].astype(np.intp), minlength=count)
        whole += np.bincount(image.ravel(), minlength=count)
        area += int(mask.sum())
    overlap = shared / np.maximum(whole + area - shared, 1)
    overlap[0] = 0.0
    best = int(overlap.argmax())
    return best if overlap[best] > SAME else 0
