"""Where points of the first view are in the others: from depth and poses, with objects that move between moments."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput

# A point is seen where the depth there is its own, but for so much of it.
SAME_DEPTH = 0.02
LEAST_AHEAD = 1e-3


@dataclass(frozen=True, eq=False)
class TrueTracks:
    """Points of a batch through its views.

    Attributes:
        queries_px: (B, N, 2) x, y in the first view.
        points_px: (B, V, N, 2).
        visible: (B, V, N) bool: inside the image and not hidden.
        known: (B, V, N) bool: in front of the camera, and not further outside than the image is wide.
    """

    queries_px: Tensor
    points_px: Tensor
    visible: Tensor
    known: Tensor


@torch.no_grad()
def true_tracks(batch: Sample, queries_px: Tensor) -> TrueTracks:
    """Tracks of whole pixels (B, N, 2) of the first view.

    Points on objects with a known pose move with them; all others stay where they are.

    Raises:
        BadInput: depth, intrinsics or poses are not known.
    """
    depth, intrinsics, poses = batch.depth, batch.intrinsics, batch.camera_to_world
    if depth is None or intrinsics is None or poses is None:
        given = sorted(batch.tensors())
        raise BadInput(f"{batch.source}: expected depth, intrinsics and camera_to_world for tracks, got {given}")
    with torch.autocast(depth.device.type, enabled=False):
        start = queries_px.float()
        own = _at(depth[:, 0], start)  # (B, N)
        rays = torch.cat((start, torch.ones_like(own)[..., None]), dim=-1) @ intrinsics[:, 0].inverse().mT
        at_start = _moved(rays * own[..., None], poses[:, 0])  # (B, N, 3) in the world, at the first view's moment
        in_world = _through_time(batch, at_start, start)  # (B, V, N, 3)
        in_camera = _moved(in_world, poses.inverse())
        ahead = in_camera[..., 2].clamp(min=LEAST_AHEAD)
        places = (in_camera @ intrinsics.mT)[..., :2] / ahead[..., None]
        places[:, 0] = start
    height, width = depth.shape[-2:]
    limit = places.new_tensor((width, height))
    known = (own > 0)[:, None] & (in_camera[..., 2] > LEAST_AHEAD)
    known &= ((places > -limit) & (places < 2 * limit)).all(dim=-1)
    inside = ((places > -0.5) & (places < limit - 0.5)).all(dim=-1)
    there = _at(depth.flatten(0, 1), places.flatten(0, 1)).unflatten(0, depth.shape[:2])
    visible = known & inside & ((there - ahead).abs() < SAME_DEPTH * ahead)
    return TrueTracks(start, places, visible, known)


@torch.no_grad()
def random_queries(known: Tensor, count: int) -> Tensor:
    """Pixels (B, count, 2) of masks (B, H, W), each pixel of a mask as likely as another; of all pixels where a mask is
    empty. Drawn from torch's global generator."""
    weights = known.flatten(1).float()
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    index = torch.multinomial(weights, count, replacement=True)
    return torch.stack((index % known.shape[-1], index // known.shape[-1]), dim=-1).float()


def _through_time(batch: Sample, points: Tensor, queries_px: Tensor) -> Tensor:
    """World points (B, N, 3) of the first view's moment at the moments of all views, (B, V, N, 3)."""
    views = batch.images.shape[1]
    still = points[:, None].expand(-1, views, -1, -1)
    objects, ids = batch.object_to_world, batch.instance_ids
    if objects is None or ids is None:
        return still
    own = _at(ids[:, 0], queries_px)  # (B, N), 0 = no object
    index = (own - 1).clamp(min=0)[:, None, :, None, None].expand(-1, views, -1, 4, 4)
    poses = objects.gather(2, index)  # (B, V, N, 4, 4)
    moves = poses @ poses[:, :1].inverse()
    moved = (moves[..., :3, :3] @ still[..., None]).squeeze(-1) + moves[..., :3, 3]
    has_pose = ((own > 0) & (own <= objects.shape[2]))[:, None, :, None]
    return torch.where(has_pose, moved, still)


def _moved(points: Tensor, matrix: Tensor) -> Tensor:
    """Points (..., N, 3) by matrices (..., 4, 4)."""
    return points @ matrix[..., :3, :3].mT + matrix[..., None, :3, 3]


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """Values of maps (B, H, W) at the pixels nearest to places (B, N, 2); those outside have the value of the edge."""
    height, width = maps.shape[-2:]
    column = places[..., 0].nan_to_num().round().long().clamp(0, width - 1)
    row = places[..., 1].nan_to_num().round().long().clamp(0, height - 1)
    return maps.flatten(1).gather(1, row * width + column)
