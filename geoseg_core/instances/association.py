"""Association: which cluster of the newest set goes with which track. Pure functions; identity.py decides."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import SEEN_THROUGH, occlusion
from geoseg_core.instances.clustering import quick_tree, spread
from geoseg_core.instances.tracks import SLOPE, Track, motion, signature
from geoseg_core.instances.voxels import Foreground

MIN_HITS = 8
REFUSED = 1e6
HIDDEN_GAP, HIDDEN_GAP_ALONE = 6.0, 3.0  # voxels: how wide a gap may hide what joins two clusters; with one view
HIDDEN_GAP_M = 0.04  # and in metres, so that coarse voxels don't join furniture
GAP_WAYS = 40  # how many ways across a gap are looked at
FAR = 20.0  # voxels: farther than this all distances are alike
NEXT_TO = 5.0  # voxels, colour included: what is so close to a track's points continues it


@dataclass(frozen=True, eq=False)
class KnownPoints:
    """The points of all T tracks where they should be now: points, colours (N, 3) and track index (N,), in order.

    low, high: (T, 3) corners of each track's bounding box.
    """

    points: np.ndarray
    colours: np.ndarray
    whose: np.ndarray
    low: np.ndarray
    high: np.ndarray


def known_points(tracks: list[Track], stamp_ns: int) -> KnownPoints:
    """Gather what all tracks know (at least one track)."""
    points = np.concatenate([track.points + track.step(stamp_ns) for track in tracks])
    colours = np.concatenate([track.colours for track in tracks])
    lengths = np.array([len(track.points) for track in tracks])
    starts = np.cumsum(lengths) - lengths
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    return KnownPoints(points, colours, np.repeat(np.arange(len(tracks)), lengths), low, high)


def overlaps(
    known: KnownPoints, count_tracks: int, foreground: Foreground, clusters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which tracks have a real part of their points in which clusters (T, C) bool, and the largest part (T,)."""
    count = int(clusters.max(initial=-1)) + 1
    lengths = np.bincount(known.whose, minlength=count_tracks)
    voxel = foreground.lattice.find(known.points)
    found = voxel >= 0
    pairs = known.whose[found] * count + clusters[voxel[found]]
    hits = np.bincount(pairs, minlength=count_tracks * count).reshape(count_tracks, count)
    return hits >= np.maximum(MIN_HITS, 0.05 * lengths)[:, None], hits.max(1) / np.maximum(lengths, 1)


def divide(
    tracks: list[Track], foreground: Foreground, voxels: np.ndarray, stamp_ns: int, colour_weight: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Share the voxels (indices) of one cluster between tracks that touch there.

    Each track is moved as its points say (ICP in space and colour); a voxel goes to the track that fits it best, and
    where none fits clearly, to the one that the surface leads to.

    Returns:
        index into `tracks` for each voxel, and the motion (4, 4) of each track.
    """
    size = foreground.lattice.voxel_m
    centres, colours = foreground.centres[voxels].astype(np.float64), foreground.colours[voxels]
    marks = signature(centres, colours, size, colour_weight)
    tree = quick_tree(marks)
    moved, poses = [], []
    for track in tracks:
        known = track.fresh if track.fresh.sum() >= MIN_HITS else np.ones(len(track.points), bool)
        step = track.step(stamp_ns)
        pose = motion((track.points + step)[known], track.colours[known], tree, centres, size, colour_weight)
        pose[:3, 3] += pose[:3, :3] @ step
        poses.append(pose)
        moved.append(track.points @ pose[:3, :3].T + pose[:3, 3])
    distance = rival_distances(tracks, moved, marks, size, colour_weight)
    order = np.sort(distance, axis=0)
    sure = (order[0] < 2.5) & (order[1] - order[0] > 0.5)
    seeds = np.where(sure, distance.argmin(0), -1)
    shared = spread(centres, colours, seeds, 2 * size, colour_weight * size)
    return np.where(shared < 0, distance.argmin(0), shared), poses


def rival_distances(
    tracks: list[Track], moved: list[np.ndarray], marks: np.ndarray, voxel_m: float, colour_weight: float
) -> np.ndarray:
    """Distance (T, N), in voxels, of each signature in `marks` (N, 6) to each track's moved points.

    Where only one track can be (by its bounding box) nothing is measured: 0 to that one, FAR to the others.
    """
    within = np.empty((len(tracks), len(marks)), bool)
    for row, points in enumerate(moved):
        low, high = points.min(0) / voxel_m - NEXT_TO, points.max(0) / voxel_m + NEXT_TO
        within[row] = ((marks[:, :3] > low) & (marks[:, :3] < high)).all(1)
    distance = np.where(within, 0, FAR)
    open_points = np.flatnonzero(within.sum(0) != 1)
    for row, (track, points) in enumerate(zip(tracks, moved, strict=True)):
        tree = quick_tree(signature(points, track.colours, voxel_m, colour_weight))
        distance[row, open_points] = np.minimum(tree.query(marks[open_points], distance_upper_bound=FAR)[0], FAR)
    return distance


def match_unseen(
    tracks: list[Track], centres: np.ndarray, colours: np.ndarray, sizes: np.ndarray, jump_m: float, colour_gate: float
) -> list[tuple[int, int]]:
    """Pair unseen tracks with loose clusters by place, size and mean colour.

    centres, colours: (C, 3) means of the clusters; sizes: (C,) voxels.
    """
    if not tracks or not len(sizes):
        return []
    places = np.stack([track.centre for track in tracks])
    tints = np.stack([track.colours.mean(0) for track in tracks])
    lengths = np.array([len(track.points) for track in tracks])
    away = np.linalg.norm(places[:, None] - centres[None], axis=2) / max(jump_m, 1e-6)
    tint = np.linalg.norm(tints[:, None] - colours[None], axis=2) / max(colour_gate, 1e-6)
    ratio = np.abs(np.log(sizes[None] / lengths[:, None]))
    cost = np.where((away < 1) & (tint < 1) & (ratio < 1.4), away + tint + 0.3 * ratio, REFUSED)
    rows, columns = linear_sum_assignment(cost)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if cost[row, column] < REFUSED]


def closest_track(
    known: KnownPoints, centres: np.ndarray, colours: np.ndarray, voxel_m: float, colour_weight: float
) -> int:
    """The track that most of a cluster's points (N, 3) lie next to, in space and colour; -1 = none."""
    low, high = centres.min(0) - NEXT_TO * voxel_m, centres.max(0) + NEXT_TO * voxel_m
    close = ((known.low < high) & (known.high > low)).all(1)
    around = np.flatnonzero(close[known.whose]) if close.any() else np.zeros(0, int)
    for axis in range(3):
        places = known.points[around, axis]
        around = around[(places > low[axis]) & (places < high[axis])]
    if len(around) == 0:
        return -1
    tree = quick_tree(signature(known.points[around], known.colours[around], voxel_m, colour_weight))
    marks = signature(centres, colours, voxel_m, colour_weight)
    distance, nearest = tree.query(marks, distance_upper_bound=NEXT_TO)
    votes = np.bincount(known.whose[around][nearest[np.isfinite(distance)]], minlength=1)
    return int(votes.argmax()) if votes.max() > 0.5 * len(centres) else -1


def hidden_links(
    foreground: Foreground, clusters: np.ndarray, index: int, views: tuple[ViewGeometry, ...]
) -> list[int]:
    """Clusters next to cluster `index` across a gap that the views mostly can't see into: what joins them is hidden."""
    reach = min((HIDDEN_GAP if len(views) > 1 else HIDDEN_GAP_ALONE) * foreground.lattice.voxel_m, HIDDEN_GAP_M)
    mine = foreground.centres[clusters == index]
    low, high = mine.min(0) - reach, mine.max(0) + reach
    near = clusters != index
    for axis in range(3):
        near &= (foreground.centres[:, axis] > low[axis]) & (foreground.centres[:, axis] < high[axis])
    near = np.flatnonzero(near)
    if len(near) == 0:
        return []
    distance, nearest = quick_tree(mine).query(foreground.centres[near], distance_upper_bound=reach)
    links = []
    for other in np.unique(clusters[near[np.isfinite(distance)]]):
        chosen = np.flatnonzero((clusters[near] == other) & np.isfinite(distance))
        chosen = chosen[np.argsort(distance[chosen])][:GAP_WAYS]
        seen = seen_between(foreground.centres[near[chosen]], mine[nearest[chosen]], views, foreground.lattice.voxel_m)
        if seen.mean() < 0.5:
            links.append(int(other))
    return links


def gap_is_free(
    first: np.ndarray, second: np.ndarray, views: tuple[ViewGeometry, ...], voxel_m: float, gap_voxels: float
) -> bool:
    """Whether two groups of points (N, 3) are farther apart than the gap, and the views see through most of it."""
    for goal, start in ((first, second), (second, first)):
        distance, nearest = quick_tree(goal).query(start)
        chosen = np.argsort(distance)[:GAP_WAYS]
        if distance[chosen[0]] < gap_voxels * voxel_m:
            return False
        if seen_between(start[chosen], goal[nearest[chosen]], views, voxel_m).mean() < 0.5:
            return False
    return True


def seen_between(start: np.ndarray, goal: np.ndarray, views: tuple[ViewGeometry, ...], voxel_m: float) -> np.ndarray:
    """Which of the ways from points (N, 3) to others (N, 3) any view sees through: (N,) bool."""
    steps = np.linspace(0.25, 0.75, 5, dtype=np.float32)[:, None, None]
    between = (start * (1 - steps) + goal * steps).reshape(-1, 3)
    seen = np.zeros(len(between), bool)
    for view in views:
        seen |= occlusion(between, view, voxel_m, SLOPE) == SEEN_THROUGH
    return np.asarray(seen.reshape(5, -1).any(0))
