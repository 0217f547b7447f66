"""The aggregator of VGGT: attention within each frame and over all frames in turn.

Wang et al., "VGGT: Visual Geometry Grounded Transformer" (2025), section 3.2. A frame's tokens are one camera token,
the registers and the patches; frame 0 of the sequence has a camera token and registers of its own. Layer i of the
result is [after frame block i, after global block i], joined along the channels.

Departure from the release: only the layers that are asked for are kept, and nothing after the last of them is run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geoseg_core.geometry.vggt.config import VggtConfig
from geoseg_core.layers.attention import Block
from geoseg_core.layers.images import IMAGENET_MEAN, IMAGENET_STD
from geoseg_core.layers.positions import rotary_table
from geoseg_core.layers.vit import VisionTransformer


@dataclass(frozen=True, eq=False)
class TokenLayers:
    """Token layers of a sequence.

    Attributes:
        layers: layer number -> (B, S, P, 2C).
        specials: tokens of each frame that come before its patches; the first is the camera token.
        grid: rows and columns of patches.
    """

    layers: dict[int, Tensor]
    specials: int
    grid: tuple[int, int]

    def patches(self, numbers: Iterable[int]) -> list[Tensor]:
        """The patch tokens of some layers, each (B*S, h*w, 2C)."""
        return [self.layers[number].flatten(0, 1)[:, self.specials :] for number in numbers]


class Aggregator(nn.Module):
    """Images (B, S, 3, H, W) in [0, 1] to token layers."""

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        sizes = config.aggregator
        self.patch, self.rotary_base = config.patch, sizes.rotary_base
        self.head_dim = config.width // sizes.heads
        self.patch_embed = VisionTransformer(
            config.patch_embed, config.width, image_size=config.image_size, patch=config.patch, mask_token=True
        )
        self.frame_blocks = nn.ModuleList(self._block(config) for _ in range(sizes.depth))
        self.global_blocks = nn.ModuleList(self._block(config) for _ in range(sizes.depth))
        self.camera_token = nn.Parameter(1e-6 * torch.randn(1, 2, 1, config.width))
        self.register_token = nn.Parameter(1e-6 * torch.randn(1, 2, sizes.registers, config.width))

    @staticmethod
    def _block(config: VggtConfig) -> Block:
        sizes = config.aggregator
        return Block(config.width, sizes.heads, sizes.mlp_ratio, qk_norm=True)

    def forward(self, images: Tensor, keep: Iterable[int]) -> TokenLayers:
        """Token layers `keep`, numbered from 0."""
        batch, _, _, height, width = images.shape
        return self.aggregate(self.embed(images), batch, (height // self.patch, width // self.patch), keep)

    def embed(self, images: Tensor) -> Tensor:
        """Patch tokens (B*S, h*w, C) of each image by itself."""
        mean = images.new_tensor(IMAGENET_MEAN)[:, None, None]
        std = images.new_tensor(IMAGENET_STD)[:, None, None]
        normal = (images.flatten(0, 1) - mean) / std
        return self.patch_embed(normal.to(self.camera_token.dtype))

    def aggregate(self, patches: Tensor, batch: int, grid: tuple[int, int], keep: Iterable[int]) -> TokenLayers:
        """Token layers `keep` from the patch tokens of all images."""
        frames = patches.shape[0] // batch
        start = torch.cat((self.camera_token, self.register_token), dim=2)  # (1, 2, R + 1, C)
        slots = torch.cat((start[:, :1], start[:, 1:].expand(-1, frames - 1, -1, -1)), dim=1)
        specials = slots.expand(batch, -1, -1, -1).flatten(0, 1).to(patches.dtype)
        tokens = torch.cat((specials, patches), dim=1)  # (B*S, P, C)
        rotary = rotary_table(grid, specials.shape[1], self.head_dim, self.rotary_base, tokens.device)
        wanted = sorted(set(keep))
        kept = {}
        for number in range(wanted[-1] + 1):
            within = self.frame_blocks[number](tokens, rotary)
            across = self.global_blocks[number](within.unflatten(0, (batch, frames)).flatten(1, 2), rotary)
            tokens = across.unflatten(1, (frames, -1)).flatten(0, 1)
            if number in wanted:
                kept[number] = torch.cat((within, tokens), dim=-1).unflatten(0, (batch, frames))
        return TokenLayers(kept, specials.shape[1], grid)
