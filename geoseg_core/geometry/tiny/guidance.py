"""Where a known pose expects the places of one view in another: near their reprojection, with room for wrong depth."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoseg_core.geometry.tiny.matching import cell_centres
from geoseg_core.geometry.tiny.relative import DEPTH_PART

# Expected distance from the epipolar line, in widths of the image; along it at least as much.
ASIDE = 0.05
AHEAD = 1e-3


@dataclass(frozen=True, eq=False)
class Way:
    """From one view into another.

    Attributes:
        source_to_target: (4, 4) moves points between the camera frames.
        focals: of both, in widths of the image.
        scale: the source's depth times this is in the unit of the pose.
    """

    source_to_target: np.ndarray
    focals: tuple[float, float]
    scale: float


def expected_cells(points_px: Tensor, depth: Tensor, way: Way, size: tuple[int, int]) -> Tensor:
    """How far each coarse cell of the target is expected to show a place, as the log of a Gaussian, up to a constant.

    Args:
        points_px: (N, 2) pixels of the source.
        depth: (N,) of the source there, in its own unit.
        way: from the source to the target.
        size: height and width of both images.

    Returns:
        (N, h*w); 0 for places that would be behind the target's camera.
    """
    width = size[1]
    centre = points_px.new_tensor(((width - 1) / 2, (size[0] - 1) / 2))
    slopes = (points_px - centre) / (width * way.focals[0])
    rays = torch.cat((slopes, torch.ones_like(slopes[:, :1])), dim=-1) * (depth * way.scale)[:, None]
    turn, shift = (rays.new_tensor(part) for part in (way.source_to_target[:3, :3], way.source_to_target[:3, 3]))
    moved = torch.stack((rays, rays * float(np.exp(DEPTH_PART)))) @ turn.T + shift
    ahead = (moved[0, :, 2] > AHEAD) & (moved[1, :, 2] > AHEAD)
    place, deeper = way.focals[1] * width * moved[..., :2] / moved[..., 2:].clamp(min=AHEAD) + centre
    drift = deeper - place
    length = drift.norm(dim=-1, keepdim=True)
    line = drift / length.clamp(min=1e-6)
    across = torch.stack((-line[:, 1], line[:, 0]), dim=-1)
    reach = length.clamp(min=ASIDE * width)
    centres = cell_centres(*size).to(points_px)
    counts = ahead[:, None] * 0.5**0.5
    along, aside = (
        torch.addmm(-(axis * place).sum(dim=-1, keepdim=True), axis, centres.T)
        for axis in (line * counts / reach, across * counts / (ASIDE * width))
    )
    return along.square_().addcmul_(aside, aside).neg_()
