"""Loss of pose encodings: translation (3), quaternion (4), fields of view (2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

PARTS = (3, 4, 2)


def camera_loss(
    encodings: Sequence[Tensor],
    truth: Tensor,
    delta: float = 1.0,
    discount: float = 0.6,
    shares: Sequence[float] = (1.0, 1.0, 0.5),
) -> Tensor:
    """Huber loss of the encodings (B, V, 9) after each refinement; the last counts 1, the ones before `discount` times
    as much each, and all together 1.

    Args:
        delta: errors are squared up to here and linear beyond, F.huber_loss.
        shares: of translation, quaternion and fields of view, each the mean over its numbers.
    """
    weights = [discount**age for age in reversed(range(len(encodings)))]
    losses = [
        weight * _of_one(each.float(), truth, delta, shares) for weight, each in zip(weights, encodings, strict=True)
    ]
    return torch.stack(losses).sum() / sum(weights)


def _of_one(encoding: Tensor, truth: Tensor, delta: float, shares: Sequence[float]) -> Tensor:
    pairs = zip(encoding.split(PARTS, dim=-1), truth.split(PARTS, dim=-1), shares, strict=True)
    return torch.stack([share * F.huber_loss(found, true, delta=delta) for found, true, share in pairs]).sum()
