"""DINOv2 vision transformer with registers: an image to its patch tokens.

Oquab et al., "DINOv2" (2023); Darcet et al., "Vision Transformers Need Registers" (2023). Order of the tokens: class,
registers, patches; registers get no position embedding. Only the patch tokens of the last layer leave.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.layers.attention import Block, LayerNorm

EPS = 1e-6
KEPT_SIZES = 8


@dataclass(frozen=True)
class VitConfig:
    """Sizes of a ViT; its width belongs to the model around it."""

    depth: int = setting(24, "transformer blocks", low=1)
    heads: int = setting(16, "attention heads", low=1)
    mlp_ratio: float = setting(4.0, "hidden width of the MLPs over the width", low=0.5)
    registers: int = setting(4, "register tokens", low=0)


class PatchEmbed(nn.Module):
    """Cuts an image into patches, one token each, row by row."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, h*w, C)"""
        return self.proj(images).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Images (B, channels, H, W), sides multiples of `patch` -> patch tokens (B, h*w, C).

    `image_size` is the nominal side that fixes the grid of the learned position embedding; other sizes use it
    resized (bicubic, antialiased). The resized one is kept for each size until the weights change.
    """

    def __init__(
        self,
        config: VitConfig,
        width: int,
        *,
        image_size: int = 518,
        patch: int = 14,
        channels: int = 3,
        mask_token: bool = False,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.side = image_size // patch
        self.patch_embed = PatchEmbed(channels, width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.side**2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        if mask_token:  # in the published VGGT without any use
            self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_ratio, eps=EPS) for _ in range(config.depth)
        )
        self.norm = LayerNorm(width, eps=EPS)
        self._resized: dict[tuple, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        places = self.positions((height // self.patch, width // self.patch))
        patches = self.patch_embed(images) + places[:, 1:]
        start = torch.cat((self.cls_token + places[:, :1], self.register_tokens), dim=1)
        tokens = torch.cat((start.expand(count, -1, -1).to(patches.dtype), patches), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, start.shape[1] :]

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embedding (1, 1 + h*w, C) of the class token and of a grid of patches."""
        table = self.pos_embed
        if grid == (self.side, self.side):
            return table
        if torch.is_grad_enabled() and table.requires_grad:
            return self._resize(grid)
        version = 0 if table.is_inference() else table._version
        key = (grid, table.data_ptr(), version, table.dtype, table.device)
        if key not in self._resized:
            if len(self._resized) == KEPT_SIZES:
                self._resized.clear()
            self._resized[key] = self._resize(grid)
        return self._resized[key]

    def _resize(self, grid: tuple[int, int]) -> Tensor:
        table = self.pos_embed.float()
        square = table[:, 1:].unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        resized = F.interpolate(square, size=grid, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat((table[:, :1], resized.flatten(2).transpose(1, 2)), dim=1).to(self.pos_embed.dtype)
