"""Attention and the pre-norm transformer block that VGGT, IGGT, Pi3, Pi3X and the ViT share.

    x <- x + g1 * Attn(LN1 x);  x <- x + g2 * MLP(LN2 x)

Types: a norm runs in the type of its own weights, so under autocast the norms and the residual stream stay float32
while matrix products run in bfloat16.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.layers.positions import rotate
from geoseg_core.layers.products import attend

Rotary = tuple[Tensor, Tensor]
# Takes the keys and values of these tokens, each (B, heads, N, D), and gives those that they attend to.
Remember = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class LayerNorm(nn.LayerNorm):
    """Layer norm in the type of its weights, whatever type comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Mlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """One learned factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention with optional q/k norm and 2-D rotary positions.

    Under autocast q and k stay float32 through norm and rotation and are cast for the fused product only;
    with `rotate_in_value_type` (Pi3) they are cast to the type of v before the rotation.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool = False, rotate_in_value_type: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.rotate_in_value_type = rotate_in_value_type
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = LayerNorm(width // heads, eps=1e-5) if qk_norm else nn.Identity()
        self.k_norm = LayerNorm(width // heads, eps=1e-5) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotary: Rotary | None = None, remember: Remember | None = None) -> Tensor:
        """x: (B, N, C); rotary: a table of P positions, N a multiple of P."""
        query, key, value = self.split(x)
        if rotary is not None:
            if self.rotate_in_value_type:
                query, key = query.to(value.dtype), key.to(value.dtype)
            query, key = rotate(query, rotary), rotate(key, rotary)
        query, key = query.to(value.dtype), key.to(value.dtype)
        if remember is not None:
            key, value = remember(key, value)
        return self.join(attend(query, key, value))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normed queries and keys, and values, each (B, heads, N, D)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.q_norm(query), self.k_norm(key), value

    def join(self, mixed: Tensor) -> Tensor:
        """(B, heads, N, D) -> (B, N, C), projected."""
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block; `eps` is that of its two layer norms."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        *,
        eps: float = 1e-5,
        qk_norm: bool = False,
        layer_scale: bool = True,
        rotate_in_value_type: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm, rotate_in_value_type)
        self.ls1 = LayerScale(width) if layer_scale else nn.Identity()
        self.norm2 = LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls2 = LayerScale(width) if layer_scale else nn.Identity()

    def forward(self, x: Tensor, rotary: Rotary | None = None, remember: Remember | None = None) -> Tensor:
        x = self.add(x, self.attn(self.norm1(x), rotary, remember), self.ls1)
        return self.add(x, self.mlp(self.norm2(x)), self.ls2)

    @staticmethod
    def add(x: Tensor, change: Tensor, scale: nn.Module) -> Tensor:
        """x + scale * change, in one step where there is a scale."""
        return torch.addcmul(x, change, scale.gamma) if isinstance(scale, LayerScale) else x + change
