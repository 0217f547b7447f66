"""Small separable filters over pictures."""

import torch
from torch import Tensor
from torch.nn import functional

from geoseg_core.synthetic.fusing import fused

REACH = 2
TAPS = 2 * REACH + 1


def filtered(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Images (S, C, H, W) filtered by five weights (S, 5) along x and five along y, borders repeated."""
    wide = functional.pad(images, (REACH, REACH, 0, 0), "replicate")
    tall = functional.pad(_along_x(wide, across), (0, 0, REACH, REACH), "replicate")
    return _along_y(tall, down)


@fused
def _along_x(wide: Tensor, weights: Tensor) -> Tensor:
    size = wide.shape[3] - 2 * REACH
    parts = [wide[:, :, :, tap : tap + size] * weights[:, tap, None, None, None] for tap in range(TAPS)]
    return parts[0] + parts[1] + parts[2] + parts[3] + parts[4]


@fused
def _along_y(tall: Tensor, weights: Tensor) -> Tensor:
    size = tall.shape[2] - 2 * REACH
    parts = [tall[:, :, tap : tap + size] * weights[:, tap, None, None, None] for tap in range(TAPS)]
    return parts[0] + parts[1] + parts[2] + parts[3] + parts[4]


def weights_like(images: Tensor, weights: tuple[int, ...]) -> Tensor:
    """(S, 5) of the same weights for each image, with sum 1."""
    row = torch.tensor(weights, dtype=images.dtype, device=images.device)
    return (row / row.sum()).expand(len(images), -1)
