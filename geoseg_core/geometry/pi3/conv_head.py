"""The convolutional dense head of Pi3X: three doublings of the patch grid, then full size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.pi3.config import ConvHeadConfig
from geoseg_core.layers.positions import uv_map

GROUP = 32


def conv3(channels: int, out: int) -> nn.Conv2d:
    """3x3 convolution that pads by replication."""
    return nn.Conv2d(channels, out, 3, padding=1, padding_mode="replicate")


class ResidualConv(nn.Module):
    """x + conv(relu(GN(conv(relu(GN(x))))))"""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(1, channels),
            nn.ReLU(),
            conv3(channels, hidden),
            nn.GroupNorm(hidden // GROUP, hidden),
            nn.ReLU(),
            conv3(hidden, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ConvHead(nn.Module):
    """Patch tokens (N, h*w, C) to a map (N, sum(outputs), H, W)."""

    def __init__(self, config: ConvHeadConfig, width: int, outputs: Sequence[int], patch: int) -> None:
        super().__init__()
        self.patch = patch
        stages = []
        for channels in config.channels:
            grow = nn.Sequential(nn.ConvTranspose2d(width + 2, channels, 2, stride=2), conv3(channels, channels))
            hidden = config.hidden_ratio * channels
            stages.append(nn.Sequential(grow, *(ResidualConv(channels, hidden) for _ in range(config.residuals))))
            width = channels
        self.upsample_blocks = nn.ModuleList(stages)
        self.output_block = nn.ModuleList(
            nn.Sequential(conv3(width + 2, config.last), nn.ReLU(), nn.Conv2d(config.last, out, 1)) for out in outputs
        )

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        aspect = grid[1] / grid[0]
        x = tokens.transpose(1, 2).unflatten(2, grid)
        for stage in self.upsample_blocks:
            x = stage(with_uv(x, aspect))
        size = (self.patch * grid[0], self.patch * grid[1])
        x = with_uv(F.interpolate(x, size=size, mode="bilinear", align_corners=False), aspect)
        return torch.cat([output(x) for output in self.output_block], dim=1)


def with_uv(x: Tensor, aspect: float) -> Tensor:
    """Two more channels: u and v of each pixel."""
    places = uv_map((x.shape[-2], x.shape[-1]), aspect, x.dtype, x.device)
    return torch.cat((x, places.expand(x.shape[0], -1, -1, -1)), dim=1)
