"""Where cells of images and prompted points are, in the space that all views share.

The points of a scene are brought to mean 0 and deviation 1, axis by axis, since the unit of a predicted point map
changes from scene to scene (section 3.2 of the paper). Points that are known badly are told as such: those of least
confidence in all views together, and those that are not known at all, which have no place.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Of points that are all in one place.
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, eq=False)
class Frame:
    """What points of B scenes are measured by.

    Attributes:
        mean, deviation: (B, 3) in units of the scene.
        least: (B,) confidence; what has less is of low confidence.
    """

    mean: Tensor
    deviation: Tensor
    least: Tensor

    def standard(self, points: Tensor) -> Tensor:
        """Points (B, ..., 3) by mean and deviation."""
        shape = (-1, *(1,) * (points.ndim - 2), 3)
        return (points - self.mean.view(shape)) / self.deviation.view(shape)

    def uncertain(self, points: Tensor, confidence: Tensor) -> Tensor:
        """(B, ...) bool: points (B, ..., 3) that are of low confidence (B, ...), or unknown."""
        least = self.least.view(-1, *(1,) * (confidence.ndim - 1))
        return (confidence < least) | ~torch.isfinite(points).all(dim=-1)


def frame_of(points: Tensor, confidence: Tensor, standardised: bool, low_share: float) -> Frame:
    """The frame of B scenes by points (B, N, 3) of all their views, NaN where unknown, and their confidence (B, N).

    Args:
        low_share: share of the known points whose confidence is low; of equal ones none is.
    """
    known = torch.isfinite(points).all(dim=-1)
    count = known.sum(dim=1, keepdim=True).clamp(min=1)
    given = torch.where(known[..., None], points, 0.0)
    mean = given.sum(dim=1) / count
    spread = torch.where(known[..., None], points - mean[:, None], 0.0)
    deviation = (spread.square().sum(dim=1) / count).sqrt().clamp(min=LEAST_DEVIATION)
    if not standardised:
        mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
    ranked = torch.where(known, confidence, math.inf).sort(dim=1).values
    number = (low_share * known.sum(dim=1)).long().clamp(max=ranked.shape[1] - 1)
    return Frame(mean, deviation, ranked.gather(1, number[:, None])[:, 0])


class PlaceCode(nn.Module):
    """Coordinates to codes by random Fourier features (Tancik et al., 2020), [sin 2 pi x B, cos 2 pi x B], with a
    learned vector that says how well they are known. Coordinates that are no numbers have the code 0."""

    basis: Tensor

    def __init__(self, dimensions: int, width: int, frequency: float, confidence: bool) -> None:
        super().__init__()
        self.register_buffer("basis", frequency * torch.randn(dimensions, width // 2))
        self.certainty = nn.Parameter(0.1 * torch.randn(2, width)) if confidence else None

    def forward(self, coordinates: Tensor, uncertain: Tensor) -> Tensor:
        """Coordinates (..., D), and which are uncertain (...) -> (..., C)"""
        known = torch.isfinite(coordinates).all(dim=-1, keepdim=True)
        with torch.autocast(coordinates.device.type, enabled=False):
            angles = 2 * math.pi * (torch.where(known, coordinates, 0.0).float() @ self.basis)
        codes = torch.where(known, torch.cat((angles.sin(), angles.cos()), dim=-1), 0.0)
        return codes if self.certainty is None else codes + self.certainty[uncertain.long()]


def projected(points: Tensor, projections: Tensor) -> Tensor:
    """(B, K, P, V, 2): points (B, K, P, 3) in each view, 0 to 1 across the image; NaN behind it.

    Args:
        projections: (B, V, 3, 4) from the world to places in the image, times depth.
    """
    turned = (projections[:, None, None, ..., :3] * points[:, :, :, None, None]).sum(dim=-1)
    turned = turned + projections[:, None, None, ..., 3]
    depth = turned[..., 2:]
    return torch.where(depth > 0, turned[..., :2] / depth, math.nan)


def cell_places(size: tuple[int, int], device: torch.device) -> Tensor:
    """(h, w, 2): the middles of h x w cells, 0 to 1 across the image, column first."""
    rows, columns = ((torch.arange(each, device=device) + 0.5) / each for each in size)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
