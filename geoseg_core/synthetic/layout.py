"""Scenes from seeds: everything that is random in them, as numbers on the CPU."""

from collections.abc import Sequence

import numpy as np
import torch

from geoseg_core.synthetic.arrangement import arrange
from geoseg_core.synthetic.cameras import draw_cameras
from geoseg_core.synthetic.catalogue import CLASS_OF_KIND, MAX_PARTS
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.materials import OBJECT_SLOTS, draw_materials
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.room import ROOM_SLOTS, draw_room
from geoseg_core.synthetic.scene import Lights, Part, Scenes, join
from geoseg_core.synthetic.shapes import turn_about

GEOMETRY, CAMERAS, LOOKS, LIGHT = range(4)
PLACE_M = (0.5, 0.32)
EDGE_M = 0.03


def draw_scenes(seeds: Sequence[int], config: WorldsConfig, exo: int, photographs: int) -> Scenes:
    """The scenes of these seeds with `exo` exo cameras; each depends on its seed and the settings alone."""
    times = np.arange(config.moments) * config.time_step_s
    numbers = Numbers(seeds, GEOMETRY)
    room = draw_room(numbers, config.difficulty)
    area = np.minimum(room.table_half - EDGE_M, PLACE_M)
    things = arrange(numbers, config, area, room.table_top, times)
    count = config.objects_max
    objects = Part(
        things.primitives,
        np.broadcast_to(np.repeat(np.arange(count) + 1, MAX_PARTS), things.primitives.kind.shape),
        ROOM_SLOTS + np.repeat(np.arange(count), MAX_PARTS) * OBJECT_SLOTS + things.primitives.slot,
    )
    whole = join([room.part, objects])
    present = things.kind >= 0
    middle = (things.position[:, 0] * present[..., None]).sum(1) / np.maximum(present.sum(1), 1)[:, None]
    focus = np.stack([middle[:, 0], middle[:, 1], room.table_top + 0.03], axis=1)
    tallest = np.max((things.position[:, :, :, 2] + things.height[:, None]) * present[:, None], axis=(1, 2))
    tallest = np.maximum(tallest, room.table_top)
    cameras = draw_cameras(Numbers(seeds, CAMERAS), config, focus, tallest, room.corners, times)
    views = cameras.camera_to_world[:, :, : exo + 1].reshape(len(seeds), -1, 4, 4)
    lens = np.tile(cameras.intrinsics[:, : exo + 1], (1, config.moments, 1, 1))
    classes = np.where(present, CLASS_OF_KIND[things.kind], 0)
    ids = np.where(present, np.arange(count) + 1, 0)
    none = np.zeros((len(seeds), 1), int)
    return Scenes(
        *(torch.from_numpy(np.ascontiguousarray(value)) for value in (
            whole.primitives.kind, whole.primitives.params, whole.primitives.bounds, whole.primitives.to_body,
            whole.body, whole.material, _poses(things.position, things.yaw), np.concatenate([none, ids], axis=1),
            np.concatenate([none, classes], axis=1), views, lens, np.repeat(np.arange(config.moments), exo + 1),
        )),
        objects=count,
        materials=draw_materials(Numbers(seeds, LOOKS), count, config.difficulty, photographs),
        lights=_lights(Numbers(seeds, LIGHT)),
    )  # fmt: skip


def _poses(position: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """(B, T, 1 + K, 4, 4): the world itself, then the things."""
    poses = np.zeros((*yaw.shape[:2], yaw.shape[2] + 1, 4, 4))
    poses[...] = np.eye(4)
    poses[:, :, 1:, :3, :3] = turn_about(2, yaw)
    poses[:, :, 1:, :3, 3] = position
    return poses


def _lights(numbers: Numbers) -> Lights:
    azimuth = numbers.uniform(low=-np.pi, high=np.pi)
    elevation = numbers.uniform(low=0.6, high=1.45)
    flat = np.cos(elevation)
    key = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    softness = numbers.logarithmic(low=0.03, high=0.35)
    tint = numbers.uniform(1, low=-0.15, high=0.15) * np.array([1.0, 0.0, -1.0])
    strength = numbers.uniform(1, low=0.5, high=1.4)
    sky = numbers.uniform(1, low=0.25, high=0.7) * (1 - 0.5 * tint)
    ground = sky * numbers.uniform(1, low=0.3, high=0.7)
    return Lights(*(torch.from_numpy(value) for value in (key, softness, strength * (1 + tint), sky, ground)))
