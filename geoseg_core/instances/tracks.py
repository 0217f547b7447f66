"""Track: what is remembered of one thing, and how its points move from set to set."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import HIDDEN, NEAR, OUTSIDE, SEEN_THROUGH, occlusion
from geoseg_core.instances.voxels import Foreground

MAX_POINTS = 5000
ICP_POINTS = 150
ICP_STEPS = 4
STALE_S = 0.5  # a motion seen longer ago than this predicts nothing
SLOPE = 0.004  # depth tolerance of occlusion tests, per metre of depth


@dataclass(frozen=True, eq=False)
class SeenMask:
    """A thing's mask (h, w) bool in one camera, thinned, and the camera's pose (4, 4) then."""

    mask: np.ndarray
    camera_to_world: np.ndarray


@dataclass(eq=False)
class Track:
    """One thing over time. `object_id` is 0 while it is a candidate.

    Attributes:
        points: (N, 3) float32 surface known so far, world, metres; colours: (N, 3) CIE Lab.
        fresh: (N,) bool, seen in the newest set that saw the thing.
        velocity: (3,) metres per second.
        sets_seen: in how many sets it was seen.
        apart: how many times in a row free space was seen between two parts of it.
        followed: somebody asked for it; label: the name given.
        seen_by: cameras that see it in the newest set.
        found_score: how sure the network is that found it; None where none did.
        look: (D,) of length one, what it looks like to that network; (0,) where that is not known.
        masks: the last mask in each camera that saw it, where a network found it.
        parent: while it is a candidate, the id of the thing whose place it has a part of; 0 = none.
    """

    object_id: int
    points: np.ndarray
    colours: np.ndarray
    fresh: np.ndarray
    first_seen_ns: int
    last_seen_ns: int
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    sets_seen: int = 0
    apart: int = 0
    lost: bool = False
    followed: bool = False
    label: str = ""
    seen_by: tuple[str, ...] = ()
    found_score: float | None = None
    look: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    masks: dict[str, SeenMask] = field(default_factory=dict)
    parent: int = 0

    @property
    def score(self) -> float:
        """Confidence in [0, 1] that it is a thing, and there."""
        if self.found_score is not None:
            return self.found_score if self.seen_by else 0.5 * self.found_score
        return 0.5 + 0.5 * (float(self.fresh.mean()) if self.seen_by else 0.0)

    @property
    def centre(self) -> np.ndarray:
        """Mean (3,) of its points."""
        count = max(len(self.points), 1)
        return np.full(len(self.points), 1 / count, np.float32) @ self.points

    def step(self, stamp_ns: int) -> np.ndarray:
        """How far (3,) it should have moved by a later time, if it was seen just before."""
        elapsed_s = (stamp_ns - self.last_seen_ns) / 1e9
        return (self.velocity * elapsed_s if 0 < elapsed_s < STALE_S else np.zeros(3)).astype(np.float32)

    def reset_points(self, foreground: Foreground, voxels: np.ndarray) -> None:
        """Know the given voxels (indices or bool) and nothing else."""
        self.points, self.colours = foreground.centres[voxels], foreground.colours[voxels]
        self.fresh = np.ones(len(self.points), bool)


def new_track(foreground: Foreground, voxels: np.ndarray, stamp_ns: int) -> Track:
    """A candidate made of voxels (indices or bool)."""
    empty = np.zeros((0, 3), np.float32)
    track = Track(0, empty, empty, np.zeros(0, bool), stamp_ns, stamp_ns)
    track.reset_points(foreground, voxels)
    return track


def signature(points: np.ndarray, colours: np.ndarray, voxel_m: float, colour_weight: float) -> np.ndarray:
    """Points and colours in one space (N, 6), in voxels: a colour step costs as much as a way to go."""
    return np.concatenate([points / voxel_m, colours * colour_weight], axis=1)


def motion(
    points: np.ndarray, colours: np.ndarray, tree: cKDTree, goal: np.ndarray, voxel_m: float, colour_weight: float
) -> np.ndarray:
    """Rigid motion (4, 4) that brings points (N, 3) onto the points `goal` that `tree` holds as signatures.

    Trimmed ICP; standing still is preferred unless moving explains clearly more.
    """
    chosen = np.linspace(0, len(points) - 1, min(len(points), ICP_POINTS)).astype(int)
    start, colours = points[chosen].astype(np.float64), colours[chosen]
    moved, pose = start, np.eye(4)
    first_error = 0.0
    for number in range(ICP_STEPS + 1):
        distance, nearest = tree.query(signature(moved, colours, voxel_m, colour_weight))
        kept = distance <= np.quantile(distance, 0.7)
        error = float(distance[kept].mean())
        if number == 0:
            first_error = error
        if number == ICP_STEPS or error < 0.3:
            break
        pose = rigid_fit(start[kept], goal[nearest[kept]])
        moved = start @ pose[:3, :3].T + pose[:3, 3]
    return pose if error < 0.85 * first_error else np.eye(4)


def rigid_fit(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Least-squares rigid motion (4, 4) from points (N, 3) to points (N, 3)."""
    start_centre, goal_centre = start.mean(0), goal.mean(0)
    left, _, right = np.linalg.svd((start - start_centre).T @ (goal - goal_centre))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    pose = np.eye(4)
    pose[:3, :3] = (left @ flip @ right).T
    pose[:3, 3] = goal_centre - pose[:3, :3] @ start_centre
    return pose


def remember(
    tracks: list[Track], members: list[np.ndarray], poses: list[np.ndarray], foreground: Foreground,
    owner: np.ndarray, numbers: list[int], views: tuple[ViewGeometry, ...],
) -> None:
    """Replace what tracks knew by what is seen now and by what can't be seen now.

    For each track: `members` its voxels, `poses` (4, 4) how it moved, `numbers` its index in `owner` (M,).
    """
    moved = [
        track.points @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
        for track, pose in zip(tracks, poses, strict=True)
    ]
    points = np.concatenate(moved)
    whose = np.repeat(np.array(numbers), [len(part) for part in moved])
    voxel = foreground.lattice.find(points)
    old = np.flatnonzero((voxel < 0) | (owner[voxel] != whose))
    hidden = np.zeros(len(points), bool)
    hidden[old] = unseen_points(points[old], views, foreground.lattice.voxel_m)
    ends = np.cumsum([len(part) for part in moved])
    for track, part, kept, mine in zip(tracks, moved, np.split(hidden, ends[:-1]), members, strict=True):
        colours = track.colours[kept]
        track.points = np.concatenate([foreground.centres[mine], part[kept]])[:MAX_POINTS]
        track.colours = np.concatenate([foreground.colours[mine], colours])[:MAX_POINTS]
        track.fresh = np.arange(len(track.points)) < len(mine)


def unseen_points(points: np.ndarray, views: tuple[ViewGeometry, ...], margin_m: float) -> np.ndarray:
    """Which points (N, 3) no view sees or sees through: (N,) bool."""
    unseen = np.ones(len(points), bool)
    for view in views:
        state = occlusion(points, view, margin_m, SLOPE)
        unseen &= (state == HIDDEN) | (state == OUTSIDE)
    return unseen


def unseen_reason(track: Track, views: tuple[ViewGeometry, ...], margin_m: float) -> str:
    """Why nothing of a track is seen: "out of view", "occluded" or "gone" (its place is seen empty)."""
    states = np.stack([occlusion(track.points, view, margin_m, SLOPE) for view in views])
    if (states == OUTSIDE).all(0).mean() > 0.5:
        return "out of view"
    if ((states == SEEN_THROUGH) | (states == NEAR)).any(0).mean() > 0.5:
        return "gone"
    return "occluded"
