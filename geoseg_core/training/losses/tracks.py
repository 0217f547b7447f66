"""Losses of point tracks (CoTracker, VGGT section 3.4): places after each refinement, visibility, confidence."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def track_loss(found_px: Sequence[Tensor], truth_px: Tensor, known: Tensor, discount: float = 0.8) -> Tensor:
    """Mean |dx| + |dy| in pixels over the known points; the last refinement counts 1, those before `discount` times as
    much each, and all together 1.

    Args:
        found_px: (B, V, N, 2) after each refinement.
        truth_px: (B, V, N, 2).
        known: (B, V, N) bool: where the truth says a place, seen or hidden.
    """
    weights = [discount**age for age in reversed(range(len(found_px)))]
    errors = [torch.where(known[..., None], each - truth_px, 0.0).abs().sum() for each in found_px]
    total = torch.stack([weight * error for weight, error in zip(weights, errors, strict=True)]).sum()
    return total / (sum(weights) * known.sum().clamp(min=1))


def visibility_loss(chance: Tensor, visible: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy of chances (B, V, N) in [0, 1], mean over what is known."""
    entropy = F.binary_cross_entropy(chance.float(), visible.float(), reduction="none")
    return torch.where(known, entropy, 0.0).sum() / known.sum().clamp(min=1)


def confidence_loss(chance: Tensor, found_px: Tensor, truth_px: Tensor, known: Tensor, near_px: float = 12.0) -> Tensor:
    """Binary cross-entropy of the chance (B, V, N) that a place is at most `near_px` from the truth."""
    near = (found_px.detach() - truth_px).norm(dim=-1) <= near_px
    return visibility_loss(chance, near, known)
