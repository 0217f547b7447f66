"""Where the cameras are: the ego camera near and moving, the exo cameras far and still."""

from dataclasses import dataclass

import numpy as np

from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.room import Room

EGO_SIDE_RAD = -np.pi / 2
WALL_GAP_M = 0.2
CLEARANCE_M = 0.12


@dataclass(frozen=True, eq=False)
class Cameras:
    """Poses (B, T, 1 + X, 4, 4), the ego camera first, and intrinsics (B, 1 + X, 3, 3)."""

    camera_to_world: np.ndarray
    intrinsics: np.ndarray


def look_at(position: np.ndarray, target: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Camera poses (..., 4, 4), x right, y down, z forward, from positions to targets (..., 3), rolled by radians."""
    forward = target - position
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, np.broadcast_to([0.0, 0.0, 1.0], forward.shape))
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    cosine, sine = np.cos(roll)[..., None], np.sin(roll)[..., None]
    pose = np.zeros((*forward.shape[:-1], 4, 4))
    pose[..., :3, 0] = cosine * right + sine * down
    pose[..., :3, 1] = cosine * down - sine * right
    pose[..., :3, 2] = forward
    pose[..., :3, 3] = position
    pose[..., 3, 3] = 1
    return pose


def direction(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3)."""
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1)


def draw_cameras(numbers: Numbers, config: WorldsConfig, focus: np.ndarray, tallest: np.ndarray,
                 room: Room, times: np.ndarray) -> Cameras:  # fmt: skip
    """Cameras inside the room that look at the things; those over the table are above the highest thing.

    Args:
        numbers: the streams of the scenes.
        config: how many, how different.
        focus: (B, 3) the middle of the things.
        tallest: (B,) height of the highest thing over the floor.
        room: where walls and table are.
        times: (T,) seconds.
    """
    hard, exo = config.difficulty, config.exo_max
    ego_distance = numbers.logarithmic(low=0.45 - 0.15 * hard, high=0.75 + 0.45 * hard)
    ego_azimuth = EGO_SIDE_RAD + numbers.uniform(low=-1, high=1) * (0.4 + 0.6 * hard)
    ego_elevation = numbers.uniform(low=0.45, high=1.15)
    sway = numbers.uniform(6, low=0.0, high=2 * np.pi)
    swing = np.sin(times[:, None] * np.array([0.9, 0.7, 1.1, 0.8, 0.6, 1.0]) + sway[:, None])  # (B, T, 6)
    aim = numbers.normal(3) * np.array([0.06, 0.06, 0.02])
    ego_target = focus[:, None] + aim[:, None] + 0.05 * swing[..., :3] * [1, 1, 0.2]
    bearing = direction(
        ego_azimuth[:, None] + 0.12 * swing[..., 3], ego_elevation[:, None] + 0.08 * swing[..., 4]
    )
    ego_position = ego_target + bearing * (ego_distance[:, None] * (1 + 0.08 * swing[..., 5]))[..., None]
    ego_roll = numbers.normal()[:, None] * 0.12 + 0.05 * swing[..., 0]

    gap = 0.35 + (np.pi - 0.35) * hard
    azimuth = ego_azimuth[:, None] + numbers.uniform(exo, low=-1, high=1) * gap
    elevation = numbers.uniform(exo, low=0.15 + 0.25 * (1 - hard), high=1.0)
    ratio = numbers.logarithmic(exo, low=1.2, high=1.6 + 2.4 * hard)
    distance = np.clip(ego_distance[:, None] * ratio, 0.8, 3.0)
    target = focus[:, None] + numbers.normal(exo, 3) * np.array([0.1, 0.1, 0.03])
    position = target + direction(azimuth, elevation) * distance[..., None]
    roll = numbers.normal(exo) * 0.05

    still = np.ones(len(times))[:, None, None]
    positions = np.concatenate([ego_position[:, :, None], position[:, None] * still[None]], axis=2)
    positions = kept_free(positions, room, tallest)
    targets = np.concatenate([ego_target[:, :, None], target[:, None] * still[None]], axis=2)
    rolls = np.concatenate([ego_roll[..., None], roll[:, None] * still[None, ..., 0]], axis=2)
    fov = np.concatenate(
        [numbers.uniform(1, low=np.radians(60), high=np.radians(100)),
         numbers.uniform(exo, low=np.radians(38), high=np.radians(75))], axis=1,
    )  # fmt: skip
    return Cameras(look_at(positions, targets, rolls), intrinsics(numbers, config, fov))


def kept_free(positions: np.ndarray, room: Room, tallest: np.ndarray) -> np.ndarray:
    """Camera positions (B, T, C, 3) moved inside the room, above the table's plane, and over the things."""
    low, high = room.corners[:, None, None, 0] + WALL_GAP_M, room.corners[:, None, None, 1] - WALL_GAP_M
    positions = positions.clip(low, high)
    over = (np.abs(positions[..., :2]) < room.table_half[:, None, None] + CLEARANCE_M).all(axis=3)
    floor = np.where(over, tallest[:, None, None], room.table_top[:, None, None]) + CLEARANCE_M
    positions[..., 2] = np.maximum(positions[..., 2], floor)
    return positions


def intrinsics(numbers: Numbers, config: WorldsConfig, fov: np.ndarray) -> np.ndarray:
    """(B, X, 3, 3) of horizontal fields of view, with a principal point about the middle."""
    focal = config.width / 2 / np.tan(fov / 2)
    off = numbers.normal(fov.shape[1], 3) * [0.012, 0.012, 0.004] * config.difficulty
    matrix = np.zeros((*fov.shape, 3, 3))
    matrix[..., 0, 0] = focal
    matrix[..., 1, 1] = focal * (1 + off[..., 2])
    matrix[..., 0, 2] = (config.width - 1) / 2 + off[..., 0] * config.width
    matrix[..., 1, 2] = (config.height - 1) / 2 + off[..., 1] * config.width
    matrix[..., 2, 2] = 1
    return matrix
