"""Layers of SAM's mask decoder (Kirillov et al., "Segment Anything", 2023): a few tokens that stand for prompts, and
the cells of an image, look at each other in turn. Parameters are named as in its released checkpoints. Norms stand
after the residual sums.
"""

import math

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

CHANNEL_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head attention with its own width inside, (B, N, C) queries on (B, M, C) keys and values."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, known: Tensor | None = None) -> Tensor:
        """known: (B, M) bool, the keys that are there; None: all."""
        asked, keys, values = (
            project(each).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, D)
            for project, each in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        # Written out: in bfloat16 on a CPU, the backward pass of torch's own takes nine times as long for few keys.
        products = asked * asked.shape[-1] ** -0.5 @ keys.mT
        if known is not None:
            products = products.masked_fill(~known[:, None, None], -math.inf)
        mixed = products.softmax(dim=-1).to(values.dtype) @ values
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = zip(widths, widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(first, second) for first, second in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map (B, C, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        shape = nn.LayerNorm(width, eps=CHANNEL_NORM_EPS)
        self.weight, self.bias = shape.weight, shape.bias

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(1, -1)
        return F.layer_norm(last, last.shape[-1:], self.weight, self.bias, CHANNEL_NORM_EPS).movedim(-1, 1)


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens on the image, and the image on the tokens."""

    def __init__(self, width: int, inner: int, hidden: int, heads: int, first: bool) -> None:
        super().__init__()
        self.add_layers(width, inner, hidden, heads, first)

    def add_layers(self, width: int, inner: int, hidden: int, heads: int, first: bool) -> None:
        """Its parts, after those that a block with more of them has before."""
        self.first = first
        self.self_attn_token = Attention(width, width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, inner, heads)
        self.norm2 = nn.LayerNorm(width)
        self.token_mlp = Mlp(width, hidden, width)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, inner, heads)

    def look(
        self, tokens: Tensor, image: Tensor, codes: Tensor, places: Tensor, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """tokens (B, T, C) and image (B, N, C), both as they become.

        Args:
            codes: (B, T, C) added to tokens wherever they ask or are asked; places: (B or 1, N, C) for the image.
            known: (B, T) bool, the tokens that are there; None: all.
        """
        tokens = self._among_themselves(tokens, codes, known)
        keys = image + places
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + codes, keys, image))
        tokens = self.norm3(tokens + self.token_mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(keys, tokens + codes, tokens, known))
        return tokens, image

    def _among_themselves(self, tokens: Tensor, codes: Tensor, known: Tensor | None) -> Tensor:
        # Released so: the first block has neither residual nor codes here.
        if self.first:
            return self.norm1(self.self_attn_token(tokens, tokens, tokens, known))
        placed = tokens + codes
        return self.norm1(tokens + self.self_attn_token(placed, placed, tokens, known))


class TwoWay(nn.Module):
    """Blocks, and a last look of the tokens at the image."""

    def __init__(self, width: int, inner: int, hidden: int, heads: int, blocks: int) -> None:
        super().__init__()
        each_block = (TwoWayBlock(width, inner, hidden, heads, first=number == 0) for number in range(blocks))
        self.layers = nn.ModuleList(each_block)
        self.final_attn_token_to_image = Attention(width, inner, heads)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(
        self, image: Tensor, codes: Tensor, places: Tensor, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """image (B, N, C), its places (B or 1, N, C) and tokens' codes (B, T, C), of which those are there that are
        `known` (B, T) -> tokens and image."""
        tokens = codes
        for layer in self.layers:
            tokens, image = layer.look(tokens, image, codes, places, known)  # type: ignore[operator]
        looked = self.final_attn_token_to_image(tokens + codes, image + places, image)
        return self.norm_final_attn(tokens + looked), image
