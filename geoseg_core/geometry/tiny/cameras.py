"""Cameras of all views from the network's output: each view is joined to one whose pose is known already."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from geoseg_core.geometry.tiny.evidence import Evidence
from geoseg_core.geometry.tiny.guidance import Way, expected_cells
from geoseg_core.geometry.tiny.matching import cell_centres, follow
from geoseg_core.geometry.tiny.model import TinyOutput
from geoseg_core.geometry.tiny.relative import Matches, RelativePose, refined_pose, relative_pose

# A match counts when following it there and back ends this near (in widths of the image) to where it began.
RETURNS = 0.03
# With less support than this the pose of a view is unknown.
LEAST_SUPPORT = 3.0
# With less support than this from the first view, a view is tried against the others as well.
GOOD_SUPPORT = 30.0
# So often a pose looks for better matches near where it expects them.
GUIDED_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class SolvedCameras:
    """Cameras of V views in the frame of the first.

    Attributes:
        camera_to_world: (V, 4, 4).
        intrinsics: (V, 3, 3) pixels of the network's input, the principal point in its centre.
        scales: (V,) factors that bring the depth of each view to the unit of the first.
        supports: (V,) how many matches speak for the pose; 0 where it is unknown. Infinite for the first view.
    """

    camera_to_world: np.ndarray
    intrinsics: np.ndarray
    scales: np.ndarray
    supports: np.ndarray

    def way(self, source: int, target: int) -> Way | None:
        """From one view into another; None where the pose of one of them is unknown."""
        if min(self.supports[source], self.supports[target]) < LEAST_SUPPORT:
            return None
        moved = np.linalg.inv(self.camera_to_world[target]) @ self.camera_to_world[source]
        width = 2 * self.intrinsics[0, 0, 2] + 1
        focals = self.intrinsics[[source, target], 0, 0] / width
        return Way(moved, (focals[0], focals[1]), self.scales[source])


def solve_cameras(output: TinyOutput) -> SolvedCameras:
    """Cameras of the views of one scene (B = 1)."""
    height, width = output.log_depth.shape[-2:]
    count = output.log_depth.shape[1]
    focals = output.log_focal[0].exp().double().cpu().numpy()
    poses, scales = np.tile(np.eye(4), (count, 1, 1)), np.ones(count)
    supports = np.full(count, np.inf)
    known, first_focals = [0], []
    joined = {view: join(output, 0, view, focals) for view in range(1, count)}
    for view in sorted(joined, key=lambda each: -joined[each].support):
        anchor, pose = 0, joined[view]
        for other in known[1:] if pose.support < GOOD_SUPPORT else []:
            tried = join(output, other, view, focals)
            if tried.support > pose.support:
                anchor, pose = other, tried
        shifted = pose.second_to_first.copy()
        shifted[:3, 3] *= scales[anchor]
        poses[view], scales[view] = poses[anchor] @ shifted, scales[anchor] * pose.scale
        supports[view], focals[view] = pose.support, pose.focals[1]
        if anchor == 0 and pose.support:
            first_focals.append((np.log(pose.focals[0]), pose.support))
        known.append(view)
    if first_focals:
        logs, weights = np.array(first_focals).T
        focals[0] = np.exp(np.average(logs, weights=weights))
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[:, 0, 0] = matrices[:, 1, 1] = focals * width
    matrices[:, :2, 2] = (width - 1) / 2, (height - 1) / 2
    return SolvedCameras(poses, matrices, scales, supports)


def join(output: TinyOutput, first: int, second: int, focals: np.ndarray) -> RelativePose:
    """The pose of one view to another from the places that both see."""
    pair, matches = (focals[first], focals[second]), match(output, first, second)
    pose = relative_pose(matches, pair, Evidence(output, first, second).log_likelihood)
    for _ in range(GUIDED_ROUNDS if pose.support else 0):
        pose = refined_pose(pose, match(output, first, second, pose), matches, pair)
    return pose


def match(output: TinyOutput, first: int, second: int, pose: RelativePose | None = None) -> Matches:
    """The centres of all coarse cells of the first view, followed into the second and back; guided by a pose if there
    is one."""
    height, width = output.log_depth.shape[-2:]
    start = cell_centres(height, width).to(output.log_depth.device)[None]
    there = back_again = None
    if pose is not None:
        back_again = Way(pose.second_to_first, pose.focals[::-1], pose.scale)
        there = Way(np.linalg.inv(pose.second_to_first), pose.focals, 1.0)
    found, seen = follow_between(output, start, first, second, there)
    back, seen_back = follow_between(output, found, second, first, back_again)
    returned = (back - start).norm(dim=-1) < RETURNS * width
    weight = (seen * seen_back * returned)[0].double().cpu().numpy()
    depth_first, depth_second = (
        at_pixels(output.log_depth[0, view], points[0]).exp().double().cpu().numpy()
        for view, points in ((first, start), (second, found))
    )
    centre = np.array(((width - 1) / 2, (height - 1) / 2))
    pixels_first, pixels_second = ((each[0].double().cpu().numpy() - centre) / width for each in (start, found))
    return Matches(pixels_first, pixels_second, depth_first, depth_second, weight)


def follow_between(
    output: TinyOutput, points_px: Tensor, source: int, target: int, way: Way | None = None
) -> tuple[Tensor, Tensor]:
    """Follow pixels (1, N, 2) of one view into another: pixels there, and the chance that they are in sight."""
    coarse, fine = ((each[:, source], each[:, target]) for each in (output.coarse, output.fine))
    expected = None
    if way is not None:
        height, width = output.log_depth.shape[-2:]
        depth = at_pixels(output.log_depth[0, source], points_px[0]).exp()
        expected = expected_cells(points_px[0], depth, way, (height, width))[None]
    return follow(coarse, fine, output.nowhere, points_px, expected)


def at_pixels(values: Tensor, points_px: Tensor) -> Tensor:
    """Values (N,) of a map (H, W) at the nearest pixels."""
    height, width = values.shape
    column, row = points_px.round().long().unbind(dim=-1)
    return values[row.clamp(0, height - 1), column.clamp(0, width - 1)]
