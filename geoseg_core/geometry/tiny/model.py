"""The small geometry network: images of a scene to depth, focal lengths and descriptors that match across views.

It is VGGT at small width (Wang et al., 2025: attention within each frame and over all frames in turn), reshaped for
little training: convolutions make the patch tokens, places of different views are compared by dense descriptors
(coarse to fine, with "nowhere" as one more place), and the cameras follow from matches and depth by `cameras.py`
instead of being regressed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.tiny.backbone import Backbone, Residual
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.vggt.aggregator import Aggregator, TokenLayers
from geoseg_core.geometry.vggt.config import VggtConfig
from geoseg_core.layers.attention import LayerScale
from geoseg_core.layers.images import IMAGENET_MEAN, IMAGENET_STD, check_images

PATCH = 16
COARSE, FINE = 8, 4


@dataclass(frozen=True, eq=False)
class TinyOutput:
    """What the network says of B scenes of S views; maps stand at the centres of their cells.

    Attributes:
        tokens: token layers.
        log_depth: (B, S, H, W) log of the depth along z, roughly of metres.
        log_spread: (B, S, H, W) log of the expected error of log_depth.
        log_focal: (B, S) log of the focal length over the width of the image.
        coarse: (B, S, D, H/8, W/8) descriptors; their product, with `nowhere` beside, goes into a softmax.
        fine: (B, S, d, H/4, W/4) descriptors for the last few pixels.
        fused: (B, S, C, H/4, W/4) what depth and fine descriptors are read from.
        nowhere: logit of a place that the other view does not see.
    """

    tokens: TokenLayers
    log_depth: Tensor
    log_spread: Tensor
    log_focal: Tensor
    coarse: Tensor
    fine: Tensor
    fused: Tensor
    nowhere: Tensor

    @property
    def maps(self) -> Tensor:
        """(B, S, D + C, H/4, W/4): all that is known of each place, `coarse` and `fused`, for heads on top of this."""
        larger = self.coarse.repeat_interleave(COARSE // FINE, dim=-2).repeat_interleave(COARSE // FINE, dim=-1)
        return torch.cat((larger, self.fused), dim=2)


class TinyGeometry(nn.Module):
    """Images (B, S, 3, H, W), RGB float in [0, 1], sides multiples of 16 -> TinyOutput."""

    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyConfig()
        width, (quarter, eighth) = config.width, config.fused
        trunk = VggtConfig(patch=PATCH, width=width, aggregator=config.aggregator, heads=())
        self.backbone = Backbone(config.channels, width)
        self.aggregator = Aggregator(trunk, nn.Identity())
        # Layer scales of 0.01 suit long training of deep models.
        for module in self.aggregator.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, 0.3)
        self.focal_head = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, 64), nn.GELU(), nn.Linear(64, 1))
        self.token_norm = nn.LayerNorm(2 * width)
        self.from_tokens = nn.Conv2d(2 * width, eighth, 1)
        self.from_eighth = nn.Conv2d(config.channels[2], eighth, 1)
        self.eighth = nn.Sequential(Residual(eighth), Residual(eighth))
        self.from_fused = nn.Conv2d(eighth, quarter, 1)
        self.from_quarter = nn.Conv2d(config.channels[1], quarter, 1)
        self.quarter = Residual(quarter)
        self.coarse_head = nn.Conv2d(eighth, config.coarse, 1)
        self.fine_head = nn.Conv2d(quarter, config.fine, 1)
        self.depth_head = nn.Sequential(nn.Conv2d(quarter, quarter, 3, padding=1), nn.GELU())
        self.depth_out = nn.Conv2d(quarter, 2, 1)
        self.blend = nn.Conv2d(quarter, 9 * FINE * FINE, 1)
        self.nowhere = nn.Parameter(torch.tensor(0.0))

    def to_reduced(self, dtype: torch.dtype) -> Self:
        """Cast the weights, all but those whose own steps would show: of depth and of `nowhere`."""
        for module in self.children():
            if module is not self.depth_out:
                module.to(dtype)
        return self

    def forward(self, images: Tensor, keep_layers: Sequence[int] = ()) -> TinyOutput:
        """All outputs; they are float32 whatever the type of the weights.

        Args:
            keep_layers: token layers to keep besides the last.

        Raises:
            BadInput: images of another shape or size.
        """
        check_images(images, PATCH)
        batch, frames = images.shape[:2]
        mean, std = (images.new_tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
        normalised = ((images.flatten(0, 1) - mean) / std).to(self.from_tokens.weight.dtype)
        flat = normalised.contiguous(memory_format=torch.channels_last)
        quarter, eighth, sixteenth = self.backbone(flat)
        grid = (sixteenth.shape[-2], sixteenth.shape[-1])
        patches = sixteenth.flatten(2).transpose(1, 2)
        deepest = self.config.aggregator.depth - 1
        tokens = self.aggregator.aggregate(patches, batch, grid, {*keep_layers, deepest})
        last = tokens.layers[deepest]
        fused8, fused4 = self._decode(last.flatten(0, 1)[:, tokens.specials :], grid, quarter, eighth)
        log_depth, log_spread = self._depth(fused4)
        maps = (log_depth, log_spread, self.coarse_head(fused8).float(), self.fine_head(fused4).float(), fused4.float())
        depth, spread, coarse, fine, fused = (each.unflatten(0, (batch, frames)) for each in maps)
        log_focal = self.focal_head(last[:, :, 0])[..., 0].float()
        return TinyOutput(tokens, depth, spread, log_focal, coarse, fine, fused, self.nowhere)

    def descriptors(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The coarse and fine descriptors in `TinyOutput.maps` (N, D + C, H/4, W/4)."""
        coarse, fused = maps.split((self.config.coarse, self.config.fused[0]), dim=1)
        fine = self.fine_head(fused.to(self.fine_head.weight.dtype)).float()
        return coarse[..., :: COARSE // FINE, :: COARSE // FINE], fine

    def _decode(self, patches: Tensor, grid: tuple[int, int], quarter: Tensor, eighth: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, P, 2C) joined with the finer maps: at 1/8 and at 1/4 of the size."""
        token_map = self.token_norm(patches).transpose(1, 2).unflatten(2, grid)
        fused8 = self.eighth(_double(self.from_tokens(token_map)) + self.from_eighth(eighth))
        fused4 = self.quarter(_double(self.from_fused(fused8)) + self.from_quarter(quarter))
        return fused8, fused4

    def _depth(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Log depth and log spread at full size: each pixel is a learned blend of the 3x3 cells around it."""
        hidden = self.depth_head(fused)
        cells = self.depth_out(hidden.to(self.depth_out.weight.dtype)).float()  # (N, 2, h, w)
        count, _, height, width = cells.shape
        shares = self.blend(hidden).float().view(count, 1, 9, FINE, FINE, height, width).softmax(dim=2)
        around = F.unfold(F.pad(cells, (1, 1, 1, 1), mode="replicate"), 3).view(count, 2, 9, 1, 1, height, width)
        full = (shares * around).sum(dim=2).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        return full[:, 0], full[:, 1]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
