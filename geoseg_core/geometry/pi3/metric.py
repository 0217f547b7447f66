"""The metric scale of Pi3X: one token that reads the decoder features of all frames."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.pi3.config import MetricConfig
from geoseg_core.geometry.pi3.decoders import EPS
from geoseg_core.layers.attention import LayerNorm, Mlp, Rotary
from geoseg_core.layers.positions import rotate

MLP_RATIO = 4


class CrossAttention(nn.Module):
    """A token at position (0, 0), which the rotation leaves as it is, reads tokens at theirs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, rotary: Rotary) -> Tensor:
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.q_proj(x), self.k_proj(context), self.v_proj(context))
        )
        mixed = F.scaled_dot_product_attention(query, rotate(key, rotary), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """x += Attn(LN2 x, LNy context); x += MLP(LN3 x)"""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm2 = LayerNorm(width, eps=EPS)
        self.norm_y = LayerNorm(width, eps=EPS)
        self.norm3 = LayerNorm(width, eps=EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor, context: Tensor, rotary: Rotary) -> Tensor:
        x = x + self.cross_attn(self.norm2(x), self.norm_y(context), rotary)
        return x + self.mlp(self.norm3(x))


class MetricDecoder(nn.Module):
    """A token (B, 1, 2C) and the context (B, S*P, 2C) to (B, 1, width)."""

    def __init__(self, config: MetricConfig, inputs: int) -> None:
        super().__init__()
        self.projects_x = nn.Linear(inputs, config.width)
        self.projects_y = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(CrossBlock(config.width, config.heads) for _ in range(config.depth))
        self.linear_out = nn.Linear(config.width, config.width)

    def forward(self, token: Tensor, context: Tensor, rotary: Rotary) -> Tensor:
        x, context = self.projects_x(token), self.projects_y(context)
        for block in self.blocks:
            x = block(x, context, rotary)
        return self.linear_out(x)
