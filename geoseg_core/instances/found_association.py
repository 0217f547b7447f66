"""Which thing that a network found is which track: by place in the images, place in 3-D and look, in one assignment.

Without measured depth none of the three suffices: depth is noisy and lengths may have no unit, so that places in 3-D
shift from set to set; masks overlap those of before only where the camera stands still; equal things look alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from geoseg_core.instances.found import FoundConfig, Sighting
from geoseg_core.instances.shared_cells import Pieces, SharedCells, shared_cells
from geoseg_core.instances.tracks import SeenMask, Track

THINNED = 4  # masks are compared on every fourth pixel each way
# A part of a thing lies in another one if so much of its mask does, and so much of its cells, which noise moves.
PART, PART_OF_CELLS = 0.5, 0.15


@dataclass(frozen=True, eq=False)
class Closeness:
    """T tracks compared with K things.

    Attributes:
        masks: pixels that they share in the cameras that saw a track and stand still; a track has 0 without any.
        cells: cells that they share.
        looks: (T, K) cosine of their looks; NaN where one is not known.
    """

    masks: SharedCells
    cells: SharedCells
    looks: np.ndarray

    def places(self) -> np.ndarray:
        """(T, K) from 0 to 1, how much of their places they share: the mean of what is known of images and cells."""
        union = self.masks.first[:, None] + self.masks.second - self.masks.shared
        parts = np.stack([self.masks.shared / np.maximum(union, 1), self.cells.overlap()])
        known = np.stack([self._masks_known(), self.cells.known()])
        return np.asarray((parts * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1))

    def track_in_thing(self) -> np.ndarray:
        """(T, K) bool, most of a track's place is in a thing."""
        return self._within(self.masks.part_of_first(), self.cells.part_of_first())

    def thing_in_track(self) -> np.ndarray:
        """(T, K) bool, most of a thing's place was a track's."""
        return self._within(self.masks.part_of_second(), self.cells.part_of_second())

    def _masks_known(self) -> np.ndarray:
        return np.broadcast_to(self.masks.first[:, None] > 0, self.masks.shared.shape)

    def _within(self, masks: np.ndarray, cells: np.ndarray) -> np.ndarray:
        seen, placed = self._masks_known(), self.cells.known()
        by_cells = np.where(placed, cells >= np.where(seen, PART_OF_CELLS, PART), seen)
        return np.asarray(by_cells & np.where(seen, masks >= PART, True))


def compared(tracks: Sequence[Track], seen: Sighting, still: float) -> Closeness:
    """Compare tracks with the things of a set.

    still: how little a camera has moved that stands still, in radians and in parts of the distance.
    """
    whose = np.repeat(np.arange(len(tracks)), [len(track.points) for track in tracks])
    points = [np.zeros((0, 3), np.float32), *(track.points for track in tracks)]
    ours = Pieces(np.concatenate(points), whose, len(tracks)).thinned()
    theirs = Pieces(seen.foreground.centres, seen.thing, seen.count).thinned()
    cells = shared_cells(ours, theirs, seen.cell or 1.0)
    return Closeness(shared_masks(tracks, seen, still), cells, alike(tracks, seen.found.looks))


def shared_masks(tracks: Sequence[Track], seen: Sighting, still: float) -> SharedCells:
    """Pixels that masks of tracks share with those of things now, over the cameras that saw a track and stand still."""
    shared, second = np.zeros((2, len(tracks), seen.count))
    first = np.zeros(len(tracks))
    views = zip(seen.scene.frames.cameras, seen.scene.views, seen.found.labels, strict=True)
    for camera, view, labels in views:
        small = thinned(labels)
        counts = np.bincount(small.ravel(), minlength=seen.count + 1)[1:]
        for row, track in enumerate(tracks):
            known = track.masks.get(camera)
            if known is None or known.mask.shape != small.shape:
                continue
            if moved_by(known.camera_to_world, view.camera_to_world, seen.distance) > still:
                continue
            shared[row] += np.bincount(small[known.mask], minlength=seen.count + 1)[1:]
            first[row] += np.count_nonzero(known.mask)
            second[row] += counts
    return SharedCells(shared, first, second)


def thinned(labels: np.ndarray) -> np.ndarray:
    """A label image (H, W) on every few pixels."""
    return labels[::THINNED, ::THINNED]


def masks_now(seen: Sighting, thing: int) -> dict[str, SeenMask]:
    """The masks of a thing by camera, where it is seen."""
    views = zip(seen.scene.frames.cameras, seen.scene.views, seen.found.labels, strict=True)
    masks = {camera: SeenMask(thinned(labels) == thing + 1, view.camera_to_world) for camera, view, labels in views}
    return {camera: each for camera, each in masks.items() if each.mask.any()}


def moved_by(before: np.ndarray, now: np.ndarray, distance: float) -> float:
    """How far a camera (4, 4) turned and moved, in radians and in parts of a distance, together."""
    cosine = (np.trace(before[:3, :3].T @ now[:3, :3]) - 1) / 2
    way = float(np.linalg.norm(now[:3, 3] - before[:3, 3]))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0))) + way / max(distance, 1e-9)


def alike(tracks: Sequence[Track], looks: np.ndarray) -> np.ndarray:
    """(T, K) cosine of the looks of tracks and of things (K, D); NaN where one is not known."""
    result = np.full((len(tracks), len(looks)), np.nan)
    described = np.flatnonzero(np.linalg.norm(looks, axis=1) > 0.5)
    for row, track in enumerate(tracks):
        if track.look.shape == looks.shape[1:] and track.look.any():
            result[row, described] = looks[described] @ track.look
    return result


def paired(closeness: Closeness, config: FoundConfig) -> list[tuple[int, int]]:
    """Tracks with the things that they are, best together: (track, thing).

    A pair needs a place in common and a look that does not contradict it, or a look that says enough by itself.
    """
    places, looks = closeness.places(), closeness.looks
    unknown = np.isnan(looks)
    here = (places >= config.least_overlap) & (unknown | (looks >= config.least_look))
    allowed = here | (~unknown & (looks >= config.sure_look))
    value = np.where(allowed, places + np.where(unknown, config.least_look, looks), 0.0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]
