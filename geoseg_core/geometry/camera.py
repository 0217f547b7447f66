"""Pinhole cameras: checked calibration, cached ray grids, projection."""

from functools import lru_cache

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.views import View

RIGID_TOLERANCE = 1e-3


def check_calibration(view: View) -> None:
    """Refuse a view whose intrinsics or pose can't be those of a pinhole camera.

    Raises:
        BadInput: not finite, focal length not positive, last row not (0, 0, 1), or pose not a rigid motion.
    """
    intrinsics = view.intrinsics
    if intrinsics is None:
        raise BadInput(f"view {view.camera!r}: expected intrinsics, got none; publish its camera_info")
    focal = (intrinsics[0, 0], intrinsics[1, 1])
    if not np.isfinite(intrinsics).all() or min(focal) <= 0 or not np.allclose(intrinsics[2], [0, 0, 1]):
        raise BadInput(f"view {view.camera!r}: expected a finite pinhole matrix, got {intrinsics.tolist()}")
    pose = view.camera_to_world
    if pose is None:
        return
    rotation = pose[:3, :3]
    rigid = np.isfinite(pose).all() and np.allclose(pose[3], [0, 0, 0, 1])
    if not rigid or np.abs(rotation.T @ rotation - np.eye(3)).max() > RIGID_TOLERANCE or np.linalg.det(rotation) < 0:
        raise BadInput(f"view {view.camera!r}: expected a rigid camera_to_world, got {pose.tolist()}")


def ray_grid(intrinsics: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rays of all pixels at depth 1: x and y, each (H, W) float32, read-only and cached."""
    return _ray_grid(np.asarray(intrinsics, np.float64).tobytes(), size)


@lru_cache(maxsize=16)
def _ray_grid(intrinsics: bytes, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(np.frombuffer(intrinsics).reshape(3, 3))
    v, u = np.arange(size[0], dtype=np.float64)[:, None], np.arange(size[1], dtype=np.float64)
    grids = tuple((inverse[row, 0] * u + (inverse[row, 1] * v + inverse[row, 2])).astype(np.float32) for row in (0, 1))
    for grid in grids:
        grid.setflags(write=False)
    return grids[0], grids[1]


def project(
    points: np.ndarray, intrinsics: np.ndarray, camera_to_world: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World points (N, 3) to pixels (N, 2) and depth along z (N,) metres.

    Points at or behind the camera plane have depth <= 0 and meaningless pixels.
    """
    rotation, centre = camera_to_world[:3, :3], camera_to_world[:3, 3]
    local_to_image = intrinsics @ rotation.T
    homogeneous = points @ local_to_image.T.astype(np.float32) - (local_to_image @ centre).astype(np.float32)
    depth_m = homogeneous[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = homogeneous[:, :2] / depth_m[:, None]
    return pixels, depth_m


def inside(pixels: np.ndarray, depth_m: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which projected pixels (N, 2) lie in an image of `size` (H, W) and before the camera: (N,) bool."""
    u, v = pixels[:, 0], pixels[:, 1]
    with np.errstate(invalid="ignore"):
        return (depth_m > 0) & (u > -0.5) & (u < size[1] - 0.5) & (v > -0.5) & (v < size[0] - 0.5)
