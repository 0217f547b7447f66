"""The unit of the first set, carried from set to set.

A network chooses its unit anew in every set. But most of what a camera that stands still sees is where it was: its
depth, compared with what it was before, tells how long the new unit is, far better than anything tells the metre.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from geoseg_core.geometry.alignment.measurement import DepthFit, fit_depth
from geoseg_core.geometry.encoder import ViewGeometry

# Most tiles of a camera that stands still agree to this part of their depth, or its depth is of no use.
STILL = 0.05
SIDE = 96  # images are thinned to about so many rows or columns


class UnitKeeper:
    """How long the network's unit is in that of the first set.

    Attributes:
        lost: whether nothing of the newest set stood still: then its median depth is taken to be the last one's.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The next set is the first."""
        self.lost = False
        self._seen: dict[str, np.ndarray] = {}
        self._median = 0.0

    def update(self, cameras: Sequence[str], views: Sequence[ViewGeometry], standing: set[str]) -> float:
        """The length of the network's unit in one more set, of which the cameras `standing` have not moved."""
        depths = {camera: thinned(view.depth_m) for camera, view in zip(cameras, views, strict=True)}
        median = median_of(depths.values())
        fits = self._fits({camera: depth for camera, depth in depths.items() if camera in standing})
        still = {camera: fit for camera, fit in fits.items() if fit.residual <= STILL}
        self.lost = bool(self._median) and not still
        length = weighted(list(still.values())) if still else self._median / median if self._median else 1.0
        self._median = length * median
        # What agreed is kept, or the unit would wander by the errors of every set.
        self._seen |= {camera: length * depth for camera, depth in depths.items() if camera not in still}
        return length

    def forget(self, camera: str) -> None:
        self._seen.pop(camera, None)

    def _fits(self, depths: dict[str, np.ndarray]) -> dict[str, DepthFit]:
        fits = {
            camera: fit_depth([depth], [self._seen[camera]])
            for camera, depth in depths.items()
            if camera in self._seen and self._seen[camera].shape == depth.shape
        }
        return {camera: fit for camera, fit in fits.items() if fit is not None}


def weighted(fits: list[DepthFit]) -> float:
    """The mean scale of fits, weighted by their numbers of tiles."""
    return float(np.exp(np.average([np.log(fit.scale) for fit in fits], weights=[fit.tiles for fit in fits])))


def thinned(depth: np.ndarray) -> np.ndarray:
    """Every n-th row and column of an image (H, W)."""
    step = max(min(depth.shape) // SIDE, 1)
    return depth[::step, ::step]


def median_of(depths: Iterable[np.ndarray]) -> float:
    """Median of all known depth, 1 where none is known."""
    known = np.concatenate([depth[depth > 0] for depth in depths])
    return float(np.median(known)) if len(known) else 1.0
