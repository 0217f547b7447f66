"""Overlap in 3-D of things that are seen with noisy depth: by cells so wide that the noise matters little."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

ENOUGH = 12000


@dataclass(frozen=True, eq=False)
class Pieces:
    """Points (N, 3) of `count` things, and whose (N,) each is."""

    points: np.ndarray
    whose: np.ndarray
    count: int

    def thinned(self) -> "Pieces":
        """About ENOUGH points at most: cells are much wider than the points are apart."""
        step = 1 + len(self.points) // ENOUGH
        return Pieces(self.points[::step], self.whose[::step], self.count)


@dataclass(frozen=True, eq=False)
class SharedCells:
    """How many cells things of two sorts have in common (A, B), and how many each has: first (A,), second (B,), or
    (A, B) where not all cells are looked at for each of the first."""

    shared: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def overlap(self) -> np.ndarray:
        """(A, B) from 0 to 1: shared cells over the geometric mean of both counts."""
        return self.shared / np.sqrt(np.maximum(self.first[:, None] * self.second, 1))

    def part_of_first(self) -> np.ndarray:
        """(A, B) from 0 to 1: the part of the first that lies in the second."""
        return self.shared / np.maximum(self.first, 1)[:, None]

    def part_of_second(self) -> np.ndarray:
        """(A, B) from 0 to 1: the part of the second that lies in the first."""
        return self.shared / np.maximum(self.second, 1)

    def known(self) -> np.ndarray:
        """(A, B) bool, where both have cells."""
        return (self.first[:, None] > 0) & (self.second > 0)


def shared_cells(first: Pieces, second: Pieces, edge: float) -> SharedCells:
    """Compare things in cells of an edge in the points' unit."""
    points = np.concatenate([first.points, second.points])
    places = np.floor(points / edge).astype(np.int64)
    places -= places.min(axis=0, initial=0)
    size = places.max(axis=0, initial=0) + 1
    keys = (places[:, 0] * size[1] + places[:, 1]) * size[2] + places[:, 2]
    cells, number = np.unique(keys, return_inverse=True)
    split = len(first.points)
    ours = _occupied(first, number[:split], len(cells))
    theirs = _occupied(second, number[split:], len(cells))
    shared = (ours @ theirs.T).toarray()
    return SharedCells(shared, np.asarray(ours.sum(axis=1)), np.asarray(theirs.sum(axis=1)))


def _occupied(pieces: Pieces, cells: np.ndarray, count: int) -> csr_array:
    """(things, cells) with 1 where a thing has a point."""
    pairs = np.unique(pieces.whose.astype(np.int64) * max(count, 1) + cells)
    rows, columns = np.divmod(pairs, max(count, 1))
    return csr_array((np.ones(len(pairs)), (rows, columns)), shape=(pieces.count, count))
