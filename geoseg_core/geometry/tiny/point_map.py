"""Depth and points of all views in one frame and one unit, from what the small network says and the solved cameras."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from geoseg_core.geometry.tiny.cameras import LEAST_SUPPORT, SolvedCameras, solve_cameras
from geoseg_core.geometry.tiny.model import TinyOutput


def depth_maps(output: TinyOutput, cameras: SolvedCameras) -> tuple[Tensor, Tensor]:
    """Depth (V, H, W) in the unit of the first view and its confidence, of one scene; 0 where a pose is unknown."""
    scales = torch.from_numpy(cameras.scales).to(output.log_depth)[:, None, None]
    joined = torch.from_numpy(cameras.supports >= LEAST_SUPPORT).to(output.log_depth)[:, None, None]
    return scales * output.log_depth[0].exp(), joined / (1 + output.log_spread[0].exp())


@dataclass(frozen=True, eq=False)
class PointMaps:
    """Points of B scenes of V views in one frame, at the pixels of the network's input.

    Attributes:
        points: (B, V, H, W, 3) in the unit of the first view; confidence: (B, V, H, W).
        projections: (B, V, 3, 4) from there to places in each image, 0 to 1 across it, times depth.
    """

    points: Tensor
    confidence: Tensor
    projections: Tensor


def point_maps(output: TinyOutput, cameras: SolvedCameras) -> PointMaps:
    """The points of one scene."""
    depth, confidence = depth_maps(output, cameras)
    intrinsics, poses = (torch.from_numpy(each).to(depth) for each in (cameras.intrinsics, cameras.camera_to_world))
    height, width = depth.shape[1:]
    rows, columns = (torch.arange(size, device=depth.device, dtype=depth.dtype) for size in (height, width))
    pixels = torch.stack((columns.expand_as(depth[0]), rows[:, None].expand_as(depth[0]), torch.ones_like(depth[0])))
    rays = torch.linalg.inv(intrinsics) @ pixels.flatten(1)  # (V, 3, H*W)
    points = poses[:, :3, :3] @ (rays * depth.flatten(1)[:, None]) + poses[:, :3, 3:]
    # Pixel centres are whole numbers, places go from edge to edge.
    shares = depth.new_tensor([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
    projections = shares @ intrinsics @ torch.linalg.inv(poses)[:, :3]
    return PointMaps(points.mT.unflatten(1, (height, width))[None], confidence[None], projections[None])


def scenes_point_maps(output: TinyOutput) -> PointMaps:
    """The points of B scenes."""
    found = []
    for number in range(len(output.log_depth)):
        names = ("log_depth", "log_spread", "log_focal", "coarse", "fine", "fused")
        one = replace(output, **{name: getattr(output, name)[number : number + 1] for name in names})
        found.append(point_maps(one, solve_cameras(one)))
    return PointMaps(*(torch.cat([getattr(each, name.name) for each in found]) for name in fields(PointMaps)))
