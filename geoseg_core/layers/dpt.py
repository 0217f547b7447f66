"""DPT: token layers of a transformer to a dense map (Ranftl et al., "Vision Transformers for Dense Prediction", 2021).

Four token layers are projected, brought to four scales and fused from coarse to fine. As published with VGGT:

* the activation at the start of a residual unit works in place, so its skip path carries relu(x), not x;
* a positional term 0.1 * [E(u), E(v)] is added after each projection and before the output convolutions
  (none where only features are wanted).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.layers.attention import LayerNorm
from geoseg_core.layers.positions import uv_sines


@dataclass(frozen=True)
class DptConfig:
    """Sizes of a DPT head."""

    features: int = setting(256, "channels of the fused maps", low=4)
    channels: tuple = setting((256, 512, 1024, 1024), "channels of the four projections", low=4)
    layers: tuple = setting((4, 11, 17, 23), "token layers that are read, from 0", low=0)


class ResidualUnit(nn.Module):
    """relu(x) + conv(relu(conv(relu(x))))"""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.conv2(F.relu(self.conv1(x))) + x


class Fusion(nn.Module):
    """Adds a finer map to a coarser one, refines the sum and enlarges it."""

    def __init__(self, features: int, has_skip: bool = True) -> None:
        super().__init__()
        if has_skip:
            self.resConfUnit1 = ResidualUnit(features)
        self.resConfUnit2 = ResidualUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        # The 1x1 convolution comes before the enlargement, with the same result, on a quarter of the pixels:
        # both are linear, and the weights of an interpolation add up to one.
        return enlarge(self.out_conv(self.resConfUnit2(x)), size)


class Scratch(nn.Module):
    """Fusion of four maps into one; named as in the published checkpoints."""

    def __init__(self, channels: Sequence[int], features: int, neck: int, outputs: int, hidden: int = 32) -> None:
        super().__init__()
        for scale, width in enumerate(channels, start=1):
            self.add_module(f"layer{scale}_rn", nn.Conv2d(width, features, 3, padding=1, bias=False))
        for scale in range(1, 5):
            self.add_module(f"refinenet{scale}", Fusion(features, has_skip=scale < 4))
        self.output_conv1 = nn.Conv2d(features, neck, 3, padding=1)
        if outputs:
            self.output_conv2 = nn.Sequential(
                nn.Conv2d(neck, hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1)
            )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Four maps, fine to coarse -> the fused maps r1 (twice the finest size), r2, r3, r4."""
        layers = [self.get_submodule(f"layer{scale}_rn")(each) for scale, each in enumerate(maps, start=1)]
        height, width = layers[0].shape[-2:]
        sizes = [(2 * height, 2 * width), *(each.shape[-2:] for each in layers[:3])]
        fused = [self.get_submodule("refinenet4")(layers[3], None, sizes[3])]
        for scale in (3, 2, 1):
            refine = self.get_submodule(f"refinenet{scale}")
            fused.insert(0, refine(fused[0], layers[scale - 1], sizes[scale - 1]))
        return fused


class Dpt(nn.Module):
    """Four token layers (N, h*w, width) -> a map (N, outputs, H / down_ratio, W / down_ratio).

    With `outputs` 0 the map holds the `features` channels, without positional terms and output convolutions.
    """

    def __init__(
        self, config: DptConfig, width: int, outputs: int, *, patch: int = 14, down_ratio: int = 1
    ) -> None:
        super().__init__()
        self.patch, self.down_ratio, self.outputs = patch, down_ratio, outputs
        first, second, third, fourth = config.channels
        self.norm = LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, each, 1) for each in config.channels)
        self.resize_layers = nn.ModuleList((
            nn.ConvTranspose2d(first, first, 4, stride=4),
            nn.ConvTranspose2d(second, second, 2, stride=2),
            nn.Identity(),
            nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
        ))
        neck = config.features // 2 if outputs else config.features
        self.scratch = Scratch(config.channels, config.features, neck, outputs)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        return self.finish(self.scratch(self.scales(layers, grid))[0], grid)

    def scales(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """The four token layers as maps at 4, 2, 1 and 1/2 times the patch grid."""
        maps = []
        for tokens, project, resize in zip(layers, self.projects, self.resize_layers, strict=True):
            flat = self.norm(tokens).transpose(1, 2).unflatten(2, grid)  # (N, width, h, w)
            projected = project(flat)
            if self.outputs:
                add_positions(projected, grid[1] / grid[0])
            maps.append(resize(projected))
        return maps

    def finish(self, fused: Tensor, grid: tuple[int, int]) -> Tensor:
        """The finest fused map to the output map."""
        size = (self.patch * grid[0] // self.down_ratio, self.patch * grid[1] // self.down_ratio)
        x = enlarge(self.scratch.output_conv1(fused), size)
        if not self.outputs:
            return x
        add_positions(x, grid[1] / grid[0])
        return self.scratch.output_conv2(x)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize in which corner pixels keep their places."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def add_positions(x: Tensor, aspect: float) -> None:
    """Add the positional term to a fresh map (N, C, h, w), in place."""
    channels, height, width = x.shape[1:]
    of_u, of_v = uv_sines((height, width), channels, aspect, x.dtype, x.device)
    x[:, : channels // 2].add_(of_u, alpha=0.1)
    x[:, channels // 2 :].add_(of_v, alpha=0.1)
