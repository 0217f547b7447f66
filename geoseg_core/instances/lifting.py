"""Lifting: labels in the images to a labelled cloud, and tracks to instances with centroids and oriented boxes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.tracks import Track
from geoseg_core.results import Instance, LabelledCloud, OrientedBox

BACKGROUND_STEP = 8  # in clouds, every so many pixels of the background each way
BOX_POINTS = 1500  # boxes and covariances are taken from about so many points


def labelled_cloud(
    scene: EncodedScene,
    labels: Sequence[np.ndarray],
    max_points: int,
    background_step: int = BACKGROUND_STEP,
    least_confidence: float = 0.0,
) -> LabelledCloud:
    """Points of all views with their labels, thinned on the pixel grid to about `max_points`.

    labels: V images (H, W) uint16. Background (label 0) is thinned to every `background_step`-th pixel each way; 0
    leaves it out. Points of less than `least_confidence` are left out.
    """
    total = sum(int(np.count_nonzero(image)) for image in labels)
    step = 1
    while total / step**2 > max_points * 0.75:
        step += 1
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for view, geometry, image in zip(scene.frames.views, scene.views, labels, strict=True):
        index = grid_pixels(image, step, True)
        if background_step:
            index = np.concatenate([index, grid_pixels(image, background_step, False)])
        known = geometry.depth_m.reshape(-1).take(index) > 0
        index = index[known & (geometry.confidence.reshape(-1).take(index) >= least_confidence)]
        columns[0].append(geometry.points.reshape(-1, 3)[index])
        columns[1].append(view.image.reshape(-1, 3)[index])
        columns[2].append(image.reshape(-1)[index])
        columns[3].append(geometry.confidence.reshape(-1)[index])
    xyz, rgb, instance_id, confidence = (np.concatenate(column) for column in columns)
    return LabelledCloud(xyz, rgb, instance_id, confidence)


def grid_pixels(labels: np.ndarray, step: int, is_foreground: bool) -> np.ndarray:
    """Flat indices (N,) of every `step`-th pixel each way of an image (H, W) that carries a label, or carries none."""
    rows, columns = np.nonzero((labels[::step, ::step] > 0) == is_foreground)
    return rows * (step * labels.shape[1]) + columns * step


def instance(track: Track, up: np.ndarray, voxel_m: float, object_id: int, point_count: int) -> Instance:
    """What is known of a track as an `Instance`; its box stands along `up` (3,) and is a voxel wide at least."""
    points = track.points[:: 1 + len(track.points) // BOX_POINTS]
    centroid = points.mean(0, dtype=np.float64)
    offsets = points - centroid
    box = oriented_box(points, up)
    spread = offsets.T @ offsets / max(len(points) - 1, 1)
    return Instance(
        object_id,
        centroid,
        spread / max(len(points), 1) + np.eye(3) * voxel_m**2 / 12,
        replace(box, size=np.maximum(box.size, voxel_m)),
        point_count,
        track.score,
        track.first_seen_ns,
        track.last_seen_ns,
        track.seen_by,
    )


@lru_cache(maxsize=4)
def upright_frame(x: float, y: float, z: float) -> np.ndarray:
    """A right-handed frame (3, 3) whose last column is the unit vector (x, y, z)."""
    up = np.array([x, y, z])
    side = np.cross(up, [1.0, 0, 0] if abs(x) < 0.9 else [0, 1.0, 0])
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(up, side), up], axis=1)


def oriented_box(points: np.ndarray, up: np.ndarray) -> OrientedBox:
    """Smallest box round points (N, 3) among those with one edge along `up` (3,) unit."""
    frame = upright_frame(*up.tolist())
    local = points.astype(np.float64) @ frame
    (centre_x, centre_y), (width, depth), angle = cv2.minAreaRect(local[:, :2].astype(np.float32))
    low, high = local[:, 2].min(), local[:, 2].max()
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    centre = frame @ np.array([centre_x, centre_y, (low + high) / 2])
    return OrientedBox(centre, frame @ turn, np.array([width, depth, high - low]))
