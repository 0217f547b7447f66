"""The aggregator of VGGT: attention within each frame and over all frames in turn.

Wang et al., "VGGT: Visual Geometry Grounded Transformer" (2025), section 3.2. A frame's tokens are one camera token,
the registers and the patches; frame 0 of the sequence has a camera token and registers of its own. Layer i of the
result is [after frame block i, after global block i], joined along the channels.

Departure from the release: only the layers that are asked for are kept, and nothing after the last of them is run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.geometry.vggt.config import VggtConfig
from geoseg_core.layers.attention import Block
from geoseg_core.layers.images import normalised
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


class Memory(Protocol):
    """What earlier frames of a sequence left for the global attention of those that follow."""

    @property
    def started(self) -> bool:
        """Whether frames came before, so that none of these is frame 0."""

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the keys and values (1, heads, N, D) of global block `layer`; give all that its queries attend to."""


class Aggregator(nn.Module):
    """Images (B, S, 3, H, W) in [0, 1] to token layers."""

    def __init__(self, config: VggtConfig, patch_embed: nn.Module | None = None) -> None:
        """patch_embed: what makes the patch tokens, in place of the ViT of the release."""
        super().__init__()
        sizes = config.aggregator
        self.patch, self.rotary_base = config.patch, sizes.rotary_base
        self.head_dim = config.width // sizes.heads
        self.patch_embed = patch_embed or VisionTransformer(
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
        return self.patch_embed(normalised(images.flatten(0, 1)).to(self.camera_token.dtype))

    def aggregate(
        self,
        patches: Tensor,
        batch: int,
        grid: tuple[int, int],
        keep: Iterable[int],
        memory: Memory | None = None,
    ) -> TokenLayers:
        """Token layers `keep` from the patch tokens of all images; with a memory they go on where it ends.

        Raises:
            BadInput: a layer that there is not.
        """
        wanted = sorted(set(keep))
        beyond = [number for number in wanted if not 0 <= number < len(self.frame_blocks)]
        if beyond:
            last = len(self.frame_blocks) - 1
            raise BadInput(f"expected token layers 0 to {last}, got {beyond}; let heads read layers that there are")
        frames = patches.shape[0] // batch
        first = 0 if memory is not None and memory.started else 1
        start = torch.cat((self.camera_token, self.register_token), dim=2)  # (1, 2, R + 1, C)
        slots = torch.cat((start[:, :first], start[:, 1:].expand(-1, frames - first, -1, -1)), dim=1)
        specials = slots.expand(batch, -1, -1, -1).flatten(0, 1).to(patches.dtype)
        tokens = torch.cat((specials, patches), dim=1)  # (B*S, P, C)
        rotary = rotary_table(grid, specials.shape[1], self.head_dim, self.rotary_base, tokens.device)
        kept = {}
        for number in range(wanted[-1] + 1):
            within = self.frame_blocks[number](tokens, rotary)
            remember = partial(memory.remember, number) if memory is not None else None
            across = self.global_blocks[number](within.unflatten(0, (batch, frames)).flatten(1, 2), rotary, remember)
            tokens = across.unflatten(1, (frames, -1)).flatten(0, 1)
            if number in wanted:
                kept[number] = torch.cat((within, tokens), dim=-1).unflatten(0, (batch, frames))
        return TokenLayers(kept, specials.shape[1], grid)
