"""Losses that teach descriptors to find a place of one view in another, coarse and fine.

A place between cells belongs to the four cells around it, by bilinear shares; a place that the other view does not see
belongs to "nowhere", the last logit.
"""

import torch
from torch import Tensor


def shares(places: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cells (..., 4) of a map (height, width), row-major, and their shares (..., 4) of places (..., 2).

    Places are columns and rows of cells, whose centres are whole numbers; those outside belong to the nearest cells.
    """
    height, width = size
    limits = places.new_tensor((width - 1, height - 1))
    inside = torch.minimum(places.clamp(min=0), limits)
    corner = torch.minimum(inside.floor(), (limits - 1).clamp(min=0))
    part = inside - corner
    column, row = corner.long().unbind(dim=-1)
    cells = torch.stack((column, column + 1, column, column + 1), dim=-1).clamp(max=width - 1)
    rows = torch.stack((row, row, row + 1, row + 1), dim=-1).clamp(max=height - 1)
    right, down = part.unbind(dim=-1)
    weights = ((1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down)
    return rows * width + cells, torch.stack(weights, dim=-1)


def place_loss(logits: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy (...) of logits (..., K) with the shares `weights` (..., 4) of `cells` (..., 4)."""
    return -(logits.log_softmax(dim=-1).gather(-1, cells) * weights).sum(dim=-1)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is set; 0 where it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
