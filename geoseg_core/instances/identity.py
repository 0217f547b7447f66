"""Identity: which cluster of the newest set is which known thing.

A cluster that one track overlaps is that thing. A cluster that several tracks overlap holds things that touch: it is
divided by where those things were and how they moved. What nobody overlaps is matched by place, size and colour with
what is unseen (Hungarian assignment), and otherwise is new.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from geoseg_core.config import setting
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.pointmap import SEEN_THROUGH, occlusion
from geoseg_core.instances.clustering import ClusterConfig, spread
from geoseg_core.instances.tracks import Track, motion, remember, signature, unseen_reason
from geoseg_core.instances.voxels import Foreground
from geoseg_core.results import EventKind, ObjectEvent

MIN_HITS = 8
LAST_ID = 65535
REFUSED = 1e6


@dataclass(frozen=True)
class IdentityConfig:
    """How long things are remembered and when they count as the same."""

    confirm_sets: int = setting(3, "a thing seen by one camera only gets its id after so many sets", "", 1, 100)
    lost_after_s: float = setting(1.0, "a thing unseen for so long is reported lost", "s", 0.0, 60.0)
    remember_s: float = setting(30.0, "a thing unseen for so long is forgotten, unless it is followed", "s", 0.1, 3600.0)
    jump_m: float = setting(0.4, "an unseen thing is searched for within this distance", "m", 0.0, 10.0)
    colour_gate: float = setting(25.0, "and with a mean colour no farther than this (CIE Lab)", "", 0.0, 200.0)
    split_gap_voxels: float = setting(3.0, "parts farther apart than this with free space between are two things",
                                      "voxels", 1.0, 100.0)


class IdentityKeeper:
    """All tracks of one workplace."""

    def __init__(self, config: IdentityConfig, cluster_config: ClusterConfig) -> None:
        self.config = config
        self.cluster_config = cluster_config
        self.tracks: list[Track] = []
        self.next_id = 1
        self._started = False

    def clear(self) -> None:
        """Forget all tracks; ids go on."""
        self.tracks = []
        self._started = False

    def replace(self, tracks: list[Track], next_id: int) -> None:
        """Take over remembered tracks; ids go on from `next_id`."""
        self.tracks, self.next_id = tracks, next_id

    def confirm(self, number: int) -> None:
        """Give a candidate its id at once."""
        if self.tracks[number].object_id == 0:
            self.tracks[number].object_id = self.new_id()

    def new_id(self) -> int:
        """An id that was never given before; 0 when all are used up."""
        self.next_id += 1
        return self.next_id - 1 if self.next_id - 1 <= LAST_ID else 0

    def update(
        self, scene: EncodedScene, foreground: Foreground, clusters: np.ndarray, stamp_ns: int
    ) -> tuple[np.ndarray, list[ObjectEvent]]:
        """Follow all tracks into a new set; return the track index (M,) of every voxel (-1 = none) and the events."""
        events: list[ObjectEvent] = []
        sizes = np.bincount(clusters, minlength=1)
        overlap = self._overlap(foreground, clusters, len(sizes), stamp_ns)
        owner = np.full(len(clusters), -1, np.int32)
        poses: dict[int, np.ndarray] = {}
        for index in range(len(sizes)):
            voxels = np.flatnonzero(clusters == index) if sizes[index] >= MIN_HITS else np.zeros(0, int)
            rivals = np.flatnonzero(overlap[:, index])
            if len(voxels) and len(rivals) == 1:
                owner[voxels] = rivals[0]
            elif len(voxels) and len(rivals) > 1:
                owner[voxels] = self._divide(foreground, voxels, rivals, poses, stamp_ns)
        self._match_unseen(foreground, clusters, sizes, owner, events, stamp_ns)
        self._split(scene, foreground, clusters, sizes, owner, events, stamp_ns)
        self._add_new(foreground, clusters, sizes, owner, stamp_ns)
        self._remember_all(scene, foreground, owner, poses, events, stamp_ns)
        self._started = True
        return owner, events

    def claim(
        self, foreground: Foreground, owner: np.ndarray, voxels: np.ndarray, number: int, stamp_ns: int
    ) -> tuple[int, list[ObjectEvent]]:
        """Make voxels (M,) bool one thing because somebody says so; return its track index and the events.

        `number` is the track that it is (-1: a new one). What that track had beyond them becomes a thing of its own;
        other tracks lose what is claimed, and one that loses nearly all is merged into it.
        """
        events: list[ObjectEvent] = []
        if number < 0:
            number = len(self.tracks)
            self.tracks.append(self._track(foreground, voxels, stamp_ns))
        else:
            rest = (owner == number) & ~voxels
            if rest.sum() >= self.cluster_config.min_voxels:
                self._detach(foreground, number, rest, owner, events, stamp_ns)
        track = self.tracks[number]
        if track.object_id == 0:
            track.object_id = self.new_id()
        for other in np.unique(owner[voxels & (owner >= 0) & (owner != number)]):
            self._take(foreground, owner, voxels, track, int(other), events, stamp_ns)
        owner[voxels] = number
        self._reset_points(track, foreground, voxels)
        track.last_seen_ns = stamp_ns
        return number, events

    def _take(
        self, foreground: Foreground, owner: np.ndarray, voxels: np.ndarray, winner: Track, other: int,
        events: list[ObjectEvent], stamp_ns: int,
    ) -> None:
        """Take claimed voxels from another track; what is left of it goes on, if it is enough."""
        loser = self.tracks[other]
        left = (owner == other) & ~voxels
        if left.sum() >= self.cluster_config.min_voxels:
            self._reset_points(loser, foreground, left)
            if loser.object_id:
                partner = (winner.object_id,)
                events.append(ObjectEvent(EventKind.SPLIT, loser.object_id, stamp_ns, "divided by a prompt", partner))
            return
        voxels |= owner == other
        self._reset_points(loser, foreground, np.zeros(len(owner), bool))
        winner.label = winner.label or loser.label
        winner.first_seen_ns = min(winner.first_seen_ns, loser.first_seen_ns)
        if loser.object_id:
            related = (loser.object_id,)
            events.append(ObjectEvent(EventKind.MERGED, winner.object_id, stamp_ns, "joined by a prompt", related))
        loser.object_id, loser.followed, loser.last_seen_ns = 0, False, -(2**62)

    @staticmethod
    def _reset_points(track: Track, foreground: Foreground, voxels: np.ndarray) -> None:
        track.points, track.colours = foreground.centres[voxels], foreground.colours[voxels]
        track.fresh = np.ones(len(track.points), bool)

    def _overlap(self, foreground: Foreground, clusters: np.ndarray, count: int, stamp_ns: int) -> np.ndarray:
        """Which tracks have a real part of their points in which clusters: (T, C) bool."""
        result = np.zeros((len(self.tracks), count), bool)
        for row, track in enumerate(self.tracks):
            voxel = foreground.lattice.find(track.predicted(stamp_ns))
            found = voxel[voxel >= 0]
            hits = np.bincount(clusters[found], minlength=count)
            result[row] = hits >= max(MIN_HITS, 0.05 * len(voxel))
        return result

    def _divide(
        self, foreground: Foreground, voxels: np.ndarray, rivals: np.ndarray, poses: dict[int, np.ndarray], stamp_ns: int
    ) -> np.ndarray:
        """Share the voxels of one cluster between the tracks that overlap it; their track indices."""
        size, weight = foreground.lattice.voxel_m, self.cluster_config.colour_weight
        centres, colours = foreground.centres[voxels].astype(np.float64), foreground.colours[voxels]
        marks = signature(centres, colours, size, weight)
        tree = cKDTree(marks)
        distance = np.empty((len(rivals), len(voxels)))
        for row, rival in enumerate(rivals):
            track = self.tracks[rival]
            known = track.fresh if track.fresh.sum() >= MIN_HITS else np.ones(len(track.points), bool)
            ahead = track.predicted(stamp_ns)
            pose = motion(ahead[known], track.colours[known], tree, centres, size, weight)
            poses[int(rival)] = pose
            moved = ahead @ pose[:3, :3].T + pose[:3, 3]
            distance[row] = cKDTree(signature(moved, track.colours, size, weight)).query(marks)[0]
        order = np.sort(distance, axis=0)
        sure = (order[0] < 2.5) & (order[1] - order[0] > 0.5)
        seeds = np.where(sure, distance.argmin(0), -1)
        shared = spread(centres, colours, seeds, self.cluster_config.reach_voxels * size, weight * size)
        shared = np.where(shared < 0, distance.argmin(0), shared)
        return rivals[shared].astype(np.int32)

    def _match_unseen(
        self, foreground: Foreground, clusters: np.ndarray, sizes: np.ndarray, owner: np.ndarray,
        events: list[ObjectEvent], stamp_ns: int,
    ) -> None:
        """Give clusters that nobody overlaps to tracks that own nothing, by place, size and colour."""
        owned = np.bincount(owner + 1, minlength=len(self.tracks) + 1)[1:]
        unseen = np.flatnonzero(owned == 0)
        taken = np.bincount(clusters, weights=owner >= 0, minlength=len(sizes)) > 0
        loose = np.flatnonzero((sizes >= self.cluster_config.min_voxels) & ~taken)
        if len(unseen) == 0 or len(loose) == 0:
            return
        cost = np.full((len(unseen), len(loose)), REFUSED)
        for column, index in enumerate(loose):
            mine = clusters == index
            centre, colour = foreground.centres[mine].mean(0), foreground.colours[mine].mean(0)
            for row, number in enumerate(unseen):
                track = self.tracks[number]
                away = np.linalg.norm(track.centre - centre) / max(self.config.jump_m, 1e-6)
                tint = np.linalg.norm(track.colours.mean(0) - colour) / max(self.config.colour_gate, 1e-6)
                ratio = abs(np.log(sizes[index] / len(track.points)))
                if away < 1 and tint < 1 and ratio < 1.4:
                    cost[row, column] = away + tint + 0.3 * ratio
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if cost[row, column] < REFUSED:
                owner[clusters == loose[column]] = unseen[row]

    def _split(
        self, scene: EncodedScene, foreground: Foreground, clusters: np.ndarray, sizes: np.ndarray, owner: np.ndarray,
        events: list[ObjectEvent], stamp_ns: int,
    ) -> None:
        """Make two things of a track whose parts lie apart with free space seen between them."""
        for number, track in enumerate(list(self.tracks)):
            mine = owner == number
            parts = np.bincount(clusters[mine], minlength=len(sizes))
            parts = np.flatnonzero(parts >= max(self.cluster_config.min_voxels, 0.15 * parts.max(initial=1)))
            if len(parts) < 2:
                track.apart = 0
                continue
            counts = [int((mine & (clusters == part)).sum()) for part in parts]
            main = parts[int(np.argmax(counts))]
            others = [part for part in parts if part != main]
            body = mine & (clusters == main)
            free = [part for part in others if self._is_free(scene, foreground, body, mine & (clusters == part))]
            track.apart = track.apart + 1 if free else 0
            if track.apart < self.config.confirm_sets:
                continue
            track.apart = 0
            for part in free:
                self._detach(foreground, number, mine & (clusters == part), owner, events, stamp_ns)

    def _is_free(self, scene: EncodedScene, foreground: Foreground, first: np.ndarray, second: np.ndarray) -> bool:
        """Whether a view sees through the gap between two groups of voxels (M,) bool."""
        goal, start = foreground.centres[first], foreground.centres[second]
        distance, nearest = cKDTree(goal).query(start)
        closest = int(distance.argmin())
        size = foreground.lattice.voxel_m
        if distance[closest] < self.config.split_gap_voxels * size:
            return False
        steps = np.linspace(0.25, 0.75, 5)[:, None]
        between = start[closest] * (1 - steps) + goal[nearest[closest]] * steps
        states = [occlusion(between.astype(np.float32), view, size, 0.004) for view in scene.views]
        return bool((np.stack(states) == SEEN_THROUGH).any())

    def _detach(
        self, foreground: Foreground, number: int, part: np.ndarray, owner: np.ndarray, events: list[ObjectEvent],
        stamp_ns: int,
    ) -> Track:
        """Make voxels (M,) bool of a track a thing of their own."""
        track = self.tracks[number]
        child = self._track(foreground, part, stamp_ns)
        child.object_id = self.new_id()
        owner[part] = len(self.tracks)
        self.tracks.append(child)
        if track.object_id:
            events.append(ObjectEvent(EventKind.SPLIT, track.object_id, stamp_ns, "a part came off", (child.object_id,)))
        return child

    def _add_new(
        self, foreground: Foreground, clusters: np.ndarray, sizes: np.ndarray, owner: np.ndarray, stamp_ns: int
    ) -> None:
        taken = np.bincount(clusters, weights=owner >= 0, minlength=len(sizes)) > 0
        for index in np.flatnonzero((sizes >= self.cluster_config.min_voxels) & ~taken):
            mine = clusters == index
            owner[mine] = len(self.tracks)
            self.tracks.append(self._track(foreground, mine, stamp_ns))

    def _track(self, foreground: Foreground, mine: np.ndarray, stamp_ns: int) -> Track:
        points, colours = foreground.centres[mine], foreground.colours[mine]
        return Track(0, points, colours, np.ones(len(points), bool), stamp_ns, stamp_ns, sets_seen=0)

    def _remember_all(
        self, scene: EncodedScene, foreground: Foreground, owner: np.ndarray, poses: dict[int, np.ndarray],
        events: list[ObjectEvent], stamp_ns: int,
    ) -> None:
        """Bring every track's memory up to date; confirm, lose, find and forget."""
        size = foreground.lattice.voxel_m
        kept: list[int] = []
        for number, track in enumerate(self.tracks):
            mine = owner == number
            if mine.sum() >= MIN_HITS:
                self._seen(track, scene, foreground, mine, poses.get(number), events, stamp_ns)
            else:
                owner[mine] = -1
                track.seen_by = ()
                self._unseen(track, scene, size, events, stamp_ns)
            unseen_s = (stamp_ns - track.last_seen_ns) / 1e9
            limit_s = self.config.remember_s if track.object_id else self.config.lost_after_s
            if track.followed or unseen_s <= limit_s:
                kept.append(number)
        place = np.full(len(self.tracks) + 1, -1, np.int32)
        place[kept] = np.arange(len(kept))
        owner[:] = place[owner]
        self.tracks = [self.tracks[number] for number in kept]

    def _seen(
        self, track: Track, scene: EncodedScene, foreground: Foreground, mine: np.ndarray, pose: np.ndarray | None,
        events: list[ObjectEvent], stamp_ns: int,
    ) -> None:
        size = foreground.lattice.voxel_m
        elapsed_s = (stamp_ns - track.last_seen_ns) / 1e9
        shift = self._shift(track, foreground, mine, stamp_ns) if pose is None else pose
        if elapsed_s > 0:
            shift = shift @ translation(track.predicted(stamp_ns)[0] - track.points[0])
            moved = shift[:3, :3] @ track.centre + shift[:3, 3] - track.centre
            track.velocity = moved / elapsed_s if elapsed_s < 0.5 else np.zeros(3)
        remember(track, shift, foreground, mine, scene.views, size)
        track.seen_by = tuple(
            name for name, counts in zip(scene.frames.cameras, foreground.counts, strict=True) if counts[mine].sum()
        )
        track.sets_seen += 1
        if track.lost:
            reason = f"seen again after {elapsed_s:.1f} s by {', '.join(track.seen_by)}"
            events.append(ObjectEvent(EventKind.FOUND, track.object_id, stamp_ns, reason))
        track.lost = False
        track.last_seen_ns = stamp_ns
        large = not self._started and mine.sum() >= 4 * self.cluster_config.min_voxels
        sure = large or len(track.seen_by) > 1 or track.sets_seen >= self.config.confirm_sets
        if track.object_id == 0 and sure:
            track.object_id = self.new_id()
            reason = f"new, seen by {', '.join(track.seen_by)}"
            events.append(ObjectEvent(EventKind.FOUND, track.object_id, stamp_ns, reason))

    def _shift(self, track: Track, foreground: Foreground, mine: np.ndarray, stamp_ns: int) -> np.ndarray:
        """How a track that stands alone moved beyond its prediction (4, 4)."""
        ahead = track.predicted(stamp_ns)[track.fresh]
        voxel = foreground.lattice.find(ahead)
        if len(ahead) < MIN_HITS or ((voxel >= 0) & mine[voxel]).mean() > 0.8:
            return np.eye(4)
        size, weight = foreground.lattice.voxel_m, self.cluster_config.colour_weight
        goal, colours = foreground.centres[mine].astype(np.float64), foreground.colours[mine]
        tree = cKDTree(signature(goal, colours, size, weight))
        return motion(ahead, track.colours[track.fresh], tree, goal, size, weight)

    def _unseen(
        self, track: Track, scene: EncodedScene, size: float, events: list[ObjectEvent], stamp_ns: int
    ) -> None:
        track.velocity = np.zeros(3)
        unseen_s = (stamp_ns - track.last_seen_ns) / 1e9
        if track.object_id and not track.lost and unseen_s > self.config.lost_after_s:
            track.lost = True
            reason = f"{unseen_reason(track, scene.views, size)}, unseen for {unseen_s:.1f} s"
            events.append(ObjectEvent(EventKind.LOST, track.object_id, stamp_ns, reason))


def translation(step: np.ndarray) -> np.ndarray:
    """The motion (4, 4) that adds `step` (3,)."""
    pose = np.eye(4)
    pose[:3, 3] = step
    return pose
