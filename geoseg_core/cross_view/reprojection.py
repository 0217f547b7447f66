"""Mask transfer between calibrated depth views: no learned weights, nothing but geometry.

A mask is lifted onto the voxels that its view sees: those inside it are object, those outside are not. What its view
does not see is decided by the things that the set was taken apart into, and inside a thing that the mask divides by the
shortest way over the surface. Parts of a mask that lie on a support plane are carried pixel by pixel instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geoseg_core.cross_view.config import ReprojectionConfig
from geoseg_core.cross_view.reprojected import reprojected_mask
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import project
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import NEAR, OUTSIDE, occlusion
from geoseg_core.instances.clustering import spread
from geoseg_core.instances.segmenter import Layout
from geoseg_core.results import Visibility


@dataclass(frozen=True, eq=False)
class Transfer(TransferredMasks):
    """Masks with their voxels: `voxels` (K, M) bool, which foreground voxels belong to which mask."""

    voxels: np.ndarray


def transfer_masks(layout: Layout, source: int, masks: np.ndarray, config: ReprojectionConfig) -> Transfer:
    """Carry masks (K, H, W) bool of view `source` into all views of a set.

    In the source view itself the masks stay as they are. All K are carried at once and independently of each other.

    Raises:
        BadInput: the masks have another size than the source view.
    """
    size = layout.scene.frames.views[source].size
    if masks.ndim != 3 or masks.shape[1:] != size:
        raise BadInput(f"masks: expected (K, {size[0]}, {size[1]}), got {masks.shape}")
    voxels, certainty = lift_masks(layout, source, masks, config)
    flat = flat_masks(layout, source, masks, config.flat_share)
    carried, states, scores = [], [], []
    for index, view in enumerate(layout.scene.frames.views):
        if index == source:
            painted = masks.astype(bool)
        else:
            painted = paint_masks(layout, index, view.size, voxels)
            for row, mask in enumerate(masks):
                lying = flat[row] if flat[row].any() or not sinks(layout, source, index, mask, config) else mask
                if lying.any():
                    painted[row] |= warp_flat(layout, source, index, lying, config)
        carried.append(painted)
        states.append([
            visibility(painted[row], object_points(layout, source, masks[row], voxels[row]), layout.scene.views[index])
            for row in range(len(masks))
        ])  # fmt: skip
        scores.append(np.where(painted.any((1, 2)), certainty if index != source else 1.0, 0.0))
    return Transfer(tuple(carried), np.array(states).reshape(len(carried), -1), np.array(scores), voxels)


def lift_masks(
    layout: Layout, source: int, masks: np.ndarray, config: ReprojectionConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (K, M) bool of each mask, and how sure that is (K,): the share of the mask's pixels explained."""
    foreground = layout.foreground
    pixels, voxel_of = foreground.pixels[source], foreground.voxel_of[source]
    count = len(foreground.centres)
    seen = np.bincount(voxel_of, minlength=count)
    things = thing_labels(layout)
    thing_count = int(things.max(initial=-1)) + 1
    thing_seen = np.bincount(things, weights=seen, minlength=thing_count)
    result = np.zeros((len(masks), count), bool)
    certainty = np.zeros(len(masks))
    for row, mask in enumerate(masks.reshape(len(masks), -1)):
        hits = np.bincount(voxel_of[mask[pixels]], minlength=count)
        thing_hits = np.bincount(things, weights=hits, minlength=thing_count)
        share = thing_hits / np.maximum(thing_seen, 1)
        total = max(int(hits.sum()), 1)
        whole = share >= config.whole_share
        divided = ~whole & (thing_hits > 0) & ((share > config.none_share) | (thing_hits > 0.25 * total))
        result[row] = whole[things]
        for thing in np.flatnonzero(divided):
            members = np.flatnonzero(things == thing)
            result[row, members] = divide(layout, members, hits[members], seen[members], config)
        explained = float(hits[result[row]].sum())
        claimed = float(seen[result[row]].sum())
        certainty[row] = explained / max(total + claimed - explained, 1.0)
    return result, certainty


def thing_labels(layout: Layout) -> np.ndarray:
    """A number (M,) for the thing of every voxel: its track, or its cluster where it has none."""
    return np.where(layout.owner >= 0, layout.owner, layout.clusters + len(layout.tracks))


def divide(
    layout: Layout, members: np.ndarray, hits: np.ndarray, seen: np.ndarray, config: ReprojectionConfig
) -> np.ndarray:
    """Which voxels `members` (N,) of a thing belong to a mask that covers part of it: (N,) bool.

    Seen voxels follow the mask; unseen ones follow the seen voxel with the shortest way over the surface.
    """
    share = hits / np.maximum(seen, 1)
    seeds = np.where(seen == 0, -1, (share > 0.5).astype(int))
    size = layout.foreground.lattice.voxel_m
    centres, colours = layout.foreground.centres[members], layout.foreground.colours[members]
    reached = spread(centres, colours, seeds, 2.5 * size, config.colour_weight * size)
    return reached == 1


def paint_masks(layout: Layout, view: int, size: tuple[int, int], voxels: np.ndarray) -> np.ndarray:
    """Masks (K, H, W) bool of voxel sets (K, M) in one view."""
    result = np.zeros((len(voxels), size[0] * size[1]), bool)
    result[:, layout.foreground.pixels[view]] = voxels[:, layout.foreground.voxel_of[view]]
    return result.reshape(len(voxels), *size)


def flat_masks(layout: Layout, source: int, masks: np.ndarray, share: float) -> np.ndarray:
    """The parts (K, H, W) of masks on background, for masks that lie there to more than `share`."""
    known = layout.scene.views[source].depth_m > 0
    lying = masks & layout.background[source] & known
    enough = lying.sum((1, 2)) > share * np.maximum((masks & known).sum((1, 2)), 1)
    return lying & enough[:, None, None]


def sinks(layout: Layout, source: int, target: int, mask: np.ndarray, config: ReprojectionConfig) -> bool:
    """Whether much of what a mask (H, W) shows is background in another view: too low for the depth noise there."""
    shown = np.flatnonzero(mask & (layout.scene.views[source].depth_m > 0))
    points = layout.scene.views[source].points.reshape(-1, 3)[shown[:: 1 + len(shown) // 400]]
    goal = layout.scene.views[target]
    points = points[occlusion(points, goal, config.tolerance_m, config.tolerance_slope) == NEAR]
    columns, rows = np.rint(project(points, goal.intrinsics, goal.camera_to_world)[0]).astype(np.intp).T
    return bool(len(points) and layout.background[target][rows, columns].mean() > config.sunk_share)


def warp_flat(layout: Layout, source: int, target: int, flat: np.ndarray, config: ReprojectionConfig) -> np.ndarray:
    """A mask (H, W) on background surfaces, asked for by every background pixel of the target view."""
    goal, start = layout.scene.views[target], layout.scene.views[source]
    return warp_mask(goal, start, flat, layout.background[target] & (goal.depth_m > 0), config)


def warp_mask(
    goal: ViewGeometry, start: ViewGeometry, mask: np.ndarray, candidates: np.ndarray, config: ReprojectionConfig
) -> np.ndarray:
    """Pixels `candidates` (H, W) of view `goal` whose surface view `start` sees inside its `mask`; holes closed.

    The world must stand still between the two views.
    """
    result = reprojected_mask(goal, start, mask, config.tolerance_slope, config.tolerance_m, candidates)
    closed = cv2.morphologyEx(result.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)).view(bool)
    return closed & candidates


def object_points(layout: Layout, source: int, mask: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Points (N, 3) that stand for an object: its voxels, or the points of its mask where it has none."""
    if voxels.any():
        return layout.foreground.centres[voxels]
    points = layout.scene.views[source].points[mask]
    return points[np.isfinite(points[:, 0])][:: 1 + len(points) // 2000]


def visibility(mask: np.ndarray, points: np.ndarray, view: ViewGeometry) -> Visibility:
    """State of an object with mask (H, W) and points (N, 3) in one view."""
    if mask.any():
        return Visibility.VISIBLE
    if len(points) == 0:
        return Visibility.OUT_OF_VIEW
    state = occlusion(points, view, 0.01, 0.005)
    return Visibility.OUT_OF_VIEW if (state == OUTSIDE).mean() > 0.5 else Visibility.OCCLUDED
