"""Known poses told to the decoder of Pi3X: attention between posed frames with a projective encoding.

x += mask * [g1 * Attn(LN1 x) + g2 * MLP(LN2 x)], both branches on the same x, over the patch tokens of all frames.
Each head vector is encoded by where its token is seen from: with P the world-to-camera matrix of its frame, the first
half is cut in 4-vectors that P acts on; the third quarter turns with the patch's column and the last with its row.
Queries meet keys, and values come back, in the frame of the query's camera (Li et al., "Cameras as Relative
Positional Encoding", 2025).
"""

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.pi3.config import DecoderConfig
from geoseg_core.geometry.pi3.decoders import EPS
from geoseg_core.layers.attention import Attention, LayerNorm, LayerScale, Mlp

KEPT_SIZES = 32


class PoseInjection(nn.Module):
    """Patch tokens (B, S, h*w, C), camera_to_world (B, S, 4, 4) and which are posed (B, S) to what is added."""

    def __init__(self, config: DecoderConfig, width: int) -> None:
        super().__init__()
        self.base = config.rotary_base
        self.norm1 = LayerNorm(width, eps=EPS)
        self.attn = Attention(width, config.heads, qk_norm=True)
        self.ls1 = LayerScale(width)
        self.norm2 = LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, int(width * config.mlp_ratio))
        self.ls2 = LayerScale(width)

    def forward(self, tokens: Tensor, camera_to_world: Tensor, posed: Tensor, grid: tuple[int, int]) -> Tensor:
        x = tokens.flatten(1, 2)  # (B, S*h*w, C)
        attended = self.attend(self.norm1(x), camera_to_world, posed, grid)
        change = self.ls1(attended) + self.ls2(self.mlp(self.norm2(x)))
        return change.unflatten(1, tokens.shape[1:3]) * posed[..., None, None]

    def attend(self, x: Tensor, camera_to_world: Tensor, posed: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attention among the posed frames; what it gives the others has no meaning."""
        query, key, value = self.attn.split(x)
        turn = quarter_table(grid, query.shape[-1] // 8, self.base, query.device)
        project, back = torch.linalg.inv(camera_to_world), camera_to_world
        query = encode(query, project.mT, turn, 1.0)
        key, value = encode(key, back, turn, 1.0).to(value.dtype), encode(value, back, turn, 1.0).to(value.dtype)
        mixed = F.scaled_dot_product_attention(
            query.to(value.dtype), key, value, attn_mask=key_mask(posed, grid[0] * grid[1])
        )
        return self.attn.join(encode(mixed, project, turn, -1.0).to(x.dtype))


def key_mask(posed: Tensor, patches: int) -> Tensor | None:
    """Which keys may be seen, (B, 1, 1, S*patches); all in a sample without any posed frame, None if all are."""
    if bool(posed.all()):
        return None
    seen = posed | ~posed.any(dim=1, keepdim=True)
    return seen.repeat_interleave(patches, dim=1)[:, None, None]


@lru_cache(KEPT_SIZES)
def quarter_table(
    grid: tuple[int, int], bands: int, base: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (h*w, 2, bands) of column and row of each patch, from 0."""
    with torch.inference_mode(False):
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        places = torch.stack((columns, rows), dim=-1).reshape(-1, 2, 1).to(device, torch.float32)
        angles = places * base ** (-torch.arange(bands, device=device, dtype=torch.float32) / bands)
        return angles.cos(), angles.sin()


def encode(x: Tensor, matrices: Tensor, turn: tuple[Tensor, Tensor], direction: float) -> Tensor:
    """Head vectors (B, heads, S*h*w, D): the matrices (B, S, 4, 4) of their frames act on the first half, the patch
    positions turn the second, backwards where `direction` is -1."""
    cosines, sines = turn
    split = x.unflatten(2, (matrices.shape[1], -1))  # (B, heads, S, h*w, D)
    first, second = split.chunk(2, dim=-1)
    vectors = first.unflatten(-1, (-1, 4))
    with torch.autocast(x.device.type, enabled=False):
        acted = torch.einsum("bsij,bhspkj->bhspki", matrices.to(cosines.dtype), vectors.to(cosines.dtype))
    low, high = second.unflatten(-1, (2, 2, -1)).unbind(-2)  # (B, heads, S, h*w, 2, D/8)
    sines = direction * sines
    turned = torch.stack((low * cosines + high * sines, high * cosines - low * sines), dim=-2)
    return torch.cat((acted.flatten(-2), turned.flatten(-3)), dim=-1).flatten(2, 3)
