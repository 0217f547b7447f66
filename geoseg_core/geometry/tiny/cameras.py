"""Cameras of all views from the network's output: each view is joined to one whose pose is known already."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoseg_core.geometry.tiny.matching import follow
from geoseg_core.geometry.tiny.model import COARSE, TinyOutput
from geoseg_core.geometry.tiny.relative import Matches, RelativePose, relative_pose

# A match counts when following it there and back ends this near (in widths of the image) to where it began.
RETURNS = 0.03
# With less support than this from the first view, a view is tried against the others as well.
GOOD_SUPPORT = 30.0


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
    return relative_pose(match(output, first, second), (focals[first], focals[second]))


def match(output: TinyOutput, first: int, second: int) -> Matches:
    """The centres of all coarse cells of the first view, followed into the second and back."""
    height, width = output.log_depth.shape[-2:]
    rows, columns = torch.meshgrid(
        *(torch.arange(size // COARSE) for size in (height, width)), indexing="ij"
    )  # fmt: skip
    cells = torch.stack((columns, rows), dim=-1).flatten(0, 1).to(output.log_depth.device)
    start = ((cells + 0.5) * COARSE - 0.5)[None]
    found, seen = follow_between(output, start, first, second)
    back, seen_back = follow_between(output, found, second, first)
    returned = (back - start).norm(dim=-1) < RETURNS * width
    weight = (seen * seen_back * returned)[0].double().cpu().numpy()
    depth_first, depth_second = (
        at_pixels(output.log_depth[0, view], points[0]).exp().double().cpu().numpy()
        for view, points in ((first, start), (second, found))
    )
    centre = np.array(((width - 1) / 2, (height - 1) / 2))
    pixels_first, pixels_second = ((each[0].double().cpu().numpy() - centre) / width for each in (start, found))
    return Matches(pixels_first, pixels_second, depth_first, depth_second, weight)


def follow_between(output: TinyOutput, points_px: Tensor, source: int, target: int) -> tuple[Tensor, Tensor]:
    """Follow pixels (1, N, 2) of one view into another: pixels there, and the chance that they are in sight."""
    coarse, fine = ((each[:, source], each[:, target]) for each in (output.coarse, output.fine))
    return follow(coarse, fine, output.nowhere, points_px)


def at_pixels(values: Tensor, points_px: Tensor) -> Tensor:
    """Values (N,) of a map (H, W) at the nearest pixels."""
    height, width = values.shape
    column, row = points_px.round().long().unbind(dim=-1)
    return values[row.clamp(0, height - 1), column.clamp(0, width - 1)]
