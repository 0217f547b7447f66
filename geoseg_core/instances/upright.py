"""Which way is up where no support planes are followed: as tf says, by the floor or table, or by the cameras."""

import numpy as np

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.support import principal_plane

GRID = 24  # points are taken from every so many pixels each way
HYPOTHESES = 64
BAND = 0.02  # how far a point may lie off the plane, as part of the median distance
LEAST_SHARE = 0.25  # of the background lies on what things stand on
LEAST_TOPS = 0.3  # cosine between a support's normal and where the images' tops point to


def upwards(scene: EncodedScene, background: tuple[np.ndarray, ...]) -> np.ndarray:
    """(3,) unit. In a world that tf knows z; else the normal of the plane that most of the background (V masks (H, W))
    lies on, unless that is a wall; else where the images' tops point to on average."""
    known = [view.camera_to_world for view in scene.frames.views]
    if any(pose is not None and np.isfinite(pose).all() for pose in known):
        return np.array([0.0, 0.0, 1.0])
    tops = -np.stack([view.camera_to_world[:3, 1] for view in scene.views]).mean(0)
    length = float(np.linalg.norm(tops))
    tops = tops / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    points = background_points(scene, background)
    eyes = np.stack([view.camera_to_world[:3, 3] for view in scene.views]).mean(0)
    normal = support_normal(points, eyes, tops)
    return tops if normal is None else normal


def background_points(scene: EncodedScene, background: tuple[np.ndarray, ...]) -> np.ndarray:
    """Points (N, 3) of the world on a grid of the background pixels whose depth is known."""
    grid = (slice(None, None, GRID), slice(None, None, GRID))
    points = [
        view.points[grid][mask[grid] & (view.depth_m[grid] > 0)]
        for view, mask in zip(scene.views, background, strict=True)
    ]
    return np.concatenate(points).astype(np.float64)


def support_normal(points: np.ndarray, eyes: np.ndarray, tops: np.ndarray) -> np.ndarray | None:
    """Normal (3,) of the plane that most points (N, 3) lie on, on the side of the cameras at `eyes` (3,); None where
    few do or it leans too far from `tops` (3,)."""
    if len(points) < 3:
        return None
    random = np.random.default_rng(0)
    first, second, third = points[random.integers(len(points), size=(3, HYPOTHESES))]
    normals = np.cross(second - first, third - first)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(lengths, 1e-12)
    normals *= np.where((normals * (eyes - first)).sum(1) < 0, -1.0, 1.0)[:, None]
    band = BAND * float(np.median(np.linalg.norm(points - eyes, axis=1)))
    near = np.abs(points @ normals.T - (normals * first).sum(1)) < band
    votes = np.where(normals @ tops >= LEAST_TOPS, near.mean(0), 0.0)
    best = int(votes.argmax())
    if votes[best] < LEAST_SHARE:
        return None
    normal = principal_plane(points[near[:, best]])[1]
    return normal if normal @ normals[best] > 0 else -normal
