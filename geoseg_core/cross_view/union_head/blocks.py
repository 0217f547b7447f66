"""Blocks of the union head's decoder: fusion of the two views in a bottleneck, and tokens that look at the image.

The image state holds the source's cells and the target's side by side, row by row: (B, h * 2w, C).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.layers.two_way import Attention, Mlp, TwoWayBlock


@dataclass(frozen=True, eq=False)
class Codes:
    """What stays the same through all blocks of a call.

    Attributes:
        tokens: (B, T, C) the prompt tokens, added to tokens wherever they ask or are asked.
        image: (1, h * 2w, C) codes of the image's cells.
        size: (h, 2w)
        bottleneck: (1, W, n, 2m) codes of the bottleneck's cells; None without fusion.
    """

    tokens: Tensor
    image: Tensor
    size: tuple[int, int]
    bottleneck: Tensor | None


class Fusion(nn.Module):
    """Both views in one bottleneck of few cells, where all attend to all."""

    def __init__(self, config: UnionHeadConfig) -> None:
        super().__init__()
        add_fusion(self, config)

    def forward(self, image: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """image: (B, h * 2w, C); cells: (1, W, n, 2m) codes of the bottleneck; size: (h, 2w)."""
        return fuse(self, image, cells, size)


def add_fusion(holder: Any, config: UnionHeadConfig) -> None:
    """Give a module the parts of a fusion, under the names that they have inside the released blocks."""
    width, fused, stride = config.width, config.fusion_width, config.fusion_stride
    holder.downsampling = nn.Conv2d(width, fused, stride, stride)
    holder.upsampling = nn.ConvTranspose2d(fused, width, stride, stride)
    holder.self_attn_img = Attention(fused, config.fusion_inner, config.heads)
    holder.norm0 = nn.LayerNorm(fused)
    holder.norm_nf = nn.LayerNorm(width)
    holder.img_mlp = Mlp(fused, config.fusion_hidden, fused)
    holder.norm_ffn = nn.LayerNorm(fused)


def fuse(holder: Any, image: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Run the parts of a fusion.

    As the stride divides a view's width, one convolution over both views never mixes them.
    """
    small = holder.downsampling(image.transpose(1, 2).unflatten(2, size))  # (B, W, n, 2m)
    state = small.flatten(2).transpose(1, 2)
    placed = state + cells.flatten(2).transpose(1, 2)
    state = holder.norm0(state + holder.self_attn_img(placed, placed, state))
    state = holder.norm_ffn(state + holder.img_mlp(state))
    large = holder.upsampling(state.transpose(1, 2).unflatten(2, small.shape[2:]))
    return holder.norm_nf(large.flatten(2).transpose(1, 2) + image)


class Block(TwoWayBlock):
    """Fusion, then tokens among themselves, tokens on the image, and the image on the tokens."""

    def __init__(self, config: UnionHeadConfig, first: bool) -> None:
        nn.Module.__init__(self)
        self.fuses = config.fusion == "blocks"
        if self.fuses:
            add_fusion(self, config)
        self.add_layers(config.width, config.token_inner, config.token_hidden, config.heads, first)

    def forward(self, tokens: Tensor, image: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
        """tokens (B, T, C) and image (B, h * 2w, C), both as they become."""
        if self.fuses:
            assert codes.bottleneck is not None
            image = fuse(self, image, codes.bottleneck, codes.size)
        return self.look(tokens, image, codes.tokens, codes.image)


class TwoWay(nn.Module):
    """All blocks, and a last look of the tokens at the image."""

    def __init__(self, config: UnionHeadConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config, first=number == 0) for number in range(config.blocks))
        self.final_attn_token_to_image = Attention(config.width, config.token_inner, config.heads)
        self.norm_final_attn = nn.LayerNorm(config.width)
        stages = config.fusion_stages if config.fusion == "before" else 0
        self.fusions = nn.ModuleList(Fusion(config) for _ in range(stages))

    def forward(self, image: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
        """image (B, C, h, 2w) -> tokens (B, T, C) and image (B, h * 2w, C)."""
        tokens = codes.tokens
        state = image.flatten(2).transpose(1, 2)
        for fusion in self.fusions:
            assert codes.bottleneck is not None
            state = fusion(state, codes.bottleneck, codes.size)
        for layer in self.layers:
            tokens, state = layer(tokens, state, codes)
        looked = self.final_attn_token_to_image(tokens + codes.tokens, state + codes.image, state)
        return self.norm_final_attn(tokens + looked), state


def target_half(state: Tensor, size: tuple[int, int]) -> Tensor:
    """The target's cells of an image state (B, h * 2w, C), as a map (B, C, h, w)."""
    return torch.unflatten(state, 1, size)[:, :, size[1] // 2 :].permute(0, 3, 1, 2)
