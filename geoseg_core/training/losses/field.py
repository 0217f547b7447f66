"""Losses of the instance field: features that tell instances apart in all views, and what is on a thing at all.

The contrast is that of IGGT (2026). Pixels are drawn so that each thing has the same share of them, however small it
is, from all views together: that is what makes the features of a thing the same in every view.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.instances.tiny.model import InstanceField
from geoseg_core.training.losses.contrast import contrastive_loss
from geoseg_core.training.losses.instance_truth import InstanceTruth
from geoseg_core.training.losses.masks import dice_loss


@dataclass(frozen=True)
class ContrastConfig:
    """Weights of the contrastive loss, and how pixels are drawn."""

    contrast: float = setting(1.0, "share of the contrastive loss", low=0.0)
    pull: float = setting(2.0, "how much two pixels of one thing are drawn together", low=0.0)
    push: float = setting(1.0, "how much those of different things are pushed apart", low=0.0)
    margin: float = setting(1.0, "until their features are so far apart", low=0.0, high=2.0)
    pixels: int = setting(256, "pixels that are drawn from the things of each scene", "pixels", 2)


@dataclass(frozen=True)
class FieldLossConfig(ContrastConfig):
    """Weights of the losses, and how pixels are drawn."""

    things: float = setting(1.0, "share of the losses of what is on a thing", low=0.0)


def field_losses(field: InstanceField, truth: InstanceTruth, weights: FieldLossConfig) -> dict[str, Tensor]:
    """The losses, each with its share, and their sum "total"."""
    numbers, logits = thing_numbers(truth), field.things.float()
    wanted = (numbers > 0).float()
    things = F.binary_cross_entropy_with_logits(logits, wanted) + dice_loss(logits.flatten(1, 2), wanted.flatten(1, 2))
    parts = {"contrast": drawn_contrast(field.features, numbers, weights), "things": weights.things * things}
    return {"total": torch.stack(list(parts.values())).sum(), **parts}


def drawn_contrast(features: Tensor, numbers: Tensor, weights: ContrastConfig) -> Tensor:
    """The contrastive loss of features (B, V, C, h, w) at pixels that are drawn from the things, with its share.

    Args:
        numbers: (B, V, h, w) as of `thing_numbers`.
    """
    cells, known = drawn_cells(numbers, weights.pixels)
    flat = features.movedim(2, -1).flatten(1, 3)  # (B, N, C)
    chosen = flat.gather(1, cells[..., None].expand(-1, -1, flat.shape[-1]))
    ids = numbers.flatten(1).gather(1, cells)
    return weights.contrast * contrastive_loss(chosen, ids, known, weights.pull, weights.push, weights.margin)


def thing_numbers(truth: InstanceTruth) -> Tensor:
    """(B, V, h, w) int64: 1 + the row of the thing at each cell, 0 for none."""
    rows = torch.arange(1, truth.masks.shape[1] + 1, device=truth.masks.device)
    if not len(rows):
        return torch.zeros(truth.masks.shape[0], *truth.masks.shape[2:], dtype=torch.int64, device=truth.masks.device)
    return (truth.masks.long() * rows[:, None, None, None]).amax(dim=1)


def drawn_cells(numbers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cells (B, count) of all views together, drawn from the things of `thing_numbers` (B, V, h, w) so that each has
    the same share, and whether the scene has any (B, count)."""
    flat = numbers.flatten(1)
    areas = torch.zeros(len(flat), int(flat.max()) + 1, device=flat.device)
    areas.scatter_add_(1, flat, torch.ones_like(flat, dtype=areas.dtype))
    weights = torch.where(flat > 0, 1 / areas.gather(1, flat), 0.0)
    has_any = weights.sum(dim=1, keepdim=True) > 0
    return torch.multinomial(weights + ~has_any, count, replacement=True), has_any.expand(-1, count)
