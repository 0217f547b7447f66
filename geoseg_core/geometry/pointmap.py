"""Pointmaps: depth images lifted to world points, their normals, edges and confidence."""

import cv2
import numpy as np

from geoseg_core.geometry.camera import inside, project, ray_grid
from geoseg_core.geometry.encoder import ViewGeometry

NEAR, HIDDEN, SEEN_THROUGH, OUTSIDE = 0, 1, 2, 3


def clean_depth(depth_m: np.ndarray, low_m: float, high_m: float) -> np.ndarray:
    """Depth (H, W) float32 with 0 for everything that is not a number in [low_m, high_m]."""
    depth_m = np.asarray(depth_m, np.float32)
    with np.errstate(invalid="ignore"):
        good = (depth_m >= low_m) & (depth_m <= high_m)
    return np.where(good, depth_m, np.float32(0))


def lift(depth_m: np.ndarray, intrinsics: np.ndarray, camera_to_world: np.ndarray) -> np.ndarray:
    """Depth (H, W) along z, 0 = unknown, to world points (H, W, 3) float32, NaN where unknown."""
    rays_x, rays_y = ray_grid(intrinsics, depth_m.shape)
    known = np.where(depth_m > 0, depth_m, np.float32(np.nan))
    local = cv2.merge([rays_x * known, rays_y * known, known])
    return cv2.transform(local, camera_to_world[:3].astype(np.float32))


def normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (H, W, 3) of points (H, W, 3) from their neighbours, NaN at borders and holes."""
    result = np.full(points.shape, np.nan, np.float32)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    normal = result[1:-1, 1:-1]
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        normal[..., axis] = down[..., first] * across[..., second] - down[..., second] * across[..., first]
    length = np.sqrt(np.einsum("hwc,hwc->hw", normal, normal))
    with np.errstate(invalid="ignore", divide="ignore"):
        normal /= length[..., None]
    return result


def depth_confidence(depth_m: np.ndarray, edge_ratio: float) -> np.ndarray:
    """Confidence (H, W) float32: 0 without depth, 0.3 beside a depth jump, else falling slowly with range."""
    kernel = np.ones((3, 3), np.uint8)
    jump = cv2.dilate(depth_m, kernel) - cv2.erode(depth_m, kernel)
    confidence = depth_m * depth_m
    confidence *= 0.05
    confidence += 1
    np.divide(depth_m > 0, confidence, out=confidence)
    beside = (jump > edge_ratio * depth_m) & (depth_m > 0)
    np.copyto(confidence, np.float32(0.3), where=beside)
    return confidence


def occlusion(points: np.ndarray, view: ViewGeometry, tolerance_m: float, slope: float) -> np.ndarray:
    """Where world points (N, 3) are with respect to one view: (N,) uint8.

    NEAR: on the surface that the view sees; HIDDEN: behind it, or no depth there; SEEN_THROUGH: the view sees
    past it; OUTSIDE: not in the image. The tolerance is `tolerance_m + slope * depth`.
    """
    size = view.depth_m.shape
    pixels, depth_m = project(points, view.intrinsics, view.camera_to_world)
    within = inside(pixels, depth_m, (size[0], size[1]))
    state = np.full(len(points), OUTSIDE, np.uint8)
    columns_rows = np.rint(pixels[within]).astype(np.intp)
    expected = depth_m[within]
    seen = view.depth_m[columns_rows[:, 1], columns_rows[:, 0]]
    margin = tolerance_m + slope * expected
    inner = np.where(np.abs(seen - expected) <= margin, NEAR, np.where(seen > expected, SEEN_THROUGH, HIDDEN))
    state[within] = np.where(seen == 0, HIDDEN, inner)
    return state
