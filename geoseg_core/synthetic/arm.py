"""A hand or a gripper on an arm that reaches in, holds what moves, and hides what is behind it.

The hand's frame has its origin between the finger tips, z up and x away from the shoulder. The arm's frame has its
origin at the wrist and z towards the shoulder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geoseg_core.synthetic.arrangement import STILL, Arrangement, rectangles_overlap
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.shapes import NONE, OPEN, Builder, Number, Primitives, along, turn_about

SKIN, SLEEVE, SHELL, DARK, ACCENT = range(5)
ARM_SLOTS = 5
HAND_BODY, ARM_BODY, BASE_BODY = range(3)
ARM_BODIES = 3
WIDEST_GRIP_M = 0.055
HAND_HALF_M = 0.09
WRIST_M = {True: (-0.055, 0.0, 0.092), False: (0.0, 0.0, 0.17)}
LONGEST_ARM_M = 1.15
ATTEMPTS = 6
EDGE_M = 0.22
TORSO_M = 0.17
ARM_RADIUS_M = 0.06
CAMERA_GAP_M = 0.16
TIPS_BELOW_TOP_M = 0.02


@dataclass(frozen=True, eq=False)
class Arm:
    """Primitives (B, P) with the body of each (B, P): hand, arm, and who or what it belongs to; slots name materials.

    Attributes:
        primitives, body: as above; all are nothing where there is no arm.
        poses: (B, T, 3, 4, 4) hand_to_world, arm_to_world and base_to_world.
        present: (B,) bool.
    """

    primitives: Primitives
    body: np.ndarray
    poses: np.ndarray
    present: np.ndarray


def draw_arm(numbers: Numbers, things: Arrangement, area: np.ndarray, table: np.ndarray, top: np.ndarray,
             eyes: np.ndarray, likely: float) -> Arm:  # fmt: skip
    """An arm for each scene, absent where it is not wanted or would go through a thing or a camera.

    Args:
        numbers: the streams of the scenes.
        things: what stands on the table; the hand holds what moves.
        area: (B, 2) half extents that the hand hovers over.
        table: (B, 2) half extents of the table, and top (B,) its height.
        eyes: (B, T, C, 4, 4) poses of the cameras, the ego camera first.
        likely: chance of an arm.
    """
    human = numbers.chance(of=0.6)
    wanted = numbers.chance(of=likely)
    reaches = [_reach(numbers, things, area, table, top, eyes, human) for _ in range(ATTEMPTS)]
    free = np.stack([reach.free for reach in reaches])
    first = free.argmax(axis=0), np.arange(len(human))
    shoulder, own, opening, length, hand, arm, _ = (np.stack(values)[first] for values in zip(*reaches, strict=True))
    present = wanted & free.any(axis=0)
    primitives, body = _build(numbers, opening, human, length, shoulder[:, 2], present)
    base = shoulder * [1, 1, 0]
    base[:, :2] += np.where(human[:, None], _outward(base) * 0.08, 0)
    aside = np.linalg.norm(eyes[..., :2, 3] - base[:, None, None, :2], axis=3) < TORSO_M + CAMERA_GAP_M
    blind = (aside & (eyes[..., 2, 3] < shoulder[:, None, None, 2] + 0.12)).any(axis=(1, 2))
    gone = blind[:, None] | (own[:, None] & (primitives.slot == SKIN))
    primitives.kind[(body == BASE_BODY) & gone] = NONE
    poses = np.stack([hand, arm, np.broadcast_to(np.eye(4), hand.shape)], axis=2)
    poses[:, :, BASE_BODY, :3, 3] = base[:, None]
    return Arm(primitives, body, poses, present)


class _Reach(NamedTuple):
    """One way to reach in: shoulder (B, 3), whether the ego's own (B,), opening and length (B,), poses, and if free."""

    shoulder: np.ndarray
    own: np.ndarray
    opening: np.ndarray
    length: np.ndarray
    hand: np.ndarray
    arm: np.ndarray
    free: np.ndarray


def _reach(numbers: Numbers, things: Arrangement, area: np.ndarray, table: np.ndarray, top: np.ndarray,
           eyes: np.ndarray, human: np.ndarray) -> _Reach:  # fmt: skip
    """One attempt for each scene."""
    shoulder, own = _shoulder(numbers, eyes, table, top)
    moving = things.mode != STILL
    grip, opening = _hover(numbers, things, area, top, eyes.shape[1])
    held, needed = _hold(things, shoulder)
    opening = np.where(moving, needed, opening)
    hand = _hand_poses(np.where(moving[:, None, None], held, grip), shoulder)
    local_wrist = np.where(human[:, None], WRIST_M[True], WRIST_M[False])
    wrist = (hand[..., :3, :3] @ local_wrist[:, None, :, None])[..., 0] + hand[..., :3, 3]
    reach = shoulder[:, None] - wrist
    arm = np.zeros_like(hand)
    arm[..., :3, :3] = along(reach.reshape(-1, 3)).reshape(*wrist.shape, 3)
    arm[..., :3, 3] = wrist
    arm[..., 3, 3] = 1
    length = np.linalg.norm(reach, axis=2).max(axis=1)
    free = ~_collides(things, arm, length, eyes) & (length < LONGEST_ARM_M)
    return _Reach(shoulder, own, opening, length, hand, arm, free)


def _outward(point: np.ndarray) -> np.ndarray:
    """(B, 2) horizontal unit vectors from the middle of the table to points (B, 3)."""
    return point[:, :2] / np.maximum(np.linalg.norm(point[:, :2], axis=1, keepdims=True), 1e-6)


def _shoulder(numbers: Numbers, eyes: np.ndarray, table: np.ndarray, top: np.ndarray
              ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(B, 3) beside and below the ego camera, or of another round the table, and which are of the first sort (B,)."""
    ego = eyes[:, 0, 0]
    side = np.where(numbers.chance(of=0.75), 1.0, -1.0)[:, None]
    point = ego[:, :3, 3] + side * numbers.uniform(1, low=0.14, high=0.24) * ego[:, :3, 0] - 0.12 * ego[:, :3, 2]
    point[:, 2] = np.maximum(point[:, 2] - numbers.uniform(low=0.15, high=0.3), top + 0.28)
    azimuth = numbers.uniform(low=-np.pi, high=np.pi)
    other = np.stack([np.cos(azimuth), np.sin(azimuth), top + numbers.uniform(low=0.3, high=0.6)], axis=1)
    other[:, :2] *= 0.3
    own = numbers.chance(of=0.75)
    point = np.where(own[:, None], point, other)
    away = _outward(point)
    missing = (table + EDGE_M - np.abs(point[:, :2])) / np.maximum(np.abs(away), 1e-6)
    point[:, :2] += away * np.maximum(missing.min(axis=1), 0)[:, None]
    return point, own


def _hover(numbers: Numbers, things: Arrangement, area: np.ndarray, top: np.ndarray, moments: int
           ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Finger tips (B, T, 3) of a hand that moves over the things, and its opening (B,)."""
    start, end = (numbers.uniform(2, low=-0.9, high=0.9) * area for _ in range(2))
    share = numbers.uniform(low=0.0, high=0.6)[:, None] + 0.1 * np.arange(moments)
    path = start[:, None] + (end - start)[:, None] * share[..., None].clip(0, 1)
    under = rectangles_overlap(
        path[:, :, None], np.zeros(1), np.full(2, HAND_HALF_M),
        things.position[..., :2], things.yaw, things.half[:, None],
    )  # fmt: skip
    heights = things.position[..., 2] + things.height[:, None]
    highest = np.where(under & (things.kind >= 0)[:, None], heights, top[:, None, None]).max(axis=(1, 2))
    level = highest + numbers.uniform(low=0.008, high=0.08)
    grip = np.concatenate([path, np.broadcast_to(level[:, None, None], (*path.shape[:2], 1))], axis=2)
    return grip, numbers.uniform(low=0.01, high=0.05)


def _hold(things: Arrangement, shoulder: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finger tips (B, T, 3) that hold the moving thing, and the opening (B,) for it; wide things are touched on top."""
    rows = np.arange(len(shoulder))
    position, yaw = things.position[rows, :, things.mover], things.yaw[rows, :, things.mover]
    half, height = things.half[rows, things.mover], things.height[rows, things.mover]
    away = position[..., :2] - shoulder[:, None, :2]
    bearing = np.arctan2(away[..., 1], away[..., 0]) - yaw
    wide = (np.abs(np.cos(bearing)) * half[:, None, 0] + np.abs(np.sin(bearing)) * half[:, None, 1]).max(axis=1)
    around = wide <= WIDEST_GRIP_M
    level = np.where(around, height - np.minimum(TIPS_BELOW_TOP_M, 0.6 * height), height + 0.003)
    grip = position + np.stack([0 * level, 0 * level, level], axis=1)[:, None]
    return grip, np.where(around, wide + 0.002, 0.03)


def _hand_poses(grip: np.ndarray, shoulder: np.ndarray) -> np.ndarray:
    """(B, T, 4, 4) with x away from the shoulder."""
    away = grip[..., :2] - shoulder[:, None, :2]
    pose = np.zeros((*grip.shape[:2], 4, 4))
    pose[..., :3, :3] = turn_about(2, np.arctan2(away[..., 1], away[..., 0]))
    pose[..., :3, 3] = grip
    pose[..., 3, 3] = 1
    return pose


def _collides(things: Arrangement, arm: np.ndarray, length: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """(B,) whether the arm goes through a thing or comes too near to a camera at any moment."""
    steps = np.linspace(0, 1, 24) * length[:, None]
    axis = arm[..., None, :3, 3] + steps[:, None, :, None] * arm[..., None, :3, 2]  # (B, T, 24, 3)
    near = np.linalg.norm(axis[:, :, None] - eyes[:, :, :, None, :3, 3], axis=-1) < CAMERA_GAP_M
    flat = np.linalg.norm(axis[:, :, :, None, :2] - things.position[:, :, None, :, :2], axis=-1)
    wide = np.linalg.norm(things.half, axis=-1)[:, None, None]
    tops = (things.position[..., 2] + things.height[:, None])[:, :, None]
    through = (flat < wide + ARM_RADIUS_M) & (axis[..., 2:] - ARM_RADIUS_M < tops) & (things.kind >= 0)[:, None, None]
    own = np.arange(things.kind.shape[1]) == things.mover[:, None]
    through &= ~(own & (things.mode != STILL)[:, None])[:, None, None]
    return near.any(axis=(1, 2, 3)) | through.any(axis=(1, 2, 3))


def _build(numbers: Numbers, opening: np.ndarray, human: np.ndarray, length: np.ndarray, height: np.ndarray,
           present: np.ndarray) -> tuple[Primitives, np.ndarray]:  # fmt: skip
    """All primitives of hands and grippers; what a scene does not have is nothing."""
    size = numbers.uniform(low=0.9, high=1.1)
    parts, bodies = [], []
    for made, body, wanted in (
        (_human_hand(opening, size), HAND_BODY, human), (_human_arm(length, size), ARM_BODY, human),
        (_person(height), BASE_BODY, human), (_gripper(opening), HAND_BODY, ~human),
        (_robot_arm(length, size), ARM_BODY, ~human), (_column(height), BASE_BODY, ~human),
    ):  # fmt: skip
        part = made.primitives(0)
        part.kind[~(wanted & present)] = NONE
        parts.append(part)
        bodies.append(np.full(part.kind.shape, body))
    names = ("kind", "params", "bounds", "to_body", "slot")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in names}
    return Primitives(**arrays), np.concatenate(bodies, axis=1)


def _finger(made: Builder, points: Sequence[Sequence[Number]], radius: Number) -> None:
    """Two bones between three points."""
    for start, end in zip(points[:-1], points[1:], strict=True):
        first, last = (np.stack([np.broadcast_to(value, made.count) for value in each], 1) for each in (start, end))
        long = np.linalg.norm(last - first, axis=1)
        made.cone(radius, np.asarray(radius) * 0.92, 0.0, long, start, along(last - first), SKIN, (OPEN, OPEN))
        made.ellipsoid(np.asarray(radius) * 0.96, np.asarray(radius) * 0.96, np.asarray(radius) * 0.96, end, None, SKIN)


def _human_hand(opening: np.ndarray, size: np.ndarray) -> Builder:
    made = Builder(len(opening))
    made.ellipsoid(0.052 * size, 0.041 * size, 0.018 * size, [-0.008, 0, 0.088], turn_about(1, 0.12), SKIN)
    for index, short in enumerate((0.004, 0.0, 0.002, 0.01)):
        y = (index - 1.5) * 0.0195 * size
        tip = 0.75 * y
        radius = (0.0088 - 0.0005 * index) * size
        points: Sequence[Sequence[Number]] = [
            [0.032 * size - 0.5 * short, y, 0.09], [opening + radius + 0.024 - short, 0.5 * (y + tip), 0.06],
            [opening + radius, tip, 0.2 * short],
        ]  # fmt: skip
        _finger(made, points, radius)
    radius = 0.0105 * size
    points = [[-0.03, 0.03 * size, 0.08], [-opening - radius - 0.014, 0.022, 0.045], [-opening - radius, 0.008, 0.004]]
    _finger(made, points, radius)
    return made


def _human_arm(length: np.ndarray, size: np.ndarray) -> Builder:
    made = Builder(len(length))
    cuff = 0.06 + 0.16 * (size - 0.9) / 0.2
    made.ellipsoid(0.026, 0.026, 0.026, [0, 0, 0], None, SKIN)
    made.cone(0.026, 0.04, 0.0, 0.26, [0, 0, 0], None, SKIN)
    made.cone(0.044, 0.06, cuff, length, [0, 0, 0], None, SLEEVE)
    made.ellipsoid(0.065, 0.065, 0.065, [0, 0, length], None, SLEEVE)
    return made


def _person(height: np.ndarray) -> Builder:
    """A body whose shoulders are at a height over the floor, and a head."""
    made = Builder(len(height))
    made.cone(0.8 * TORSO_M, TORSO_M, 0.0, height - 0.15, [0, 0, 0], None, SLEEVE)
    made.ellipsoid(TORSO_M, TORSO_M, 0.23, [0, 0, height - 0.15], None, SLEEVE, part=(0.0, 1.0))
    made.ellipsoid(0.085, 0.085, 0.115, [0, 0, height + 0.2], None, SKIN)
    return made


def _column(height: np.ndarray) -> Builder:
    made = Builder(len(height))
    made.cone(0.09, 0.065, 0.0, height, [0, 0, 0], None, DARK)
    made.ellipsoid(0.08, 0.08, 0.08, [0, 0, height], None, ACCENT)
    return made


def _gripper(opening: np.ndarray) -> Builder:
    made = Builder(len(opening))
    made.box(0.075, 0.03, 0.022, [0, 0, 0.108], None, SHELL)
    made.cone(0.034, 0.034, 0.128, 0.17, [0, 0, 0], None, DARK)
    made.ellipsoid(0.04, 0.04, 0.04, [0, 0, 0.17], None, ACCENT)
    for side in (-1, 1):
        made.box(0.0065, 0.011, 0.05, [side * (opening + 0.0065), 0, 0.04], None, DARK)
    return made


def _robot_arm(length: np.ndarray, size: np.ndarray) -> Builder:
    made = Builder(len(length))
    elbow = 0.48 * length
    made.cone(0.036, 0.042, 0.0, elbow, [0, 0, 0], None, SHELL)
    made.ellipsoid(0.057 * size, 0.057 * size, 0.057 * size, [0, 0, elbow], None, ACCENT)
    made.cone(0.044, 0.05, elbow, length, [0, 0, 0], None, SHELL)
    made.cone(0.0395, 0.0395, 0.05, 0.075, [0, 0, 0], None, DARK, (OPEN, OPEN))
    return made
