"""Anchors: a few points that stand for a mask, spread over it by K-means and always on it."""

from dataclasses import dataclass

import numpy as np

from geoseg_core.cross_view.union_head.kmeans import kmeans
from geoseg_core.errors import BadInput
from geoseg_core.shapes import check_shape

SEED = 42


@dataclass(frozen=True, eq=False)
class Anchors:
    """Points of a mask.

    Attributes:
        points_px: (N, 2) float32 x, y, whole pixels of the mask; zeros for an empty mask.
        centres_px: (N, 2) float32, the means that they stem from; None where the mask has fewer pixels than points.
        corrected: how many centres lay beside the mask and were moved onto it.
    """

    points_px: np.ndarray
    centres_px: np.ndarray | None = None
    corrected: int = 0


def mask_anchors(mask: np.ndarray, count: int, seed: int = SEED) -> Anchors:
    """`count` anchors of a mask (H, W).

    A mask with fewer pixels than that gives all of them, and the first one again until there are enough.

    Raises:
        BadInput: the mask has another shape, or no anchor is asked for.
    """
    check_shape(mask, "H W", "mask")
    if count < 1:
        raise BadInput(f"expected at least one anchor, got {count}")
    rows, columns = np.nonzero(mask)
    pixels = np.stack((columns, rows), axis=-1).astype(np.float32)
    if len(pixels) == 0:
        return Anchors(np.zeros((count, 2), np.float32))
    if len(pixels) < count:
        return Anchors(filled_up(pixels, count))
    centres = kmeans(pixels, count, seed)
    points, corrected = on_mask(mask, pixels, centres)
    return Anchors(filled_up(points, count), centres, corrected)


def on_mask(mask: np.ndarray, pixels: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, int]:
    """The centres as different pixels of the mask, and how many were moved.

    A centre beside the mask gets the nearest pixel that no other one has; two centres in one pixel become one.
    """
    height, width = mask.shape
    chosen: list[tuple[int, int]] = []
    corrected = 0
    for centre in centres:
        column, row = (round(float(each)) for each in centre)
        if not (0 <= column < width and 0 <= row < height and mask[row, column]):
            corrected += 1
            column, row = nearest_free(pixels, centre, chosen)
        if (column, row) not in chosen:
            chosen.append((column, row))
    return np.array(chosen, np.float32), corrected


def nearest_free(pixels: np.ndarray, centre: np.ndarray, taken: list[tuple[int, int]]) -> tuple[int, int]:
    """The pixel nearest to a centre that is not taken; there are more pixels than taken ones."""
    order = np.argsort(np.linalg.norm(pixels - centre, axis=1))[: len(taken) + 1]
    places = [(int(column), int(row)) for column, row in pixels[order]]
    return next(place for place in places if place not in taken)


def filled_up(points: np.ndarray, count: int) -> np.ndarray:
    """The points and copies of the first one, `count` in all."""
    return np.concatenate((points, np.repeat(points[:1], count - len(points), axis=0)))


def spread_points(points_px: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(count, 2) float32 K-means centres of points (N, 2); the points and copies where there are fewer."""
    if len(points_px) <= count:
        return filled_up(np.asarray(points_px, np.float32), count)
    return kmeans(points_px, count, seed)
