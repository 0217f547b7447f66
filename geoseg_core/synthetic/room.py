"""The room: floor, walls and ceiling, the table, and furniture along the walls."""

from dataclasses import dataclass, replace

import numpy as np

from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.scene import Part
from geoseg_core.synthetic.shapes import NONE, ROOM, Builder, turn_about

FLOOR, CEILING, WALL, TABLE, LEGS, MATS, FURNITURE = range(7)
FURNITURE_SLOTS = 4
ROOM_SLOTS = FURNITURE + FURNITURE_SLOTS
FURNITURE_PIECES = 8
MAT_M = 0.0004
CAMERA_GAP_M = 0.15


@dataclass(frozen=True, eq=False)
class Room:
    """The still part of the scenes.

    Attributes:
        part: its primitives, on body 0, the room first.
        corners: (B, 2, 3) lowest and highest point inside.
        table_half: (B, 2) and table_top (B,), metres; the table stands at the origin.
    """

    part: Part
    corners: np.ndarray
    table_half: np.ndarray
    table_top: np.ndarray


def draw_room(numbers: Numbers, clutter: float) -> Room:
    """Rooms of 3 to 7 m with a table in them and `clutter` (0 to 1) of the furniture."""
    count = len(numbers.uniform(1))
    made = Builder(count)
    half = numbers.logarithmic(3, low=np.array([1.7, 1.7, 1.15]), high=np.array([3.5, 3.5, 1.5]))
    away = numbers.uniform(2, low=-1, high=1) * (half[:, :2] - 1.5)
    centre = np.concatenate([away, half[:, 2:]], axis=1)
    x, y, z = half.T
    made.add(ROOM, [x, y, z], [-x, -y, -z], [x, y, z], list(centre.T), None, FLOOR)
    table_half, top = _table(numbers, made)
    _mats(numbers, made, table_half, top, clutter)
    _furniture(numbers, made, half, centre, clutter)
    primitives = made.primitives(0)
    part = Part(primitives, np.zeros_like(primitives.kind), primitives.slot)
    return Room(part, np.stack([centre - half, centre + half], axis=1), table_half, top)


def _table(numbers: Numbers, made: Builder) -> tuple[np.ndarray, np.ndarray]:
    """A slab on four legs, or on a solid block."""
    half = numbers.logarithmic(2, low=np.array([0.4, 0.33]), high=np.array([0.95, 0.55]))
    top = numbers.uniform(low=0.45, high=0.95)
    thick = numbers.uniform(low=0.01, high=0.025)
    x, y = half.T
    made.box(x, y, thick, [0, 0, top - thick], slot=TABLE)
    block = numbers.chance(of=0.25)
    leg, long = numbers.uniform(low=0.015, high=0.035), (top - 2 * thick) / 2
    for side in (-1, 1):
        for end in (-1, 1):
            made.box(leg, leg, long, [side * (x - leg - 0.02), end * (y - leg - 0.02), long], None, LEGS, ~block)
    made.box(x * 0.9, y * 0.85, long, [0, 0, long], None, LEGS, block)
    return half, top


def _mats(numbers: Numbers, made: Builder, half: np.ndarray, top: np.ndarray, clutter: float) -> None:
    """Sheets and mats on the table; they are so thin that things stand in them rather than on them."""
    for level in (1, 2):
        size = numbers.logarithmic(2, low=0.05, high=0.2)
        at = numbers.uniform(2, low=-1, high=1) * (half - size.max(axis=1, keepdims=True) * 1.3).clip(0)
        turn = turn_about(2, numbers.normal() * 0.4)
        there = numbers.chance(of=0.1 + 0.35 * clutter) & (size.max(axis=1) * 1.3 < half.min(axis=1))
        made.box(size[:, 0], size[:, 1], level * MAT_M, [*at.T, top + level * MAT_M], turn, MATS, there)


def without(room: Room, points: np.ndarray) -> Part:
    """The room's primitives without the furniture that comes too near to any of the points (B, N, 3)."""
    made = room.part.primitives
    low, high = (made.bounds[:, :, end] + made.to_body[..., :3, 3] for end in (0, 1))
    gap = np.maximum(low[:, :, None] - points[:, None], points[:, None] - high[:, :, None]).max(axis=3)
    near = (gap.min(axis=2) < CAMERA_GAP_M) & (made.slot >= FURNITURE)
    kind = np.where(near, NONE, made.kind)
    return replace(room.part, primitives=replace(made, kind=kind))


def _furniture(numbers: Numbers, made: Builder, half: np.ndarray, centre: np.ndarray, clutter: float) -> None:
    """Boxes that stand or hang at the walls: cupboards, shelves, pictures, windows."""
    for piece in range(FURNITURE_PIECES):
        wall = numbers.whole(below=4)
        axis, side = wall % 2, np.where(wall < 2, -1.0, 1.0)
        rows = np.arange(len(wall))
        deep, wide = numbers.logarithmic(low=0.01, high=0.25), numbers.uniform(low=0.15, high=0.6)
        high = numbers.logarithmic(low=0.15, high=0.9)
        hung = deep < 0.06
        level = np.where(hung, numbers.uniform(low=0.9, high=1.7), high)
        at = np.zeros((len(wall), 3))
        at[rows, axis] = centre[rows, axis] + side * (half[rows, axis] - deep)
        at[rows, 1 - axis] = centre[rows, 1 - axis] + numbers.uniform(low=-0.8, high=0.8) * half[rows, 1 - axis]
        at[:, 2] = level
        x, y = np.where(axis == 0, deep, wide), np.where(axis == 0, wide, deep)
        slot = FURNITURE + piece % FURNITURE_SLOTS
        made.box(x, y, high, list(at.T), None, slot, numbers.chance(of=0.25 + 0.6 * clutter))
