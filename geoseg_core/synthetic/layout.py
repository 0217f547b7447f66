"""Scenes from seeds: everything that is random in them, as numbers on the CPU."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geoseg_core.synthetic.arm import ARM_BODIES, Arm, draw_arm
from geoseg_core.synthetic.arrangement import Arrangement, arrange, settle
from geoseg_core.synthetic.cameras import draw_cameras
from geoseg_core.synthetic.catalogue import ARM_CLASS, CLASS_OF_KIND, MAX_PARTS
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.lights import draw_lights
from geoseg_core.synthetic.materials import OBJECT_SLOTS, draw_materials
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.photo import draw_shots
from geoseg_core.synthetic.room import ROOM_SLOTS, Room, draw_room, without
from geoseg_core.synthetic.scene import Part, Scenes, join
from geoseg_core.synthetic.shapes import turn_about

GEOMETRY, CAMERAS, ARM, LOOKS, LIGHT, PHOTO = range(6)
PLACE_M = (0.5, 0.32)
EDGE_M = 0.03
ARM_CHANCE = 0.75


def draw_scenes(seeds: Sequence[int], config: WorldsConfig, exo: int, pages: int) -> Scenes:
    """The scenes of these seeds with `exo` exo cameras; each depends on its seed and the settings alone.

    Args:
        seeds: one for each scene.
        config: the settings.
        exo: how many of the exo cameras are used; the others change nothing.
        pages: number of texture pages; those beyond the patterns are photographs.
    """
    times = np.arange(config.moments) * config.time_step_s
    numbers = Numbers(seeds, GEOMETRY)
    room = draw_room(numbers, config.difficulty)
    area = np.minimum(room.table_half - EDGE_M, PLACE_M)
    things = arrange(numbers, config, area, room.table_top, times)
    focus, tallest = _focus(things, room)
    cameras = draw_cameras(Numbers(seeds, CAMERAS), config, focus, tallest, room, times)
    likely = ARM_CHANCE if config.arm else 0.0
    eyes = cameras.camera_to_world
    arm = draw_arm(Numbers(seeds, ARM), things, area, room.table_half, room.table_top, eyes, likely)
    things = settle(things, ~arm.present)
    count = config.objects_max
    still = without(room, eyes[..., :3, 3].reshape(len(seeds), -1, 3))
    whole = join([still, _things_part(things), _arm_part(arm, count)])
    instances, classes = _bodies(things)
    return Scenes(
        kind=_tensor(whole.primitives.kind),
        params=_tensor(whole.primitives.params),
        bounds=_tensor(whole.primitives.bounds),
        to_body=_tensor(whole.primitives.to_body),
        body=_tensor(whole.body),
        material=_tensor(whole.material),
        body_to_world=_tensor(np.concatenate([_poses(things), arm.poses], axis=2)),
        instance_of_body=_tensor(instances),
        class_of_body=_tensor(classes),
        camera_to_world=_tensor(cameras.camera_to_world[:, :, : exo + 1].reshape(len(seeds), -1, 4, 4)),
        intrinsics=_tensor(np.tile(cameras.intrinsics[:, : exo + 1], (1, config.moments, 1, 1))),
        moment=_tensor(np.repeat(np.arange(config.moments), exo + 1)),
        objects=count,
        materials=draw_materials(Numbers(seeds, LOOKS), count, pages),
        lights=draw_lights(Numbers(seeds, LIGHT)),
        shots=draw_shots(Numbers(seeds, PHOTO), config, exo),
    )


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _focus(things: Arrangement, room: Room) -> tuple[np.ndarray, np.ndarray]:
    """The middle of the things (B, 3), and how high the highest reaches (B,)."""
    present = things.kind >= 0
    middle = (things.position[:, 0] * present[..., None]).sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None]
    tops = (things.position[..., 2] + things.height[:, None]) * present[:, None]
    focus = np.stack([middle[:, 0], middle[:, 1], room.table_top + 0.03], axis=1)
    return focus, np.maximum(tops.max(axis=(1, 2)), room.table_top)


def _things_part(things: Arrangement) -> Part:
    index = np.repeat(np.arange(things.kind.shape[1]), MAX_PARTS)
    body = np.broadcast_to(index + 1, things.primitives.kind.shape)
    return Part(things.primitives, body, ROOM_SLOTS + index * OBJECT_SLOTS + things.primitives.slot)


def _arm_part(arm: Arm, objects: int) -> Part:
    return Part(arm.primitives, objects + 1 + arm.body, ROOM_SLOTS + objects * OBJECT_SLOTS + arm.primitives.slot)


def _bodies(things: Arrangement) -> tuple[np.ndarray, np.ndarray]:
    """Instance and class (B, 1 + K + ARM_BODIES) of all bodies."""
    present, count = things.kind >= 0, things.kind.shape[1]
    instances = np.pad(np.where(present, np.arange(count) + 1, 0), ((0, 0), (1, ARM_BODIES)))
    classes = np.pad(np.where(present, CLASS_OF_KIND[things.kind], 0), ((0, 0), (1, ARM_BODIES)))
    instances[:, count + 1 :], classes[:, count + 1 :] = count + 1, ARM_CLASS
    return instances, classes


def _poses(things: Arrangement) -> np.ndarray:
    """(B, T, 1 + K, 4, 4): the world itself, then the things; the identity for those that are absent."""
    poses = np.zeros((*things.yaw.shape[:2], things.yaw.shape[2] + 1, 4, 4))
    poses[...] = np.eye(4)
    present = (things.kind >= 0)[:, None, :, None]
    poses[:, :, 1:, :3, :3] = np.where(present[..., None], turn_about(2, things.yaw), np.eye(3))
    poses[:, :, 1:, :3, 3] = np.where(present, things.position, 0)
    return poses
