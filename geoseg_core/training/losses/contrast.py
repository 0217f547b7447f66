"""Margin contrastive loss of instance features (Li et al., "IGGT", 2026): an instance is one place among features."""

import torch
from torch import Tensor

from geoseg_core.errors import BadInput


def contrastive_loss(
    features: Tensor, instances: Tensor, known: Tensor, pull: float = 2.0, push: float = 1.0, margin: float = 1.0
) -> Tensor:
    """Pull the features of one instance together, in all views, and push those of different ones apart.

        pull * sum |f_i - f_j| over pairs of one instance + push * sum max(0, margin - |f_i - f_j|) over all other pairs

    Departures from the paper: the sum is divided by the number of pairs, so that it depends neither on the number of
    sampled pixels nor on that of the samples; and |.|, which the paper leaves open, is the Euclidean length.

    Args:
        features: (B, N, C) of pixels drawn from all views of each sample, of length one as a rule.
        instances: (B, N) ids, the same in all views of a sample; samples are not compared with each other.
        known: (B, N) bool: whether the truth names an instance there; other pixels do not count.

    Returns:
        A number; 0 where there is no pair.

    Raises:
        BadInput: shapes that do not fit.
    """
    if features.ndim != 3 or not instances.shape == known.shape == features.shape[:2]:
        shapes = [tuple(each.shape) for each in (features, instances, known)]
        raise BadInput(f"expected features (B, N, C), instances and known (B, N), got {shapes}; give each pixel its id")
    # Exact where features are near; its gradient is 0 where they are the same.
    distance = torch.cdist(features.float(), features.float(), compute_mode="donot_use_mm_for_euclid_dist")  # (B, N, N)
    same = instances[:, :, None] == instances[:, None]
    counted = (known[:, :, None] & known[:, None]).triu(diagonal=1)
    costs = torch.where(same, pull * distance, push * (margin - distance).clamp(min=0))
    return torch.where(counted, costs, 0.0).sum() / counted.sum().clamp(min=1)
