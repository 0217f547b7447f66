"""Where points of the first view are in all others, and what of it can be learned from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg_core.datasets.correspondence import correspondences
from geoseg_core.datasets.sample import Sample

LEAST_AHEAD = 1e-3


@dataclass(frozen=True, eq=False)
class TrueTracks:
    """Points of a batch through its views.

    Attributes:
        queries_px: (B, N, 2) x, y in the first view.
        points_px: (B, V, N, 2).
        visible: (B, V, N) bool: inside the image and not hidden.
        known: (B, V, N) bool: in front of the camera, and not further outside than the image is wide or high.
    """

    queries_px: Tensor
    points_px: Tensor
    visible: Tensor
    known: Tensor


@torch.no_grad()
def true_tracks(batch: Sample, queries_px: Tensor) -> TrueTracks:
    """Tracks of whole pixels (B, N, 2) of the first view.

    Raises:
        BadInput: depth, intrinsics or poses are not known.
    """
    height, width = batch.images.shape[-2:]
    with torch.autocast(batch.images.device.type, enabled=False):
        queries = queries_px.float()
        found = [correspondences(batch, queries, 0, view) for view in range(batch.images.shape[1])]
        points = torch.stack([each.points_px for each in found], dim=1)
        visible = torch.stack([each.visible for each in found], dim=1)
        ahead = torch.stack([each.depth for each in found], dim=1)
    limit = points.new_tensor((width, height))
    near = ((points > -limit) & (points < 2 * limit)).all(dim=-1) & (ahead > LEAST_AHEAD)
    measured, motion = _known_at(batch, queries)
    moved = torch.ones_like(near) if motion is None else motion[:, None].expand_as(near).clone()
    moved[:, 0] = True
    return TrueTracks(queries, points, visible, visible | (near & measured[:, None] & moved))


@torch.no_grad()
def random_queries(known: Tensor, count: int) -> Tensor:
    """Pixels (B, count, 2) of masks (B, H, W), each pixel of a mask as likely as another; of all pixels where a mask is
    empty. Drawn from torch's global generator."""
    weights = known.flatten(1).float()
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    index = torch.multinomial(weights, count, replacement=True)
    return torch.stack((index % known.shape[-1], index // known.shape[-1]), dim=-1).float()


def _known_at(batch: Sample, queries_px: Tensor) -> tuple[Tensor, Tensor | None]:
    """Whether queries (B, N) have a depth, and whether it is known how they move; None = nothing moves."""
    assert batch.depth is not None
    column, row = queries_px.round().long().unbind(dim=-1)
    index = row * batch.depth.shape[-1] + column
    measured = batch.depth[:, 0].flatten(1).gather(1, index) > 0
    if batch.object_to_world is None or batch.instance_ids is None:
        return measured, None
    ids = batch.instance_ids[:, 0].flatten(1).gather(1, index)
    return measured, ids <= batch.object_to_world.shape[2]
