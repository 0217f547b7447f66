"""Regions: a prompt in one view becomes a mask in that view.

On things that the set was taken apart into, a prompt chooses among them; where positive and negative points fall on one
thing, it is divided between them. On surfaces without things (a poster, a sheet of paper) a region of like colour grows
from the points.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geoseg_core.config import setting
from geoseg_core.cross_view.reprojection import thing_labels
from geoseg_core.errors import BadInput
from geoseg_core.instances.clustering import spread
from geoseg_core.instances.segmenter import Layout
from geoseg_core.prompts import Prompt

METHODS = ("auto", "mv_sam", "regions")
REST = 0.2  # a negative point takes a whole thing away if this part of the mask is something else
NEIGHBOURHOOD = 4  # pixels: how far a click may miss a thing


@dataclass(frozen=True)
class PromptConfig:
    """How prompts are answered."""

    method: str = setting("auto", "how prompts are answered: in all views at once by MV-SAM (on the encoder tiny, "
                          "where a network carries masks), or as regions of one view (things of known depth, or like "
                          "colours), which are carried into the others; auto: MV-SAM where it can be",
                          choices=METHODS)  # fmt: skip
    weights: str = setting("tiny-mv-sam", "weights of MV-SAM by name (`geoseg weights list`) or file")
    colour_step: float = setting(6.0, "colour step (CIE Lab) that ends a region on a flat surface", "", 0.1, 100.0)
    colour_weight: float = setting(0.3, "cost of a colour step of 1 (CIE Lab) between points on one thing", "voxels",
                                   0.0, 10.0)  # fmt: skip
    box_share: float = setting(0.6, "a thing with this part of its pixels in a box belongs to the box", "", 0.1, 1.0)


def prompted_mask(layout: Layout, prompt: Prompt, config: PromptConfig) -> np.ndarray:
    """The mask (H, W) bool that a prompt asks for in its own view.

    Raises:
        BadInput: nothing is found at the prompted place, or nothing whose depth is known.
    """
    view = layout.scene.frames.index(prompt.camera)
    things = thing_image(layout, view)
    if prompt.has_mask:
        mask = np.asarray(prompt.mask, bool).copy()
    elif prompt.box_px is not None:
        mask = box_mask(layout, view, things, prompt.box_px, config)
    else:
        mask = np.zeros(things.shape, bool)
    if len(prompt.points_px):
        mask = apply_points(layout, view, things, mask, prompt, config)
    if not mask.any():
        raise BadInput(f"prompt in {prompt.camera!r}: found nothing there; point at the thing itself, or draw a mask")
    if not layout.scene.views[view].depth_m[mask].any():
        raise BadInput(f"prompt in {prompt.camera!r}: expected a place whose depth is known, got one where none was "
                       "measured; point where there is depth, or prompt in another view")  # fmt: skip
    return mask


def thing_image(layout: Layout, view: int) -> np.ndarray:
    """Image (H, W) int32 of the thing at each pixel, counted from 1; 0 = none."""
    labels = (thing_labels(layout) + 1).astype(np.int32)
    return layout.foreground.paint(view, layout.scene.frames.views[view].size, labels)


def box_mask(
    layout: Layout, view: int, things: np.ndarray, box_px: np.ndarray, config: PromptConfig
) -> np.ndarray:
    """The things that lie in a box, or what stands out in colour inside it where there is no thing."""
    low, high = np.floor(box_px[:2] + 0.5).astype(int), np.floor(box_px[2:] + 0.5).astype(int) + 1
    window = (slice(max(low[1], 0), high[1]), slice(max(low[0], 0), high[0]))
    inside = np.bincount(things[window].ravel(), minlength=int(things.max()) + 1)
    share = inside / np.maximum(np.bincount(things.ravel()), 1)
    inside[0] = 0
    area = things[window].size
    enough = inside > max(0.2 * inside.max(), 0.02 * area)
    chosen = np.flatnonzero((share >= config.box_share) & enough)
    if len(chosen):
        return np.isin(things, chosen)
    mask = np.zeros(things.shape, bool)
    if inside.max() > 0.3 * area:
        mask[window] = things[window] == int(inside.argmax())
        return mask
    return standing_out(layout.scene.frames.views[view].image, window)


def standing_out(image: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """What differs in colour from the rim of a window, inside it: (H, W) bool."""
    mask = np.zeros(image.shape[:2], bool)
    patch = cv2.cvtColor(np.ascontiguousarray(image[window]), cv2.COLOR_RGB2LAB).astype(np.float32)
    rim = np.concatenate([patch[0], patch[-1], patch[:, 0], patch[:, -1]])
    distance = np.linalg.norm(patch - np.median(rim, 0), axis=2)
    scaled = np.clip(distance, 0, 255).astype(np.uint8)
    _, outstanding = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask[window] = cv2.morphologyEx(outstanding, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return mask


def apply_points(
    layout: Layout, view: int, things: np.ndarray, mask: np.ndarray, prompt: Prompt, config: PromptConfig
) -> np.ndarray:
    """Add what positive points lie on to a mask and take away what negative points lie on."""
    positive = np.asarray(prompt.positive, bool)
    touched = np.array([thing_at(things, point) for point in prompt.points_px])
    mask = mask.copy()
    for thing in np.unique(touched[touched > 0]):
        here = touched == thing
        whole = things == thing
        wanted, unwanted = prompt.points_px[here & positive], prompt.points_px[here & ~positive]
        if len(unwanted) == 0:
            mask |= whole
        elif len(wanted) == 0 and np.count_nonzero(mask & ~whole) >= REST * np.count_nonzero(mask):
            mask &= ~whole
        else:
            mask = (mask & ~whole) | share_thing(layout, view, things, int(thing), mask, wanted, unwanted, config)
    for point in prompt.points_px[(touched == 0) & positive]:
        mask |= grown(layout, view, things, point, config)
    for point in prompt.points_px[(touched == 0) & ~positive]:
        if mask[pixel(point)]:
            mask &= ~grown(layout, view, things, point, config)
    return mask


def pixel(point: np.ndarray) -> tuple[int, int]:
    """(row, column) of a point (u, v)."""
    return round(float(point[1])), round(float(point[0]))


def thing_at(things: np.ndarray, point: np.ndarray) -> int:
    """The thing at a point (u, v), or the only one close to it; 0 = none."""
    row, column = pixel(point)
    if things[row, column]:
        return int(things[row, column])
    low, high = max(row - NEIGHBOURHOOD, 0), row + NEIGHBOURHOOD + 1
    near = things[low:high, max(column - NEIGHBOURHOOD, 0) : column + NEIGHBOURHOOD + 1]
    found = np.unique(near[near > 0])
    return int(found[0]) if len(found) == 1 else 0


def share_thing(
    layout: Layout, view: int, things: np.ndarray, thing: int, mask: np.ndarray, wanted: np.ndarray,
    unwanted: np.ndarray, config: PromptConfig,
) -> np.ndarray:
    """The part (H, W) of one thing that belongs to wanted rather than to unwanted points (N, 2).

    Without wanted points, the pixel of `mask` farthest from the unwanted ones stands for what is meant.
    """
    foreground = layout.foreground
    voxel_image = foreground.paint(view, (things.shape[0], things.shape[1]), np.arange(len(foreground.centres)))
    members = np.flatnonzero(thing_labels(layout) == thing - 1)
    place = np.full(len(foreground.centres), -1)
    place[members] = np.arange(len(members))
    seeds = np.full(len(members), -1)
    if len(wanted) == 0:
        rows, columns = np.nonzero(mask & (things == thing))
        away = (rows - unwanted[:, 1].mean()) ** 2 + (columns - unwanted[:, 0].mean()) ** 2
        wanted = np.array([[columns[away.argmax()], rows[away.argmax()]]])
    for points, value in ((wanted, 1), (unwanted, 0)):
        for point in points:
            seeds[nearest_member(voxel_image, things == thing, place, point)] = value
    size = foreground.lattice.voxel_m
    reached = spread(foreground.centres[members], foreground.colours[members], seeds, 2.5 * size,
                     config.colour_weight * size)  # fmt: skip
    values = np.zeros(len(foreground.centres), bool)
    values[members] = reached == 1
    return foreground.paint(view, (things.shape[0], things.shape[1]), values)


def nearest_member(voxel_image: np.ndarray, whole: np.ndarray, place: np.ndarray, point: np.ndarray) -> int:
    """Index among a thing's voxels of the one that a point (u, v) hits or just misses."""
    rows, columns = np.nonzero(whole)
    closest = int(np.argmin((rows - point[1]) ** 2 + (columns - point[0]) ** 2))
    return int(place[voxel_image[rows[closest], columns[closest]]])


def grown(layout: Layout, view: int, things: np.ndarray, point: np.ndarray, config: PromptConfig) -> np.ndarray:
    """The region (H, W) of like colour round a point on a surface without things."""
    image = cv2.cvtColor(layout.scene.frames.views[view].image, cv2.COLOR_RGB2LAB)
    image = cv2.medianBlur(image, 3)
    barrier = np.zeros((image.shape[0] + 2, image.shape[1] + 2), np.uint8)
    barrier[1:-1, 1:-1] = things > 0
    row, column = pixel(point)
    step = (config.colour_step * 2.55, config.colour_step, config.colour_step)
    flags = 4 | (2 << 8) | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
    cv2.floodFill(image, barrier, (column, row), 0, step, step, flags)
    region = (barrier[1:-1, 1:-1] == 2).astype(np.uint8)
    return cv2.morphologyEx(region, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).view(bool) & (things == 0)
