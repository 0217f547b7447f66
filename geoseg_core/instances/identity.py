"""Identity: which cluster of the newest set is which known thing.

A cluster that one track overlaps is that thing. A cluster that several tracks overlap holds things that touch: it is
divided by where those things were and how they moved. What nobody overlaps is matched by place, size and colour with
what is unseen (Hungarian assignment), and otherwise is new.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.association import (
    MIN_HITS,
    KnownPoints,
    closest_track,
    divide,
    gap_is_free,
    hidden_links,
    known_points,
    match_unseen,
    overlaps,
)
from geoseg_core.instances.clustering import ClusterConfig, quick_tree
from geoseg_core.instances.keeper import IdentityConfig, Keeper
from geoseg_core.instances.parts import fine_clusters, parts_of
from geoseg_core.instances.tracks import STALE_S, Track, motion, new_track, remember, signature, unseen_reason
from geoseg_core.instances.voxels import Foreground
from geoseg_core.results import EventKind

STEADY = 0.6  # a track with this part of its points where they were foretold moved as foretold
SPLIT_INTERVAL = 3  # gaps are looked at every so many sets
GOAL_POINTS = 1500  # a motion is measured against about so many points
PART = 0.2  # less of a thing than this is not divided from it


@dataclass(eq=False)
class Association:
    """Work on one set: `owner` (M,) is filled step by step; `poses` holds motions already known by track index."""

    scene: EncodedScene
    foreground: Foreground
    clusters: np.ndarray
    sizes: np.ndarray
    owner: np.ndarray
    poses: dict[int, np.ndarray]
    stamp_ns: int
    fine_m: float


class IdentityKeeper(Keeper):
    """All tracks of one workplace, followed through clusters of voxels."""

    def __init__(self, config: IdentityConfig, cluster_config: ClusterConfig) -> None:
        super().__init__(config)
        self.cluster_config = cluster_config
        self._sets = 0

    def update(
        self, scene: EncodedScene, foreground: Foreground, clusters: np.ndarray, fine_m: float = 0.0
    ) -> np.ndarray:
        """Follow all tracks into a new set; return the track index (M,) of every voxel, -1 = none.

        fine_m: new things are looked at in voxels of this edge, to find gaps inside them; 0: they are not.
        """
        self.tracks = [track for track in self.tracks if len(track.points)]  # not those merged away by a prompt
        sizes = np.bincount(clusters)
        owner = np.full(len(clusters), -1, np.int32)
        work = Association(scene, foreground, clusters, sizes, owner, {}, scene.frames.stamp_ns, fine_m)
        if self.tracks and len(clusters):
            known = known_points(self.tracks, work.stamp_ns)
            self._follow(work, known)
            self._continue(work, known)
        self._find_again(work)
        self._add_new(work)
        if self._sets % SPLIT_INTERVAL == 0:
            self._split(work)
        self._sets += 1
        self._remember(work)
        self._started = True
        return work.owner

    def claim(self, foreground: Foreground, owner: np.ndarray, voxels: np.ndarray, number: int, stamp_ns: int) -> int:
        """Make voxels (M,) bool one thing because somebody says so; changes `owner`, returns the track index.

        `number` is the track that it is (-1: a new one). What that track had beyond them becomes a thing of its own;
        other tracks lose what is claimed, and one that loses nearly all is merged into it.
        """
        voxels = voxels.copy()
        if number < 0:
            number = len(self.tracks)
            self.tracks.append(new_track(foreground, voxels, stamp_ns))
        elif self._is_part(rest := (owner == number) & ~voxels, owner == number):
            self._detach(foreground, number, rest, owner, stamp_ns, "divided by a prompt")
        else:
            voxels |= rest
        self.confirm(number)
        for other in np.unique(owner[voxels & (owner >= 0) & (owner != number)]):
            voxels |= self._take(foreground, owner, voxels, number, int(other), stamp_ns)
        owner[owner == number] = -1
        owner[voxels] = number
        track = self.tracks[number]
        track.reset_points(foreground, voxels)
        track.last_seen_ns = stamp_ns
        return number

    def _take(
        self, foreground: Foreground, owner: np.ndarray, voxels: np.ndarray, number: int, other: int, stamp_ns: int
    ) -> np.ndarray:
        """Take claimed voxels from another track; return (M,) bool what else of it comes along."""
        winner, loser = self.tracks[number], self.tracks[other]
        left = (owner == other) & ~voxels
        if self._is_part(left, owner == other):
            loser.reset_points(foreground, left)
            self._tell(EventKind.SPLIT, loser, stamp_ns, "divided by a prompt", winner.object_id)
            return np.zeros(len(owner), bool)
        winner.label = winner.label or loser.label
        winner.first_seen_ns = min(winner.first_seen_ns, loser.first_seen_ns)
        if loser.object_id:
            self._tell(EventKind.MERGED, winner, stamp_ns, "joined by a prompt", loser.object_id)
        loser.reset_points(foreground, np.zeros(len(owner), bool))
        loser.object_id, loser.followed, loser.sets_seen = 0, False, -1
        return left

    def _is_part(self, part: np.ndarray, whole: np.ndarray) -> bool:
        """Whether voxels (M,) bool are enough of a thing to be one themselves, not just its ragged border."""
        count = np.count_nonzero(part)
        return bool(count >= max(self.cluster_config.min_voxels, PART * np.count_nonzero(whole)))

    def _follow(self, work: Association, known: KnownPoints) -> None:
        """Clusters to the tracks that overlap them; divide those that several tracks overlap."""
        overlap, share = overlaps(known, len(self.tracks), work.foreground, work.clusters)
        for number in np.flatnonzero((share > STEADY) & (overlap.sum(1) == 1)):
            track = self.tracks[number]
            work.poses[int(number)] = translation(track.step(work.stamp_ns))
        rivals = overlap.sum(0)
        work.owner[:] = np.where(rivals == 1, overlap.argmax(0), -1)[work.clusters]
        for index in np.flatnonzero(rivals > 1):
            voxels = np.flatnonzero(work.clusters == index)
            numbers = np.flatnonzero(overlap[:, index])
            tracks = [self.tracks[number] for number in numbers]
            shared, poses = divide(tracks, work.foreground, voxels, work.stamp_ns, self.cluster_config.colour_weight)
            work.owner[voxels] = numbers[shared]
            work.poses.update(zip(numbers.tolist(), poses, strict=True))

    def _loose(self, work: Association) -> np.ndarray:
        """Clusters that are large enough and that no track owns."""
        taken = np.bincount(work.clusters, weights=work.owner >= 0, minlength=len(work.sizes)) > 0
        return np.flatnonzero((work.sizes >= self.cluster_config.min_voxels) & ~taken)

    def _find_again(self, work: Association) -> None:
        owned = np.bincount(work.owner + 1, minlength=len(self.tracks) + 1)[1:]
        unseen, loose = np.flatnonzero(owned == 0), self._loose(work)
        if len(unseen) == 0 or len(loose) == 0:
            return
        means = [
            np.stack([np.bincount(work.clusters, values[:, axis]) for axis in range(3)], 1) / work.sizes[:, None]
            for values in (work.foreground.centres, work.foreground.colours)
        ]
        tracks = [self.tracks[number] for number in unseen]
        gates = (self.config.jump_m, self.config.colour_gate)
        for row, column in match_unseen(tracks, means[0][loose], means[1][loose], work.sizes[loose], *gates):
            work.owner[work.clusters == loose[column]] = unseen[row]

    def _split(self, work: Association) -> None:
        """Make two things of a track whose parts lie apart with free space seen between them.

        Not of one that is followed: a prompt said what belongs to it.
        """
        count = len(work.sizes)
        pairs = work.owner[work.owner >= 0].astype(np.int64) * count + work.clusters[work.owner >= 0]
        shares = np.bincount(pairs, minlength=len(self.tracks) * count).reshape(len(self.tracks), count)
        for number in range(len(self.tracks)):
            track, share = self.tracks[number], shares[number]
            if track.followed:
                continue
            parts = np.flatnonzero(share >= max(self.cluster_config.min_voxels, 0.15 * share.max(initial=0)))
            main = int(share.argmax()) if count else 0
            groups = [(work.owner == number) & (work.clusters == part) for part in parts if part != main]
            centres, body = work.foreground.centres, (work.owner == number) & (work.clusters == main)
            free = [
                group
                for group in groups
                if gap_is_free(centres[body], centres[group], work.scene.views, work.foreground.lattice.voxel_m,
                               self.config.split_gap_voxels)
            ]  # fmt: skip
            track.apart = track.apart + 1 if free else 0
            if track.apart > 1:
                track.apart = 0
                for group in free:
                    self._detach(work.foreground, number, group, work.owner, work.stamp_ns, "a part came off")

    def _detach(
        self, foreground: Foreground, number: int, part: np.ndarray, owner: np.ndarray, stamp_ns: int, reason: str
    ) -> None:
        """Make voxels (M,) bool of a track a thing of their own."""
        owner[part] = len(self.tracks)
        self.tracks.append(new_track(foreground, part, stamp_ns))
        if self.tracks[number].object_id:
            self.confirm(len(self.tracks) - 1)
            self._tell(EventKind.SPLIT, self.tracks[number], stamp_ns, reason, self.tracks[-1].object_id)

    def _continue(self, work: Association, known: KnownPoints) -> None:
        """Give clusters that nobody owns to the track whose points they lie next to, like in colour."""
        centres, colours = work.foreground.centres, work.foreground.colours
        size, weight = work.foreground.lattice.voxel_m, self.cluster_config.colour_weight
        for index in self._loose(work):
            mine = work.clusters == index
            work.owner[mine] = closest_track(known, centres[mine], colours[mine], size, weight)

    def _add_new(self, work: Association) -> None:
        """Make tracks of what is left, joined with what it hangs on to out of sight."""
        loose = self._loose(work)
        views = work.scene.views
        links = {int(index): hidden_links(work.foreground, work.clusters, int(index), views) for index in loose}
        pairs = np.array([(index, other) for index, others in links.items() for other in others if other in links])
        count = len(work.sizes)
        rows, columns = pairs.reshape(-1, 2).T.astype(int)
        groups = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)))[1]
        fine = np.full(len(work.clusters), -1)
        if work.fine_m and len(loose):
            new = np.flatnonzero(np.isin(work.clusters, loose))
            fine[new] = fine_clusters(work.scene, work.foreground, new, work.fine_m)
        for group in np.unique(groups[loose]):
            members = loose[groups[loose] == group]
            mine = np.isin(work.clusters, members)
            owners = work.owner[np.isin(work.clusters, [other for index in members for other in links[int(index)]])]
            owners = owners[owners >= 0]
            if len(owners):
                work.owner[mine] = np.bincount(owners).argmax()
            else:
                self._add_parts(work, np.flatnonzero(mine), fine[mine])

    def _add_parts(self, work: Association, voxels: np.ndarray, fine: np.ndarray) -> None:
        """Make a track of new voxels (indices), or several where a closer look (`fine`) finds gaps between colours."""
        settings = self.cluster_config
        parts = parts_of(work.foreground, voxels, fine, settings.part_colour, settings.min_voxels)
        for part in range(int(parts.max()) + 1):
            work.owner[voxels[parts == part]] = len(self.tracks)
            self.tracks.append(new_track(work.foreground, voxels[parts == part], work.stamp_ns))

    def _remember(self, work: Association) -> None:
        """Bring every track's memory up to date; confirm, lose, find and forget."""
        counts = np.bincount(work.owner + 1, minlength=len(self.tracks) + 1)[1:]
        work.owner[(counts < MIN_HITS)[work.owner] & (work.owner >= 0)] = -1
        order = np.argsort(work.owner, kind="stable")
        groups = np.split(order, np.searchsorted(work.owner[order], np.arange(len(self.tracks))))[1:]
        seen = [number for number in range(len(self.tracks)) if counts[number] >= MIN_HITS]
        poses = [self._move(work, number, groups[number]) for number in seen]
        tracks = [self.tracks[number] for number in seen]
        if seen:
            members = [groups[number] for number in seen]
            remember(tracks, members, poses, work.foreground, work.owner, seen, work.scene.views)
        for track, number in zip(tracks, seen, strict=True):
            self._seen(work, track, groups[number])
        for number in sorted(set(range(len(self.tracks))) - set(seen)):
            self._unseen(work, self.tracks[number])
        self._forget(work)

    def _move(self, work: Association, number: int, mine: np.ndarray) -> np.ndarray:
        """How a track moved since it was seen last (4, 4); notes its velocity."""
        track = self.tracks[number]
        pose = work.poses.get(number)
        if pose is None:
            pose = self._motion_alone(work, track, number, mine)
        elapsed_s = (work.stamp_ns - track.last_seen_ns) / 1e9
        moved = pose[:3, :3] @ track.centre + pose[:3, 3] - track.centre
        track.velocity = moved / elapsed_s if 0 < elapsed_s < STALE_S else np.zeros(3)
        return pose

    def _motion_alone(self, work: Association, track: Track, number: int, mine: np.ndarray) -> np.ndarray:
        """How a track that touches no other moved (4, 4)."""
        step = track.step(work.stamp_ns)
        pose = np.eye(4)
        ahead = (track.points + step)[track.fresh]
        voxel = work.foreground.lattice.find(ahead)
        if len(ahead) >= MIN_HITS and ((voxel >= 0) & (work.owner[voxel] == number)).mean() < 0.5:
            size, weight = work.foreground.lattice.voxel_m, self.cluster_config.colour_weight
            thinned = mine[:: 1 + len(mine) // GOAL_POINTS]
            goal = work.foreground.centres[thinned].astype(np.float64)
            tree = quick_tree(signature(goal, work.foreground.colours[thinned], size, weight))
            pose = motion(ahead, track.colours[track.fresh], tree, goal, size, weight)
        pose[:3, 3] += pose[:3, :3] @ step
        return pose

    def _seen(self, work: Association, track: Track, mine: np.ndarray) -> None:
        views = work.foreground.counts[:, mine].sum(1)
        seen_by = tuple(name for name, count in zip(work.scene.frames.cameras, views, strict=True) if count)
        self._see(track, seen_by, work.stamp_ns)
        large = not self._started and len(mine) >= 4 * self.cluster_config.min_voxels
        sure = large or len(track.seen_by) > 1 or track.sets_seen >= self.config.confirm_sets
        if track.object_id == 0 and sure:
            self._name(track, work.stamp_ns)

    def _unseen(self, work: Association, track: Track) -> None:
        track.seen_by, track.velocity = (), np.zeros(3)
        if self._is_newly_lost(track, work.stamp_ns):
            reason = unseen_reason(track, work.scene.views, work.foreground.lattice.voxel_m)
            self._lose(track, work.stamp_ns, reason)

    def _forget(self, work: Association) -> None:
        """Drop what was unseen for too long."""
        kept = [
            number
            for number, track in enumerate(self.tracks)
            if len(track.points) and self._is_remembered(track, work.stamp_ns)
        ]
        place = np.full(len(self.tracks) + 1, -1, np.int32)
        place[kept] = np.arange(len(kept))
        work.owner[:] = place[work.owner]
        self.tracks = [self.tracks[number] for number in kept]


def translation(step: np.ndarray) -> np.ndarray:
    """The motion (4, 4) that adds `step` (3,)."""
    pose = np.eye(4)
    pose[:3, 3] = step
    return pose
