"""The memory encoder: a frame's features and the mask found in it become a memory of the object.

After SAM 2 (Ravi et al., 2024), on the grid of the union head's bottleneck. The pointer is the head's mask token
through an MLP. Where the object is absent, learned vectors say so.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.layers.two_way import ChannelNorm, Mlp
from geoseg_core.memory.config import MemoryConfig

RESIDUAL_SCALE = 1e-6


@dataclass(frozen=True, eq=False)
class EncodedMemory:
    """B memories: spatial (B, P, M) on a grid of P cells, pointer (B, C)."""

    spatial: Tensor
    pointer: Tensor
    grid: tuple[int, int]


class JoiningBlock(nn.Module):
    """ConvNeXt block (Liu et al., 2022): depthwise 7x7, norm, MLP, a scale for each channel, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), RESIDUAL_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.norm(self.depthwise(x).movedim(1, -1))
        return x + (self.scale * self.narrow(F.gelu(self.widen(inside)))).movedim(-1, 1)


class MaskBranch(nn.Sequential):
    """Chances (B, 1, H, W) to (B, C, n, m) by strided convolutions without overlap."""

    def __init__(self, config: MemoryConfig) -> None:
        stages: list[nn.Module] = []
        before = 1
        for stride, channels in zip(config.mask_strides, config.mask_channels, strict=True):
            stages += [nn.Conv2d(before, channels, stride, stride), ChannelNorm(channels), nn.GELU()]
            before = channels
        super().__init__(*stages, nn.Conv2d(before, config.width, 1))


class MemoryEncoder(nn.Module):
    """Features, mask and mask token of a frame to its memory."""

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        check_sizes(config)
        self.config, width = config, config.width
        self.mask_branch = MaskBranch(config)
        self.image_branch = nn.Conv2d(config.map_width, width, config.stride, config.stride)
        self.join = nn.Sequential(*(JoiningBlock(width) for _ in range(config.fuser_blocks)))
        self.narrow = nn.Conv2d(width, config.memory_width, 1)
        self.pointer = Mlp(config.token_width, width, width, width)
        self.absent = nn.Parameter(0.02 * torch.randn(config.memory_width))
        self.absent_pointer = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, maps: Tensor, logits: Tensor, tokens: Tensor, present: Tensor) -> EncodedMemory:
        """Encode B frames.

        Args:
            maps: (B, D, h, w) features of the frames, before any memory was looked at.
            logits: (B, H, W) of the masks found, at the size of the network's input.
            tokens: (B, T) the head's mask tokens.
            present: (B,) bool, whether the object is there at all.

        Raises:
            BadInput: masks of another size than the maps' images, or maps that the stride does not divide.
        """
        size, stride = maps.shape[2:], self.config.map_stride
        if logits.shape[1:] != (stride * size[0], stride * size[1]) or any(side % self.config.stride for side in size):
            raise BadInput(
                f"expected maps whose sides {self.config.stride} divides and masks {stride} times as large, got "
                f"{tuple(size)} and {tuple(logits.shape[1:])}; give both as the head has them"
            )
        chances = self.config.mask_scale * (logits.sigmoid() - 0.5)
        joined = self.narrow(self.join(self.image_branch(maps) + self.mask_branch(chances[:, None])))
        grid = (joined.shape[2], joined.shape[3])
        there = present[:, None].to(joined.dtype)
        spatial = joined.flatten(2).transpose(1, 2) + (1 - there)[..., None] * self.absent
        pointer = there * self.pointer(tokens) + (1 - there) * self.absent_pointer
        return EncodedMemory(spatial, pointer, grid)


def check_sizes(config: MemoryConfig) -> None:
    """Whether the sizes fit each other.

    Raises:
        BadConfig: they don't.
    """
    cell = config.map_stride * config.stride
    if math.prod(config.mask_strides) != cell or len(config.mask_strides) != len(config.mask_channels):
        raise BadConfig(
            f"mask_strides: expected as many as mask_channels, with product {cell}, got {config.mask_strides}"
        )
    if config.width % (4 * config.heads) or config.width % config.memory_width or config.memory_width % 4:
        raise BadConfig(
            f"width: expected a multiple of {4 * config.heads} and of memory_width, itself a multiple of 4, "
            f"got {config.width} and {config.memory_width}"
        )
