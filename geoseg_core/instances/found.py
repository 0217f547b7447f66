"""What a network found in one set, with its place in 3-D: voxels for each thing, and duplicates made one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.finder import FoundThings
from geoseg_core.instances.shared_cells import Pieces, shared_cells
from geoseg_core.instances.voxels import Foreground


@dataclass(frozen=True)
class FoundConfig:
    """How things that a network finds are lifted, and followed over time."""

    least_confidence: float = setting(
        0.5, "what has less confidence in its depth is no part of clouds and boxes", "", 0.0, 1.0
    )
    cell: float = setting(
        0.04, "edge of the cells in which things are compared, as part of the median distance", "", 0.001, 1.0
    )
    merge_overlap: float = setting(
        0.35, "two things of one set that share more of their cells than this are one", "", 0.0, 1.0
    )
    least_overlap: float = setting(
        0.15, "a thing is searched for where its masks or its cells overlap so much", "", 0.0, 1.0
    )
    least_look: float = setting(0.5, "if its look is at least as similar (cosine)", "", -1.0, 1.0)
    sure_look: float = setting(0.85, "a look so similar is that of the same thing wherever it is", "", -1.0, 1.0)
    look_rate: float = setting(0.3, "how fast the remembered look follows the newest one", "", 0.0, 1.0)
    still: float = setting(
        0.05, "masks are compared where a camera moved and turned less: radians, parts of the distance", "", 0.0, 10.0
    )
    settle_sets: int = setting(5, "two things that are found as one in so many sets running are merged", "", 1, 1000)


@dataclass(frozen=True, eq=False)
class Sighting:
    """The K things of one set.

    Attributes:
        scene: what was seen.
        found: the things, without duplicates.
        foreground: the pixels of things whose place is known, in M voxels.
        thing: (M,) the thing that most of a voxel's pixels carry, from 0.
        cell: edge of the cells in which things are compared, in the scene's unit; distance: the median depth.
    """

    scene: EncodedScene
    found: FoundThings
    foreground: Foreground
    thing: np.ndarray
    cell: float
    distance: float

    @property
    def count(self) -> int:
        """Number of things."""
        return len(self.found.scores)

    @cached_property
    def shown(self) -> np.ndarray:
        """(V, K) bool, which views show which things."""
        counts = [np.bincount(image.ravel(), minlength=self.count + 1)[1:] for image in self.found.labels]
        return np.stack(counts) > 0


def sighting_of(
    scene: EncodedScene, found: FoundThings, foreground: Foreground, distance: float, config: FoundConfig
) -> Sighting:
    """What was found and where it is; things that share most of their place are one.

    Args:
        distance: the median depth.
    """
    counts = pixel_counts(found, foreground)
    voxels, things = np.nonzero(counts)
    cell = config.cell * distance
    pieces = Pieces(foreground.centres[voxels], things, counts.shape[1]).thinned()
    numbers = merged_numbers(shared_cells(pieces, pieces, cell or 1.0).overlap(), config.merge_overlap)
    kept = np.flatnonzero(numbers == np.arange(len(numbers)))
    place = np.searchsorted(kept, numbers)
    merged = np.zeros((len(counts), len(kept)), counts.dtype)
    np.add.at(merged.T, place, counts.T)
    table = np.append(0, place + 1).astype(np.uint16)
    labels = tuple(table[image] for image in found.labels)
    classes = None if found.classes is None else found.classes[kept]
    one = FoundThings(labels, found.scores[kept], found.looks[kept], classes)
    thing = merged.argmax(axis=1) if len(kept) else np.zeros(0, np.intp)
    return Sighting(scene, one, foreground, thing, cell, distance)


def pixel_counts(found: FoundThings, foreground: Foreground) -> np.ndarray:
    """(M, K) how many pixels of each voxel carry each thing."""
    voxels, things = len(foreground.centres), len(found.scores)
    total = np.zeros(voxels * (things + 1), np.int64)
    for image, pixels, voxel_of in zip(found.labels, foreground.pixels, foreground.voxel_of, strict=True):
        total += np.bincount(voxel_of * (things + 1) + image.reshape(-1)[pixels], minlength=len(total))
    return total.reshape(voxels, things + 1)[:, 1:]


def merged_numbers(overlap: np.ndarray, most: float) -> np.ndarray:
    """(K,) for each thing the first one, in their order, that it overlaps (K, K) by more than `most`; else itself."""
    numbers = np.arange(len(overlap))
    for number in range(len(overlap)):
        earlier = np.flatnonzero((overlap[number, :number] > most) & (numbers[:number] == np.arange(number)))
        if len(earlier):
            numbers[number] = earlier[overlap[number, earlier].argmax()]
    return numbers
