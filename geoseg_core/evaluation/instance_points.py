"""The cloud on which instances are measured, and what label images say of its points.

Where the sample has a scan, as those of ScanNet have, the cloud is its vertices, seen by a view or not, with their ids.
Otherwise it is made from the true depth and poses of all views: a point for each voxel that they see, the mean of the
pixels in it that carry the voxel's most frequent id. Found label images are brought to it as SegVGGT does for the
benchmarks of ScanNet: a point is projected into every view with the true camera, a view sees it where the true depth
agrees, and what the pixel there carries is that view's vote. It belongs to the thing with the most votes, if these are
at least half of the views that see it; of equal ones to the thing with the better score.

Departures: the paper's cloud is always the benchmark's own scan; its masks of several queries may hold the same pixel,
while label images hold one thing a pixel; how it counts views that disagree it does not say.
"""

from dataclasses import dataclass

import numpy as np

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import inside, project
from geoseg_core.geometry.pointmap import lift, normals

DEPTH_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class PointView:
    """One view as the cloud needs it: true depth (H, W), 0 = unknown, intrinsics and camera_to_world."""

    depth_m: np.ndarray
    intrinsics: np.ndarray
    camera_to_world: np.ndarray


@dataclass(frozen=True, eq=False)
class ScenePoints:
    """The true cloud of a scene.

    Attributes:
        points: (N, 3) metres; ids: (N,) 0 = none.
        normals: (N, 3) of length one, NaN where unknown; colours: (N, 3) in [0, 1].
        voxel_m: edge of the voxels; so much may a point of a scan be off the depth of a view.
        views: what sees it.
        segments: (N,) number of each point's segment; None where the cloud has none of its own.
    """

    points: np.ndarray
    ids: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    voxel_m: float
    views: tuple[PointView, ...]
    segments: np.ndarray | None = None

    def labelled(self, labels: list[np.ndarray]) -> np.ndarray:
        """(N,) ids of found label images (H, W), one for each view; the better a thing's score, the lower its id."""
        most = max((int(each.max(initial=0)) for each in labels), default=0)
        if not most:
            return np.zeros(len(self.points), np.int64)
        votes = np.zeros((len(self.points), most + 1), np.int32)
        for view, image in zip(self.views, labels, strict=True):
            seen, rows, columns = visible(self.points, view, self.voxel_m)
            votes[seen, image[rows, columns]] += 1
        best = votes[:, 1:].argmax(axis=1) + 1
        share = votes[np.arange(len(votes)), best]
        return np.where((share > 0) & (2 * share >= votes.sum(axis=1)), best, 0)


def scene_points(sample: Sample, voxel_m: float, views: int = 0) -> ScenePoints:
    """The cloud of the first so many views of a sample, 0 for all; its scan, where it has one.

    Raises:
        BadInput: the sample lacks depth, cameras or instance ids, or its scan is damaged.
    """
    known = (sample.depth, sample.instance_ids, sample.intrinsics, sample.camera_to_world)
    if any(each is None for each in known):
        raise BadInput(f"{sample.source}: expected true depth, cameras and instance ids; take other data")
    depth, ids, intrinsics, poses = (each[: views or None].cpu().numpy() for each in known if each is not None)
    seen = [PointView(*each) for each in zip(depth, intrinsics.astype(float), poses.astype(float), strict=True)]
    if sample.scan is not None:
        scan = sample.scan.read()
        unknown = np.full(scan.points.shape, np.nan)
        return ScenePoints(scan.points, scan.ids, unknown, scan.colours, voxel_m, tuple(seen), scan.segments)
    images = sample.images[: views or None].permute(0, 2, 3, 1).cpu().numpy()
    lifted = [lift(view.depth_m, view.intrinsics, view.camera_to_world) for view in seen]
    flat = np.concatenate([np.concatenate((each, normals(each)), axis=-1).reshape(-1, 6) for each in lifted])
    chosen = np.isfinite(flat[:, 0])
    colours = images.reshape(-1, 3)[chosen]
    return ScenePoints(*thinned(flat[chosen], ids.reshape(-1)[chosen], colours, voxel_m), voxel_m, tuple(seen))


def thinned(
    flat: np.ndarray, ids: np.ndarray, colours: np.ndarray, voxel_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points with normals (M, 6), ids (M,) and colours (M, 3) as one point a voxel: points, ids, normals, colours."""
    if not len(flat):
        return np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3))
    cells = np.floor(flat[:, :3] / voxel_m).astype(np.int64)
    _, voxel = np.unique(cells, axis=0, return_inverse=True)
    pairs, pair, counts = np.unique(np.stack((voxel, ids)), axis=1, return_inverse=True, return_counts=True)
    # The last one of each voxel in this order: the most frequent id, of equal ones the lowest.
    order = np.lexsort((-pairs[1], counts, pairs[0]))
    winners = order[np.flatnonzero(np.diff(pairs[0][order], append=-1))]
    number = np.full(len(counts), -1)
    number[winners] = np.arange(len(winners))
    owner = number[pair]
    kept = owner >= 0
    points, colour = (means(values[kept], owner[kept], len(winners)) for values in (flat[:, :3], colours))
    facing = kept & np.isfinite(flat[:, 3])
    normal = means(flat[facing, 3:], owner[facing], len(winners))
    with np.errstate(invalid="ignore", divide="ignore"):
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return points, pairs[1][winners], normal, colour


def means(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """(count, 3) means of the values (M, 3) of each owner (M,); 0 where one has none."""
    sums = np.stack([np.bincount(owner, column, count) for column in values.astype(np.float64).T], axis=1)
    return sums / np.maximum(np.bincount(owner, minlength=count), 1)[:, None]


def visible(points: np.ndarray, view: PointView, voxel_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points (N, 3) a view sees, as indices (M,), and the rows and columns (M,) of their pixels.

    A point is seen where the true depth is no farther from it than a voxel and one part in a hundred of the distance.
    """
    pixels, ahead = project(points, view.intrinsics, view.camera_to_world)
    within = np.flatnonzero(inside(pixels, ahead, (view.depth_m.shape[0], view.depth_m.shape[1])))
    columns, rows = np.rint(pixels[within]).astype(np.intp).T
    depth = view.depth_m[rows, columns]
    near = (depth > 0) & (np.abs(depth - ahead[within]) <= voxel_m + DEPTH_SHARE * ahead[within])
    return within[near], rows[near], columns[near]
