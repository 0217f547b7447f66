"""Losses of dense maps with a learned confidence: the network says how much an error shall count, and pays for it.

    c |d| - alpha log c      (aleatoric uncertainty; VGGT section 3.4)

and the same of the differences between neighbours, so that surfaces are smooth and edges sharp.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def confident_loss(found: Tensor, truth: Tensor, confidence: Tensor, known: Tensor, alpha: float = 0.2) -> Tensor:
    """Mean of c |d| - alpha log c over what is known; 0 where nothing is.

    Args:
        found, truth: (..., H, W, C); |d| is the length of the difference.
        confidence: (..., H, W), positive.
        known: (..., H, W) bool.
    """
    error = _length(torch.where(known[..., None], found - truth, 0.0))
    return _mean(confidence * error - alpha * confidence.log(), known)


def gradient_loss(
    found: Tensor, truth: Tensor, confidence: Tensor, known: Tensor, scales: Sequence[int] = (1, 2, 4, 8)
) -> Tensor:
    """Mean of c |difference of the errors of neighbours|, along x and along y, averaged over scales.

    At scale s every s-th pixel is left. A pair counts where both pixels are known, with the mean of their confidences.
    Arguments as in `confident_loss`; a scale that leaves no pair counts 0.
    """
    error = torch.where(known[..., None], found - truth, 0.0)
    return torch.stack([_at_scale(error, confidence, known, scale) for scale in scales]).mean()


def _at_scale(error: Tensor, confidence: Tensor, known: Tensor, scale: int) -> Tensor:
    error, confidence, known = (
        error[..., ::scale, ::scale, :],
        confidence[..., ::scale, ::scale],
        known[..., ::scale, ::scale],
    )
    total = error.new_zeros(())
    for axis in (-1, -2):
        length = known.shape[axis] - 1
        pair = known.narrow(axis, 0, length) & known.narrow(axis, 1, length)
        step = error.narrow(axis - 1, 1, length) - error.narrow(axis - 1, 0, length)
        weight = (confidence.narrow(axis, 0, length) + confidence.narrow(axis, 1, length)) / 2
        total = total + _mean(weight * _length(step), pair)
    return total


def _length(vectors: Tensor) -> Tensor:
    """Euclidean lengths along the last axis, with a gradient of 0 at 0."""
    if vectors.shape[-1] == 1:
        return vectors[..., 0].abs()
    squares = vectors.square().sum(dim=-1)
    moved = squares > 0
    return torch.where(moved, torch.where(moved, squares, 1.0).sqrt(), 0.0)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, values, 0.0).sum() / where.sum().clamp(min=1)
