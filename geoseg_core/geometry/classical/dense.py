"""Depth for every pixel from a few triangulated points.

Inverse depth of a plane is linear over the image. So a robust plane is fitted to the inverse depth of all points, and
what is left over at each point is spread around it.
"""

import cv2
import numpy as np
from scipy.spatial import cKDTree

STEP_PX = 4
NEIGHBOURS = 12
ROUNDS = 10
# The plane's slopes are held back as by so many points that say "no slope".
RIDGE = 2.0
# Depth stays within this factor of that of the points, the outermost left aside.
BEYOND = 1.5
OUTER = (5, 95)


def spread_depth(points_px: np.ndarray, depth: np.ndarray, size: tuple[int, int], reach_px: float) -> np.ndarray:
    """(H, W) float32 depth from points (M, 2) with depth (M,); all 1 where there are none.

    Args:
        reach_px: how far a point's departure from the plane spreads.
    """
    height, width = size
    if not len(depth):
        return np.ones(size, np.float32)
    inverse = 1 / depth
    plane = _plane(_basis(points_px, size), inverse)
    left_over = inverse - _basis(points_px, size) @ plane
    rows, columns = np.arange(0, height + STEP_PX, STEP_PX), np.arange(0, width + STEP_PX, STEP_PX)
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2).astype(np.float64)
    made = _basis(grid, size) @ plane + _spread(points_px, left_over, grid, reach_px)
    low, high = np.percentile(inverse, OUTER)
    made = np.clip(made, low / BEYOND, high * BEYOND)
    coarse = made.reshape(len(rows), len(columns)).astype(np.float32)
    # Coarse pixel i stands at STEP_PX * i.
    to_coarse = np.array([[1 / STEP_PX, 0, 0], [0, 1 / STEP_PX, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return 1 / cv2.warpAffine(coarse, to_coarse, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _basis(points_px: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(M, 3): 1, and the place from -1 to 1 along the longer side."""
    half = max(size) / 2
    centred = (points_px - (np.array([size[1], size[0]]) - 1) / 2) / half
    return np.concatenate((np.ones((len(points_px), 1)), centred), axis=1)


def _plane(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(3,) coefficients by iteratively reweighted least squares."""
    weights = np.ones(len(values))
    held = np.diag([0.0, RIDGE, RIDGE])
    for _ in range(ROUNDS):
        weighted = basis * weights[:, None]
        plane = np.linalg.solve(weighted.T @ basis + held + 1e-9 * np.eye(3), weighted.T @ values)
        error = np.abs(values - basis @ plane)
        weights = 1 / np.maximum(error / max(float(np.median(error)), 1e-9), 1)
    return plane


def _spread(points_px: np.ndarray, values: np.ndarray, grid: np.ndarray, reach_px: float) -> np.ndarray:
    """(G,) mean of the nearest values, by distance, falling to 0 far from all points."""
    count = min(NEIGHBOURS, len(values))
    distance, nearest = cKDTree(points_px).query(grid, k=list(range(1, count + 1)))
    weights = np.exp(-0.5 * (distance / reach_px) ** 2)
    return (weights * values[nearest]).sum(axis=1) / (weights.sum(axis=1) + 0.1)
