"""Foreground: the pixels of all views that lie on no support plane, gathered into voxels of the world frame.

A voxel joins what several views see of one place, so everything that is decided for voxels is decided for all views.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geoseg_core.geometry.encoder import EncodedScene

BLOCK = 8  # voxels along each edge of a block; only occupied blocks have cells
HOLE = 6  # pixels: how far holes in depth are filled from their rim
HOLE_COLOUR = 60  # sum of RGB differences: a larger step is a border
MARGIN = 4  # empty voxels round the occupied ones, so that a search next to them stays inside


@dataclass(frozen=True, eq=False)
class Lattice:
    """Voxel cells of edge `voxel_m` in the bounding box of some points; finds the voxel of any point."""

    voxel_m: float
    low: tuple[int, int, int]
    blocks: np.ndarray
    cells: np.ndarray

    def find(self, points: np.ndarray) -> np.ndarray:
        """Voxel index (N,) of world points (N, 3), -1 where there is none."""
        x, y, z = (axis - low for axis, low in zip(cells_of(points, self.voxel_m), self.low, strict=True))
        limit = np.array(self.blocks.shape) * BLOCK
        within = (x >= 0) & (y >= 0) & (z >= 0) & (x < limit[0]) & (y < limit[1]) & (z < limit[2])
        place = self.blocks[x * within >> 3, y * within >> 3, z * within >> 3] * BLOCK**3
        place += ((x & 7) * BLOCK + (y & 7)) * BLOCK + (z & 7)
        return np.where(within, self.cells[place], -1)


@dataclass(frozen=True, eq=False)
class Foreground:
    """Foreground pixels of V views and the M voxels that they fill.

    Attributes:
        pixels: per view, flat indices (N,) of its foreground pixels; small holes in depth are filled.
        voxel_of: per view, voxel index (N,) of each of them.
        lattice: finds the voxel of a world point.
        centres: (M, 3) float32 mean point of each voxel, metres.
        colours: (M, 3) float32 mean colour, CIE Lab.
        counts: (V, M) pixels of each view in each voxel.
    """

    pixels: list[np.ndarray]
    voxel_of: list[np.ndarray]
    lattice: Lattice
    centres: np.ndarray
    colours: np.ndarray
    counts: np.ndarray

    def paint(self, view: int, size: tuple[int, int], voxel_values: np.ndarray) -> np.ndarray:
        """An image (H, W) of the dtype of voxel_values (M,), zero off the foreground."""
        image = np.zeros(size[0] * size[1], voxel_values.dtype)
        image[self.pixels[view]] = voxel_values[self.voxel_of[view]]
        return image.reshape(size)


def gather(scene: EncodedScene, background: tuple[np.ndarray, ...], voxel_m: float) -> Foreground:
    """Put the pixels that are not `background` (V masks (H, W)) into voxels of edge `voxel_m`; they must have depth."""
    pixels = [np.flatnonzero(~mask) for mask in background]
    points = np.concatenate(
        [view.points.reshape(-1, 3).take(index, 0) for view, index in zip(scene.views, pixels, strict=True)]
    )
    colours = np.concatenate(
        [view.image.reshape(-1, 3).take(index, 0) for view, index in zip(scene.frames.views, pixels, strict=True)]
    )
    lattice, voxel_of, count = build_lattice(points, voxel_m)
    ends = np.cumsum([len(index) for index in pixels])
    split = np.split(voxel_of, ends[:-1])
    counts = np.stack([np.bincount(part, minlength=count) for part in split])
    total = np.maximum(counts.sum(0), 1).astype(np.float32)
    centres, means = (
        np.stack([np.bincount(voxel_of, values[:, axis], count) for axis in range(3)], 1) / total[:, None]
        for values in (points, colours)
    )
    for index, (view, geometry, mask) in enumerate(zip(scene.frames.views, scene.views, background, strict=True)):
        holes, nearest = fill_holes(view.image, geometry.depth_m == 0, mask, pixels[index], split[index])
        pixels[index] = np.concatenate([pixels[index], holes])
        split[index] = np.concatenate([split[index], nearest])
    return Foreground(pixels, split, lattice, centres.astype(np.float32), lab(means), counts)


def fill_holes(
    image: np.ndarray, unknown: np.ndarray, background: np.ndarray, pixels: np.ndarray, voxel_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give pixels without depth beside the foreground the voxel of the neighbour that is most like them in colour.

    Returns:
        flat indices (N,) of the holes that are foreground, and the voxel (N,) of each.
    """
    width = unknown.shape[1]
    kernel = np.ones((2 * HOLE + 1, 2 * HOLE + 1), np.uint8)
    # What is wider than a hole is not on the object: the far room behind it, out of the depth camera's range.
    far = cv2.morphologyEx(unknown.view(np.uint8), cv2.MORPH_OPEN, kernel).view(bool)
    beside = cv2.dilate((~background).view(np.uint8), kernel).view(bool)
    open_pixels = unknown & beside & ~far
    open_pixels[[0, -1]] = False
    open_pixels[:, [0, -1]] = False
    left = np.flatnonzero(open_pixels)
    if len(left) == 0:
        return left, np.zeros(0, np.int32)
    values = np.full(unknown.size, -1, np.int32)  # -1 background, -2 open
    values[left] = -2
    values[pixels] = voxel_of
    colours = image.reshape(-1, 3)
    around = left[:, None] + np.array([-1, 1, -width, width])
    step = sum(
        np.abs(channel.take(around).astype(np.int16) - channel.take(left)[:, None])
        for channel in (colours[:, 0], colours[:, 1], colours[:, 2])
    )
    done = []
    for _ in range(HOLE):
        found = values.take(around)
        cost = np.where(found == -2, HOLE_COLOUR + 1, step)
        best = cost.argmin(1)[:, None]
        settled = np.take_along_axis(cost, best, 1)[:, 0] <= HOLE_COLOUR
        values[left[settled]] = np.take_along_axis(found, best, 1)[settled, 0]
        done.append(left[settled])
        left, around, step = left[~settled], around[~settled], step[~settled]
        if len(left) == 0 or not settled.any():
            break
    filled = np.concatenate(done)
    filled = filled[values[filled] >= 0]
    return filled, values[filled]


def cells_of(points: np.ndarray, voxel_m: float) -> list[np.ndarray]:
    """Integer lattice coordinates x, y, z, each (N,) int32, of points (N, 3)."""
    scale = np.float32(1 / voxel_m)
    return [np.floor(points[:, axis] * scale).astype(np.int32) for axis in range(3)]


def build_lattice(points: np.ndarray, voxel_m: float) -> tuple[Lattice, np.ndarray, int]:
    """Lattice over world points (N, 3), the voxel index (N,) of each, and how many voxels there are."""
    if len(points) == 0:
        empty = Lattice(voxel_m, (0, 0, 0), np.zeros((1, 1, 1), np.int32), np.full(BLOCK**3, -1, np.int32))
        return empty, np.zeros(0, np.int32), 0
    x, y, z = cells_of(points, voxel_m)
    low = (int(x.min()) - MARGIN, int(y.min()) - MARGIN, int(z.min()) - MARGIN)
    x, y, z = x - low[0], y - low[1], z - low[2]
    shape = tuple((int(axis.max()) + MARGIN) // BLOCK + 1 for axis in (x, y, z))
    blocks = np.zeros(shape, np.int32)  # block 0 is the empty one
    block_of, block_count = number(((x >> 3) * shape[1] + (y >> 3)) * shape[2] + (z >> 3), blocks.reshape(-1), first=1)
    place = block_of * BLOCK**3 + ((x & 7) * BLOCK + (y & 7)) * BLOCK + (z & 7)
    cells = np.full((block_count + 1) * BLOCK**3, -1, np.int32)
    voxel_of, count = number(place, cells, first=0)
    return Lattice(voxel_m, low, blocks, cells), voxel_of, count


def number(place: np.ndarray, table: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    """Number the distinct values of `place` (N,) from `first` on, in `table`; return the number of each."""
    order = np.arange(len(place), dtype=np.int32)
    table[place] = order
    chosen = np.flatnonzero(table[place] == order)
    table[place[chosen]] = np.arange(first, first + len(chosen), dtype=np.int32)
    return table[place], len(chosen)


def lab(colours: np.ndarray) -> np.ndarray:
    """RGB (N, 3) in [0, 255] to CIE Lab (N, 3) float32 with L in [0, 100]."""
    if len(colours) == 0:
        return np.zeros((0, 3), np.float32)
    return cv2.cvtColor((colours[None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
