"""Identities of things that a network finds: which thing of the newest set is which known one.

What is found as one thing where two were, in several sets running, is merged: the smaller one's id ends. A thing that
has part of another one's place becomes a thing of its own, split off, after several sets.
"""

import numpy as np

from geoseg_core.instances.found import FoundConfig, Sighting
from geoseg_core.instances.found_association import Closeness, compared, masks_now, paired
from geoseg_core.instances.keeper import IdentityConfig, Keeper
from geoseg_core.instances.tracks import MAX_POINTS, Track, new_track, unseen_reason
from geoseg_core.instances.voxels import Foreground
from geoseg_core.results import EventKind

STRAY = 3.0  # what is so many times farther from the middle than half of a thing is no part of it
MERGED_AWAY = -1  # in place of the sets in which a track was seen


class FoundKeeper(Keeper):
    """All tracks of one workplace, followed through what a network finds."""

    def __init__(self, config: IdentityConfig, found: FoundConfig) -> None:
        super().__init__(config)
        self.found = found
        self._joined: dict[tuple[int, int], int] = {}

    def clear(self) -> None:
        """Forget all tracks and events; ids go on."""
        super().clear()
        self._joined = {}

    def update(self, seen: Sighting) -> np.ndarray:
        """Follow all tracks into a new set; return the track index (K,) of every thing."""
        stamp_ns = seen.scene.frames.stamp_ns
        closeness = compared(self.tracks, seen, self.found.still)
        whose = np.full(seen.count, -1)
        for number, thing in paired(closeness, self.found):
            whose[thing] = number
        parents = self._parents(closeness, whose)
        self._merge(closeness, whose, stamp_ns)
        for new in np.flatnonzero(whose < 0):
            whose[new] = len(self.tracks)
            self.tracks.append(new_track(seen.foreground, seen.thing == new, stamp_ns))
            self.tracks[-1].parent = parents[new]
        for index, number in enumerate(whose):
            self._remember(self.tracks[number], seen, index)
        for number in sorted(set(range(len(self.tracks))) - set(whose.tolist())):
            self._miss(self.tracks[number], seen)
        self._started = True
        return self._kept(whose, stamp_ns)

    def claim(self, foreground: Foreground, owner: np.ndarray, voxels: np.ndarray, number: int, stamp_ns: int) -> int:
        """Make voxels (M,) bool one thing because somebody says so; changes `owner`, returns the track index.

        `number` is the track that it is (-1: a new one). From the next set on it is what the network finds there.
        """
        if number < 0:
            number = len(self.tracks)
            self.tracks.append(new_track(foreground, voxels, stamp_ns))
        self.confirm(number)
        owner[owner == number] = -1
        owner[voxels] = number
        track = self.tracks[number]
        track.reset_points(foreground, voxels)
        track.last_seen_ns, track.masks = stamp_ns, {}
        return number

    def _parents(self, closeness: Closeness, whose: np.ndarray) -> list[int]:
        """For each thing the id of the seen track that had its place, 0 for none."""
        inside, parents = closeness.thing_in_track(), [0] * len(whose)
        for thing in np.flatnonzero(whose < 0):
            found = [number for number in np.flatnonzero(inside[:, thing]) if number in whose]
            parents[thing] = max((self.tracks[number].object_id for number in found), default=0)
        return parents

    def _merge(self, closeness: Closeness, whose: np.ndarray, stamp_ns: int) -> None:
        """End tracks whose place has been part of another one's thing for several sets; never one that is followed."""
        inside, joined = closeness.track_in_thing(), {}
        for number, track in enumerate(self.tracks):
            if number in whose or track.followed or not track.object_id:
                continue
            things = np.flatnonzero(inside[number] & (whose >= 0))
            for winner in [self.tracks[whose[thing]] for thing in things if self.tracks[whose[thing]].object_id][:1]:
                pair = (winner.object_id, track.object_id)
                joined[pair] = self._joined.get(pair, 0) + 1
                if joined[pair] >= self.found.settle_sets:
                    self._tell(EventKind.MERGED, winner, stamp_ns, "found as one thing", track.object_id)
                    winner.label = winner.label or track.label
                    winner.first_seen_ns = min(winner.first_seen_ns, track.first_seen_ns)
                    track.object_id, track.sets_seen = 0, MERGED_AWAY
        self._joined = joined

    def _remember(self, track: Track, seen: Sighting, thing: int) -> None:
        """Bring a track's memory up to date with the thing that it is now."""
        mine = np.flatnonzero(seen.thing == thing)
        if len(mine):
            mine = mine[together(seen.foreground.centres[mine])]
            track.reset_points(seen.foreground, mine[:: 1 + len(mine) // MAX_POINTS])
        look, rate = seen.found.looks[thing], self.found.look_rate
        mixed = look if track.look.shape != look.shape else (1 - rate) * track.look + rate * look
        track.look = mixed / max(float(np.linalg.norm(mixed)), 1e-9)
        track.masks = masks_now(seen, thing)
        track.found_score = float(seen.found.scores[thing])
        cameras = zip(seen.scene.frames.cameras, seen.shown[:, thing], strict=True)
        self._see(track, tuple(camera for camera, is_shown in cameras if is_shown), seen.scene.frames.stamp_ns)
        self._confirm(track, seen.scene.frames.stamp_ns)

    def _confirm(self, track: Track, stamp_ns: int) -> None:
        """Give a candidate its id when that is time."""
        settled = track.sets_seen >= self.config.confirm_sets
        if track.object_id:
            return
        if track.parent and settled:
            track.object_id = self.new_id()
            parent = next((each for each in self.tracks if each.object_id == track.parent), None)
            if parent is not None:
                self._tell(EventKind.SPLIT, parent, stamp_ns, "found as two things", track.object_id)
        elif not track.parent and (settled or not self._started or len(track.seen_by) > 1):
            self._name(track, stamp_ns)

    def _miss(self, track: Track, seen: Sighting) -> None:
        """A track is not among the things of this set."""
        track.seen_by = ()
        if not self._is_newly_lost(track, seen.scene.frames.stamp_ns):
            return
        reason = "not found"
        if len(track.points):
            hidden = unseen_reason(track, seen.scene.views, seen.cell)
            # Where its place is seen, the network may have missed it as well.
            reason = reason if hidden == "gone" else hidden
        self._lose(track, seen.scene.frames.stamp_ns, reason)

    def _kept(self, whose: np.ndarray, stamp_ns: int) -> np.ndarray:
        """Drop what was unseen for too long or merged away; `whose` (K,) in the numbers of what is left."""
        kept = [
            number
            for number, track in enumerate(self.tracks)
            if track.sets_seen != MERGED_AWAY and self._is_remembered(track, stamp_ns)
        ]
        place = np.full(len(self.tracks) + 1, -1)
        place[kept] = np.arange(len(kept))
        self.tracks = [self.tracks[number] for number in kept]
        return place[whose]


def together(points: np.ndarray) -> np.ndarray:
    """Which of the points (N, 3) lie with most of them, (N,) bool: predicted depth smears at the rims of things."""
    away = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    return np.asarray(away <= STRAY * np.median(away))
