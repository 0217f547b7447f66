"""The part head of IGGT: maps of the adaptor and of the point head to an instance feature for each pixel.

The published description (Li et al., "IGGT", 2026, section 3.2) and the released network differ; both can be had.

* released: geometry replaces the instance map by plain attention at the coarsest scale, and by attention in windows at
  the finest; at the scale between them it has no effect. Features leave with any length.
* paper: at every scale, instance map + attention of shifted windows of it to the geometry. Features are normalised.
  How that attention looks inside is not published; here it is the released module, shifted by half a window.
"""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.instances.field.config import PartHeadConfig
from geoseg_core.instances.field.windows import WindowCrossAttention, WindowSelfAttention
from geoseg_core.layers.dpt import Dpt, DptConfig, Scratch, enlarge

SCALES = range(1, 5)
# Scales at which a fused map of the point head may join.
FUSED = (2, 3, 4)


class CrossAttention(nn.Module):
    """Attention of tokens to a context, all positions of a frame, without norm, residual or positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """(N, P, C) and (N, Q, C) -> (N, P, C)"""
        query, key, value = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for each in (self.projq(tokens), self.projk(context), self.projv(context))
        )
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class PartHead(nn.Module):
    """Maps of the adaptor and fused maps of the point head -> (N, outputs, H, W).

    `width` is that of the token layers, `features` that of the fused maps, `channels` those of the adaptor.
    """

    def __init__(
        self, config: PartHeadConfig, width: int, features: int, channels: Sequence[int], *, patch: int = 14
    ) -> None:
        super().__init__()
        self.patch, self.config = patch, config
        self.scratch = Scratch(channels, features, features // 2, config.outputs, config.hidden)
        if config.fusion == "paper":
            self.geometry_attention = nn.ModuleDict(
                {f"{scale}": WindowCrossAttention(features, config, shift=config.window // 2) for scale in FUSED}
            )
        else:
            if config.unused_channels:
                self._register_unused(Dpt(DptConfig(channels=config.unused_channels), width, 1))
            # In the checkpoint; what it gives is thrown away by the release, so that it is not run here.
            self.cross_attention_1 = CrossAttention(features, config.cross_heads)
            self.cross_attention_2 = CrossAttention(features, config.cross_heads)
            self.window_cross_attention = WindowCrossAttention(features, config)
        self.window_self_atten = WindowSelfAttention(features // 2, config)

    def _register_unused(self, inherited: Dpt) -> None:
        self.norm, self.projects, self.resize_layers = inherited.norm, inherited.projects, inherited.resize_layers

    def forward(self, maps: Sequence[Tensor], geometry: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """maps: fine to coarse; geometry: the fused maps (N, C, 4h, 4w), (N, C, 2h, 2w), (N, C, h, w)."""
        refine1, refine2, refine3, refine4 = (self.scratch.get_submodule(f"refinenet{scale}") for scale in SCALES)
        l1, l2, l3, l4 = (
            self.scratch.get_submodule(f"layer{scale}_rn")(each) for scale, each in zip(SCALES, maps, strict=True)
        )
        r4 = self.with_geometry(4, refine4(l4, None, l3.shape[-2:]), geometry[2])
        r3 = self.with_geometry(3, refine3(r4, l3, l2.shape[-2:]), geometry[1])
        r2 = self.with_geometry(2, refine2(r3, l2, l1.shape[-2:]), geometry[0])
        r1 = refine1(r2, l1, (2 * l1.shape[-2], 2 * l1.shape[-1]))
        fine = self.window_self_atten(self.scratch.output_conv1(r1))
        features = self.scratch.output_conv2(enlarge(fine, (self.patch * grid[0], self.patch * grid[1])))
        return F.normalize(features, dim=1) if self.config.normalised else features

    def with_geometry(self, scale: int, x: Tensor, geometry: Tensor) -> Tensor:
        """The instance map of a scale (2 is the finest) with the geometry (both N, C, H, W) in it."""
        if self.config.fusion == "paper":
            return x + self.geometry_attention[f"{scale}"](x, geometry)
        if scale == 4:
            return self.cross_attention_2(x.flatten(2).mT, geometry.flatten(2).mT).mT.unflatten(2, x.shape[-2:])
        return self.window_cross_attention(x, geometry) if scale == 2 else x
