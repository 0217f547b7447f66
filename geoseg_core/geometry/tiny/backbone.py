"""Convolutions from an image to patch tokens, keeping the finer maps for the decoder."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class ChannelNorm(nn.GroupNorm):
    """Group norm over groups of 16 channels, in the type that comes in."""

    def __init__(self, channels: int) -> None:
        super().__init__(max(channels // 16, 1), channels)


class Residual(nn.Module):
    """x + conv(gelu(norm(conv(gelu(norm(x))))))"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.norm2(self.conv1(F.gelu(self.norm1(x))))))


def stage(before: int, channels: int, blocks: int) -> nn.Sequential:
    """Half the size, then residual blocks."""
    return nn.Sequential(
        nn.Conv2d(before, channels, 3, stride=2, padding=1), *(Residual(channels) for _ in range(blocks))
    )


class Backbone(nn.Module):
    """Images (N, 3, H, W), normalised -> maps at 1/4, 1/8 and 1/16 of the size."""

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        half, quarter, eighth = channels
        self.stem = nn.Sequential(nn.Conv2d(3, half, 7, stride=2, padding=3), nn.GELU())
        self.quarter = stage(half, quarter, 1)
        self.eighth = stage(quarter, eighth, 2)
        self.sixteenth = stage(eighth, width, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quarter = self.quarter(self.stem(images))
        eighth = self.eighth(quarter)
        return quarter, eighth, self.sixteenth(eighth)
