"""Random numbers of many scenes at once, each scene's from its own seed."""

from collections.abc import Sequence

import numpy as np

BLOCK = 2048


class Numbers:
    """A stream of numbers for each seed of a batch; what a seed gives does not depend on its neighbours.

    Every draw takes the same count from each stream, so that the shapes of draws may depend on settings alone.
    """

    def __init__(self, seeds: Sequence[int], stream: int) -> None:
        self._generators = [np.random.default_rng([stream, seed]) for seed in seeds]
        self._table = np.empty((len(seeds), 0))
        self._next = 0

    def uniform(self, *shape: int, low: float | np.ndarray = 0.0, high: float | np.ndarray = 1.0) -> np.ndarray:
        """(B, *shape) float64, even in [low, high)."""
        count = int(np.prod(shape))
        while self._next + count > self._table.shape[1]:
            block = np.stack([generator.random(BLOCK) for generator in self._generators])
            self._table = np.concatenate([self._table[:, self._next :], block], axis=1)
            self._next = 0
        taken = self._table[:, self._next : self._next + count].reshape(len(self._generators), *shape)
        self._next += count
        return low + (high - low) * taken

    def logarithmic(self, *shape: int, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        """(B, *shape) float64 whose logarithm is even in [log low, log high)."""
        return np.exp(self.uniform(*shape, low=np.log(low), high=np.log(high)))

    def normal(self, *shape: int) -> np.ndarray:
        """(B, *shape) float64 of the standard normal distribution (Box and Muller)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(*shape)))
        return radius * np.cos(2 * np.pi * self.uniform(*shape))

    def whole(self, *shape: int, below: int | np.ndarray) -> np.ndarray:
        """(B, *shape) int64, even in 0 .. below - 1."""
        return np.minimum((self.uniform(*shape) * below).astype(np.int64), np.asarray(below) - 1)

    def chance(self, *shape: int, of: float | np.ndarray) -> np.ndarray:
        """(B, *shape) bool, true with probability `of`."""
        return self.uniform(*shape) < of
