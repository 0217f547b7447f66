"""Geometry to learn from, as VGGT normalises it: the first camera is the world, its points are 1 away on average."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.geometry.vggt.pose_encoding import encode_pose, unproject

LEAST_SCALE = 1e-6


@dataclass(frozen=True, eq=False)
class GeometryTruth:
    """Truth of a batch, in units of each scene's scale.

    Attributes:
        encodings: (B, V, 9) pose encodings (pose_encoding.py).
        depth: (B, V, H, W), 0 where not known.
        points: (B, V, H, W, 3) in the frame of the first camera.
        known: (B, V, H, W) bool.
        scale: (B,) mean distance of the known points from the first camera, in the sample's unit.
    """

    encodings: Tensor
    depth: Tensor
    points: Tensor
    known: Tensor
    scale: Tensor


@torch.no_grad()
def geometry_truth(batch: Sample) -> GeometryTruth:
    """The truth of a batch with depth, intrinsics and poses.

    Raises:
        BadInput: one of them is not known.
    """
    depth, intrinsics, poses = batch.depth, batch.intrinsics, batch.camera_to_world
    if depth is None or intrinsics is None or poses is None:
        given = sorted(batch.tensors())
        raise BadInput(f"{batch.source}: expected depth, intrinsics and camera_to_world to learn from, got {given}")
    with torch.autocast(depth.device.type, enabled=False):
        # The inverse of the first pose in double: scenes may lie far from their world's origin.
        first_to_world = poses[:, :1].double()
        world_to_camera = (poses.double().inverse() @ first_to_world)[..., :3, :].float()
        known = torch.isfinite(depth) & (depth > 0)
        depth = torch.where(known, depth, 0.0)
        points = unproject(depth, world_to_camera, intrinsics)
        count = known.flatten(1).sum(dim=1).clamp(min=1)
        distance = torch.where(known, points.norm(dim=-1), 0.0).flatten(1).sum(dim=1) / count
        scale = torch.where(distance > LEAST_SCALE, distance, 1.0)
        metre = scale[:, None, None, None]
        world_to_camera = torch.cat((world_to_camera[..., :3], world_to_camera[..., 3:] / metre), dim=-1)
        height, width = depth.shape[-2:]
        encodings = encode_pose(world_to_camera, intrinsics, (height, width))
        return GeometryTruth(encodings, depth / metre, points / metre[..., None], known, scale)
