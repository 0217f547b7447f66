"""The transformer that refines point tracks: attention over time, then over points through virtual tracks.

As released, a block's residual carries the *normalised* input: n = LN1(x); y = n + Attn(n); out = y + MLP(LN2 y).
"""

import torch
from torch import Tensor, nn

from geoseg_core.geometry.vggt.config import TrackHeadConfig
from geoseg_core.layers.attention import Mlp

MLP_RATIO = 4


class SelfBlock(nn.Module):
    """Self-attention with the residual on the normalised input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class CrossBlock(nn.Module):
    """The same, attending to a context with a norm of its own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.norm1(x)
        context = self.norm_context(context)
        x = x + self.cross_attn(x, context, context, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class UpdateTransformer(nn.Module):
    """Track tokens (B, N, S, inputs) to updates (B, N, S, outputs)."""

    def __init__(self, config: TrackHeadConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        width, heads, rounds = config.hidden, config.heads, range(config.depth)
        self.input_norm = nn.LayerNorm(inputs)
        self.input_transform = nn.Linear(inputs, width)
        self.virual_tracks = nn.Parameter(torch.randn(1, config.virtual_tracks, 1, width))  # sic, in the checkpoint
        self.time_blocks = nn.ModuleList(SelfBlock(width, heads) for _ in rounds)
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock(width, heads) for _ in rounds)
        self.space_virtual_blocks = nn.ModuleList(SelfBlock(width, heads) for _ in rounds)
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock(width, heads) for _ in rounds)
        self.output_norm = nn.LayerNorm(width)
        self.flow_head = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, points, frames, _ = tokens.shape
        start = self.input_transform(self.input_norm(tokens))
        tokens = torch.cat((start, self.virual_tracks.expand(batch, -1, frames, -1)), dim=1)
        rounds = zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        )
        for over_time, to_virtual, among_virtual, to_points in rounds:
            tokens = over_time(tokens.flatten(0, 1)).unflatten(0, (batch, -1))
            by_frame = tokens.transpose(1, 2).flatten(0, 1)  # (B*S, N + virtual, C)
            seen, virtual = by_frame[:, :points], by_frame[:, points:]
            virtual = among_virtual(to_virtual(virtual, seen))
            seen = to_points(seen, virtual)
            tokens = torch.cat((seen, virtual), dim=1).unflatten(0, (batch, frames)).transpose(1, 2)
        return self.flow_head(self.output_norm(tokens[:, :points] + start))
