"""Primitives as rows of numbers: what the ray caster intersects, and how bodies are put together from them.

Kinds and their parameters, in the primitive's own frame:
    ROOM     half extents x y z; seen from inside
    BOX      half extents x y z
    LATHE    A B C z0 z1 hole0 hole1 sx sy: the surface (x/sx)^2 + (y/sy)^2 = A + B z + C z^2 between z0 and z1, with
             flat caps where (x/sx)^2 + (y/sy)^2 >= hole. Cylinders, cones, ellipsoids, bowls and vases are all this.
    ROUNDED  half extents x y z, radius of the edges (inside the half extents)
    LINK     R r L clip: a ring about z of tube radius r, pulled apart by L along x, kept where x > clip
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NONE, ROOM, BOX, LATHE, ROUNDED, LINK = -1, 0, 1, 2, 3, 4
PARAMETERS = 9
OPEN = 1e6
NO_CLIP = -1e3

Number = float | np.ndarray


@dataclass
class Primitives:
    """Primitives of (..., P): kind int64, params, bounds (low and high corner), pose in the body, and material slot."""

    kind: np.ndarray
    params: np.ndarray
    bounds: np.ndarray
    to_body: np.ndarray
    slot: np.ndarray


class Builder:
    """Collects the primitives of `count` bodies of one sort; sizes are numbers or one for each body, (count,)."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]] = []

    def add(self, kind: int, params: Sequence[Number], low: Sequence[Number], high: Sequence[Number],
            at: Sequence[Number], turn: np.ndarray | None, slot: int,
            present: np.ndarray | None = None) -> None:  # fmt: skip
        """One primitive of every body, turned by `turn` (3, 3) or (count, 3, 3) and moved to `at`."""
        params = [*params, *[0.0] * (PARAMETERS - len(params))]
        pose = np.broadcast_to(np.eye(4), (self.count, 4, 4)).copy()
        if turn is not None:
            pose[:, :3, :3] = turn
        pose[:, :3, 3] = self._columns(at)
        kinds = np.full(self.count, kind)
        if present is not None:
            kinds = np.where(present, kinds, NONE)
        bounds = np.stack([self._columns(low), self._columns(high)], axis=1)
        self._rows.append((kinds, self._columns(params), bounds, pose, slot))

    def box(self, x: Number, y: Number, z: Number, at: Sequence[Number], turn: np.ndarray | None = None, slot: int = 0,
            present: np.ndarray | None = None) -> None:  # fmt: skip
        """A box of half extents x, y, z."""
        self.add(BOX, [x, y, z], [-x, -y, -z], [x, y, z], at, turn, slot, present)

    def rounded(self, x: Number, y: Number, z: Number, radius: Number, at: Sequence[Number],
                turn: np.ndarray | None = None, slot: int = 0) -> None:  # fmt: skip
        """A box with round edges."""
        self.add(ROUNDED, [x, y, z, radius], [-x, -y, -z], [x, y, z], at, turn, slot)

    def cone(self, bottom: Number, top: Number, z0: Number, z1: Number, at: Sequence[Number],
             turn: np.ndarray | None = None, slot: int = 0, holes: tuple[Number, Number] = (0.0, 0.0),
             flat: Number = 1.0) -> None:  # fmt: skip
        """A cylinder or cone of two radii between z0 and z1; caps have holes of these radii; y is scaled by `flat`."""
        slope = (np.asarray(top) - bottom) / (np.asarray(z1) - z0)
        start = bottom - slope * z0
        widest = np.maximum(bottom, top)
        holes_squared = [np.asarray(hole) ** 2 for hole in holes]
        params = [start**2, 2 * slope * start, slope**2, z0, z1, *holes_squared, 1.0, flat]
        self.add(LATHE, params, [-widest, -widest * flat, z0], [widest, widest * flat, z1], at, turn, slot)

    def ellipsoid(self, x: Number, y: Number, z: Number, at: Sequence[Number], turn: np.ndarray | None = None,
                  slot: int = 0, part: tuple[Number, Number] = (-1.0, 1.0),
                  holes: tuple[Number, Number] = (0.0, 0.0)) -> None:  # fmt: skip
        """An ellipsoid, or its part between two heights in units of z; caps have holes of these radii along x."""
        z0, z1 = part[0] * np.asarray(z), part[1] * np.asarray(z)
        holes_squared = [(np.asarray(hole) / x) ** 2 for hole in holes]
        params = [1.0, 0.0, -1 / np.asarray(z) ** 2, z0, z1, *holes_squared, x, y]
        self.add(LATHE, params, [-x, -y, z0], [x, y, z1], at, turn, slot)

    def link(self, ring: Number, tube: Number, length: Number, at: Sequence[Number], turn: np.ndarray | None = None,
             slot: int = 0, clip: Number = NO_CLIP) -> None:  # fmt: skip
        """A ring about z, pulled apart by `length` to both sides along x, kept where x > clip."""
        reach = np.asarray(ring) + tube
        low = [np.maximum(-(reach + length), clip), -reach, -np.asarray(tube)]
        self.add(LINK, [ring, tube, length, clip], low, [reach + length, reach, tube], at, turn, slot)

    def capsule(self, radius: Number, start: Sequence[Number], end: Sequence[Number], slot: int = 0) -> None:
        """A rod with round ends between two points."""
        first, last = self._columns(start), self._columns(end)
        length = np.linalg.norm(last - first, axis=1)
        self.cone(radius, radius, 0.0, length, start, along(last - first), slot, holes=(OPEN, OPEN))
        for point in (start, end):
            self.ellipsoid(radius, radius, radius, point, None, slot)

    def primitives(self, rows: int) -> Primitives:
        """All of them as (count, rows), filled up with nothing."""
        blank = self.count, max(rows - len(self._rows), 0)

        def filled(part: int) -> np.ndarray:
            stacked = np.stack([row[part] for row in self._rows], axis=1)
            return np.concatenate([stacked, np.zeros((*blank, *stacked.shape[2:]))], axis=1)

        kind = np.concatenate([np.stack([row[0] for row in self._rows], axis=1), np.full(blank, NONE)], axis=1)
        to_body = filled(3)
        to_body[:, len(self._rows) :] = np.eye(4)
        slot = np.array([row[4] for row in self._rows] + [0] * blank[1])
        return Primitives(kind, filled(1), filled(2), to_body, np.broadcast_to(slot, kind.shape).copy())

    def _columns(self, values: Sequence[Number] | np.ndarray) -> np.ndarray:
        """(count, len(values))"""
        if isinstance(values, np.ndarray) and values.ndim == 2:
            return values
        return np.stack([np.broadcast_to(value, self.count) for value in values], axis=1).astype(np.float64)


def along(direction: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) that turn z into these directions (n, 3) of any length."""
    z = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    helper = np.where(np.abs(z[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def turn_about(axis: int, angle: Number) -> np.ndarray:
    """Rotation (3, 3) or (n, 3, 3) about x, y or z (0, 1, 2) by radians."""
    angle = np.asarray(angle, np.float64)
    matrix = np.zeros((*angle.shape, 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angle)
    matrix[..., second, first] = np.sin(angle)
    matrix[..., first, second] = -np.sin(angle)
    return matrix
