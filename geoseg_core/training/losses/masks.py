"""Losses of masks, from logits: focal (Lin et al., 2017) and dice (Milletari et al., 2016)."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def focal_loss(logits: Tensor, truth: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Mean of a (1 - p)^gamma (-log p) over all pixels, p the chance given to the truth.

    Args:
        logits, truth: (..., H, W); truth in {0, 1}.
        alpha: a of the foreground, 1 - alpha that of the background; negative = 1 for both.
    """
    truth = truth.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weight = (1 - torch.exp(-entropy)) ** gamma
    if alpha >= 0:
        weight = weight * (alpha * truth + (1 - alpha) * (1 - truth))
    return (weight * entropy).mean()


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - (2 sum p t + smooth) / (sum p + sum t + smooth) of each mask (..., H, W), mean over the masks."""
    chance, truth = logits.sigmoid().flatten(-2), truth.to(logits.dtype).flatten(-2)
    both = (chance * truth).sum(dim=-1)
    return (1 - (2 * both + smooth) / (chance.sum(dim=-1) + truth.sum(dim=-1) + smooth)).mean()
