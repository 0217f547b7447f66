"""What MV-SAM is compared with, by its own decoder: each view for itself, with the prompts that were given there, or
with those of all views projected into it.

Prompt projection is the baseline of MV-SAM's table 9: a point is lifted by the depth of its view, and is a prompt of
every view in which it is in sight.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from geoseg_core.geometry.camera import inside, project
from geoseg_core.geometry.encoder import EncodedScene, ViewGeometry
from geoseg_core.prompting.mv_sam.asking import (
    Marked,
    PromptableScene,
    answered_masks,
    marked_by,
    with_mask_points,
    with_own_mask,
)
from geoseg_core.prompting.mv_sam.prompter import Prompter
from geoseg_core.prompts import Prompt

# A projected point is in sight if it lies at most this part of the depth behind what the view sees.
BEHIND = 0.05


class ViewByView:
    """Each view alone, with its own prompts (`projected` False) or with those of all views, projected."""

    def __init__(self, prompter: Prompter, projected: bool) -> None:
        self.prompter, self.projected = prompter, projected

    def answer(self, scene: EncodedScene, given: PromptableScene, prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
        """Masks (H, W) bool of all views; empty where no view has a prompt that is on the object."""
        decoder = self.prompter.decoder
        marked = [marked_by(prompt, given) for prompt in prompts]
        told = [with_mask_points(with_own_mask(decoder, given, each)) for each in marked]
        masks = []
        for view, place in enumerate(given.placements):
            here = [replace(each, view=0) for each in told if each.view == view]
            if self.projected:
                here += [projected_points(scene, given, each, view) for each in told if each.view != view]
            if not any(each.positive.any() or each.mask is not None for each in here):
                masks.append(np.zeros(place.source, bool))
                continue
            masks += answered_masks(decoder, given.of_views([view]), here).masks
        return masks


def projected_points(scene: EncodedScene, given: PromptableScene, marked: Marked, view: int) -> Marked:
    """The points of a view as points of another one, where they are in sight, at the pixels of the network's input."""
    source, target = given.placements[marked.view], given.placements[view]
    u, v = np.rint(source.to_source(marked.points)).astype(np.intp).T
    height, width = source.source
    points = scene.views[marked.view].points[v.clip(0, height - 1), u.clip(0, width - 1)]
    pixels, seen = in_sight(points, scene.views[view], target.source)
    columns, rows = np.array(target.canvas[::-1]) - 1
    moved = np.rint(target.to_network(pixels[seen])).astype(np.int64).clip(0, (columns, rows))
    return Marked(0, moved, marked.positive[seen])


def in_sight(points: np.ndarray, view: ViewGeometry, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) of points (N, 3) in a view of a size (H, W), and whether it sees them (N,)."""
    pixels, ahead = project(np.nan_to_num(points), view.intrinsics, view.camera_to_world)
    seen = inside(pixels, ahead, size) & np.isfinite(points).all(axis=1)
    places = np.where(seen[:, None], pixels, 0)
    u, v = np.rint(places).astype(np.intp).T
    there = view.depth_m[v, u]
    return places, seen & (there > 0) & (ahead <= there * (1 + BEHIND))
