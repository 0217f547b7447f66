"""A mask of one view in another, through the depth and the cameras of both."""

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import inside, project
from geoseg_core.geometry.encoder import ViewGeometry

BORDER_PX = 3


def reprojected_mask(
    goal: ViewGeometry,
    start: ViewGeometry,
    mask: np.ndarray,
    tolerance: float,
    tolerance_m: float = 0.0,
    candidates: np.ndarray | None = None,
) -> np.ndarray:
    """Pixels (H, W) bool of view `goal` whose surface view `start` sees inside its mask (h, w) bool.

    Each pixel of the goal, within the box around the mask's points and `BORDER_PX` around it, is looked up in the
    start. What either view does not see, or has no depth of, carries nothing. The world must stand still between them.

    Args:
        tolerance: how far a surface may lie off the other view's and be the same, as a part of its depth.
        tolerance_m: the same, in the unit of length of the depth; added.
        candidates: (H, W) bool with depth, the pixels of the goal that may be chosen; by default all that have depth.

    Raises:
        BadInput: the mask has another size than the start.
    """
    if mask.shape != start.depth_m.shape:
        raise BadInput(f"mask: expected the size of its view {start.depth_m.shape}, got {mask.shape}; resize it")
    known = goal.depth_m > 0 if candidates is None else candidates
    result = np.zeros(goal.depth_m.shape, bool)
    points = start.points[mask]
    points = points[np.isfinite(points[:, 0])]
    pixels, depth_m = project(points, goal.intrinsics, goal.camera_to_world)
    pixels = pixels[inside(pixels, depth_m, (len(result), result[0].size))]
    if len(pixels) == 0:
        return result
    low = np.maximum(np.floor(pixels.min(0)).astype(int) - BORDER_PX, 0)
    high = np.ceil(pixels.max(0)).astype(int) + BORDER_PX + 1
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    rows, columns = np.nonzero(known[window])
    hit = seen_in_mask(goal.points[window][rows, columns], start, mask, tolerance, tolerance_m)
    result[window][rows[hit], columns[hit]] = True
    return result


def seen_in_mask(
    points: np.ndarray, view: ViewGeometry, mask: np.ndarray, tolerance: float, tolerance_m: float
) -> np.ndarray:
    """Which world points (N, 3) lie on the surface that a view sees inside its mask (H, W): (N,) bool."""
    pixels, depth_m = project(points, view.intrinsics, view.camera_to_world)
    within = inside(pixels, depth_m, (view.depth_m.shape[0], view.depth_m.shape[1]))
    columns, rows = np.rint(pixels[within]).astype(np.intp).T
    seen_m = view.depth_m[rows, columns]
    near = np.abs(seen_m - depth_m[within]) < tolerance_m + tolerance * seen_m
    result = np.zeros(len(points), bool)
    result[within] = near & mask[rows, columns]
    return result
