"""Layers of the union head; parameters are named as in the released checkpoint."""

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

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        split = [
            project(each).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, D)
            for project, each in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        ]
        mixed = F.scaled_dot_product_attention(*split)
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
