"""Track: what is remembered of one thing, and how its points move from set to set."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import HIDDEN, NEAR, OUTSIDE, SEEN_THROUGH, occlusion
from geoseg_core.instances.voxels import Foreground

MAX_POINTS = 6000
ICP_POINTS = 300
ICP_STEPS = 5


@dataclass(eq=False)
class Track:
    """One thing over time. `object_id` is 0 while it is a candidate.

    Attributes:
        points: (N, 3) float32 surface known so far, world, metres; colours: (N, 3) CIE Lab.
        fresh: (N,) bool, seen in the newest set that saw the thing.
        velocity: (3,) metres per second.
        sets_seen: in how many sets it was seen.
        apart: for how many sets in a row free space was seen between two parts of it.
        followed: somebody asked for it; label: the name given.
    """

    object_id: int
    points: np.ndarray
    colours: np.ndarray
    fresh: np.ndarray
    first_seen_ns: int
    last_seen_ns: int
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    sets_seen: int = 1
    apart: int = 0
    lost: bool = False
    followed: bool = False
    label: str = ""
    seen_by: tuple[str, ...] = ()

    @property
    def centre(self) -> np.ndarray:
        return self.points.mean(0)

    def predicted(self, stamp_ns: int) -> np.ndarray:
        """Where its points should be at a later time, if it was seen just before."""
        elapsed_s = (stamp_ns - self.last_seen_ns) / 1e9
        return self.points + (self.velocity * elapsed_s if 0 < elapsed_s < 0.5 else 0 * self.velocity).astype(np.float32)


def signature(points: np.ndarray, colours: np.ndarray, voxel_m: float, colour_m: float) -> np.ndarray:
    """Points and colours in one space (N, 6), in voxels: a colour step costs as much as a way to go."""
    return np.concatenate([points / voxel_m, colours * colour_m], axis=1)


def motion(
    points: np.ndarray, colours: np.ndarray, tree: cKDTree, goal: np.ndarray, voxel_m: float, colour_weight: float
) -> np.ndarray:
    """Rigid motion (4, 4) that brings points (N, 3) onto the points `goal` that `tree` holds as signatures.

    Trimmed ICP; standing still is preferred unless moving explains clearly more.
    """
    chosen = np.linspace(0, len(points) - 1, min(len(points), ICP_POINTS)).astype(int)
    start, colours = points[chosen].astype(np.float64), colours[chosen]
    moved, pose = start, np.eye(4)
    errors = []
    for step in range(ICP_STEPS + 1):
        distance, nearest = tree.query(signature(moved, colours, voxel_m, colour_weight))
        kept = distance <= np.quantile(distance, 0.7)
        errors.append(float(distance[kept].mean()))
        if step == ICP_STEPS:
            break
        pose = rigid_fit(start[kept], goal[nearest[kept]])
        moved = start @ pose[:3, :3].T + pose[:3, 3]
    return pose if errors[-1] < 0.85 * errors[0] else np.eye(4)


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
    track: Track, pose: np.ndarray, foreground: Foreground, mine: np.ndarray, views: tuple[ViewGeometry, ...],
    margin_m: float,
) -> None:
    """Replace what a track knew by what is seen now (voxels `mine` (M,) bool) and what can't be seen now."""
    old = track.points @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
    voxel = foreground.lattice.find(old)
    replaced = (voxel >= 0) & mine[voxel]
    old, old_colours = old[~replaced], track.colours[~replaced]
    states = np.stack([occlusion(old, view, margin_m, 0.004) for view in views])
    hidden = ~((states == NEAR) | (states == SEEN_THROUGH)).any(0)
    seen = int(mine.sum())
    track.points = np.concatenate([foreground.centres[mine], old[hidden]])[:MAX_POINTS]
    track.colours = np.concatenate([foreground.colours[mine], old_colours[hidden]])[:MAX_POINTS]
    track.fresh = np.arange(len(track.points)) < seen


def unseen_reason(track: Track, views: tuple[ViewGeometry, ...], margin_m: float) -> str:
    """Why nothing of a track is seen: "out of view", "occluded" or "gone" (its place is seen empty)."""
    states = np.stack([occlusion(track.points, view, margin_m, 0.004) for view in views])
    if (states == OUTSIDE).all(0).mean() > 0.5:
        return "out of view"
    if (states == SEEN_THROUGH).any(0).mean() > 0.5:
        return "gone"
    return "occluded" if (states == HIDDEN).any() else "gone"
