"""The adaptor of IGGT: four token layers to maps at 4, 2, 1 and 1/2 times the patch grid."""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.instances.field.config import AdaptorConfig
from geoseg_core.layers.attention import LayerNorm


class Projection(nn.Module):
    """y = relu(BN(conv1x1 x)); out = conv1x1(y + BN(conv3x3(relu(BN(conv3x3 y)))))"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input_proj = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.residual_conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.output_proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.input_proj(x))
        return self.output_proj(x + self.residual_conv(x))


class Adaptor(nn.Module):
    """Four token layers (N, h*w, width) -> maps (N, C, 4h, 4w), (N, C, 2h, 2w), (N, C, h, w), (N, C, ~h/2, ~w/2).

    The coarsest size is rounded up.
    """

    def __init__(self, config: AdaptorConfig, width: int) -> None:
        super().__init__()
        first, second, third, fourth = config.channels
        self.norm = LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, each, 1) for each in config.channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.Sequential(
                    nn.ConvTranspose2d(first, first, 4, stride=2, padding=1),
                    Projection(first),
                    nn.ConvTranspose2d(first, first, 4, stride=2, padding=1),
                    Projection(first),
                ),
                nn.Sequential(nn.ConvTranspose2d(second, second, 2, stride=2), Projection(second)),
                nn.Sequential(nn.Identity(), Projection(third)),
                nn.Sequential(nn.Conv2d(fourth, fourth, 3, stride=2, padding=1), Projection(fourth)),
            )
        )

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        modules = zip(layers, self.projects, self.resize_layers, strict=True)
        return [
            resize(project(self.norm(tokens).transpose(1, 2).unflatten(2, grid))) for tokens, project, resize in modules
        ]
