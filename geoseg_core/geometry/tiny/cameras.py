"""Cameras of all views from the network's output: each view is joined to one whose pose is known already."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from geoseg_core.geometry.tiny.evidence import Evidence
from geoseg_core.geometry.tiny.guidance import Way, expected_cells
from geoseg_core.geometry.tiny.matching import cell_centres, cells_of, follow, follow_coarsely
from geoseg_core.geometry.tiny.model import TinyOutput
from geoseg_core.geometry.tiny.relative import Matches, RelativePose, refined_pose, relative_pose

# Places that the other view shows with less chance than the rest of this are not followed.
HIDDEN = 0.7
# With less support than this the pose of a view is unknown.
LEAST_SUPPORT = 3.0
# With less support than this from the first view, a view is tried against the others as well.
GOOD_SUPPORT = 30.0
# So often a pose looks for better matches near where it expects them, each time with its part of the places.
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
    pair, evidence = (focals[first], focals[second]), Evidence(output, first, second)
    start = cell_centres(*output.log_depth.shape[-2:])[evidence.hidden < HIDDEN].to(output.log_depth.device)
    matches = match(output, start, first, second)
    pose = relative_pose(matches, pair, evidence.log_likelihood)
    for number in range(GUIDED_ROUNDS if pose.support else 0):
        guided = match(output, start[number::GUIDED_ROUNDS], first, second, pose)
        pose = refined_pose(pose, guided, matches, pair)
    return pose


def match(output: TinyOutput, points_px: Tensor, first: int, second: int, pose: RelativePose | None = None) -> Matches:
    """Pixels (N, 2) of the first view, followed into the second, those that come back to their coarse cell;
    guided by a pose if there is one."""
    height, width = output.log_depth.shape[-2:]
    there = back_again = None
    if pose is not None:
        there = Way(np.linalg.inv(pose.second_to_first), pose.focals, 1.0)
        back_again = Way(pose.second_to_first, pose.focals[::-1], pose.scale)
    start = points_px[None]
    found, seen = follow_between(output, start, first, second, there)
    back, seen_back = follow_coarsely(
        (output.coarse[:, second], output.coarse[:, first]),
        output.nowhere,
        found,
        expectation(output, found, second, back_again),
    )
    returned = (back == cells_of(start)).all(dim=-1)
    weight = (seen * seen_back)[returned].double().cpu().numpy()
    start, found = start[returned], found[returned]
    depth_first, depth_second = (
        at_pixels(output.log_depth[0, view], points).exp().double().cpu().numpy()
        for view, points in ((first, start), (second, found))
    )
    centre = np.array(((width - 1) / 2, (height - 1) / 2))
    pixels_first, pixels_second = ((each.double().cpu().numpy() - centre) / width for each in (start, found))
    return Matches(pixels_first, pixels_second, depth_first, depth_second, weight)


def follow_between(
    output: TinyOutput, points_px: Tensor, source: int, target: int, way: Way | None = None
) -> tuple[Tensor, Tensor]:
    """Follow pixels (1, N, 2) of one view into another: pixels there, and the chance that they are in sight."""
    coarse, fine = ((each[:, source], each[:, target]) for each in (output.coarse, output.fine))
    return follow(coarse, fine, output.nowhere, points_px, expectation(output, points_px, source, way))


def expectation(output: TinyOutput, points_px: Tensor, source: int, way: Way | None) -> Tensor | None:
    """What `follow` is to expect of pixels (1, N, 2) of one view, on a way into another; nothing without a way."""
    if way is None:
        return None
    height, width = output.log_depth.shape[-2:]
    depth = at_pixels(output.log_depth[0, source], points_px[0]).exp()
    return expected_cells(points_px[0], depth, way, (height, width))[None]


def at_pixels(values: Tensor, points_px: Tensor) -> Tensor:
    """Values (N,) of a map (H, W) at the nearest pixels."""
    height, width = values.shape
    column, row = points_px.round().long().unbind(dim=-1)
    return values[row.clamp(0, height - 1), column.clamp(0, width - 1)]
