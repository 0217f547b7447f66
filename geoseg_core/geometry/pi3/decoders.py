"""Parts that Pi3 and Pi3X share: the alternating decoder, the head decoders and the camera head.

Types (as released): encoder and decoders follow the ambient autocast, with q and k brought to the type of v before
the rotation; what follows the decoders runs with autocast off, in the type of its own weights.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.geometry.pi3.config import DecoderConfig, HeadConfig
from geoseg_core.layers.attention import Block, Rotary

EPS = 1e-6


def decoder_blocks(config: DecoderConfig, width: int) -> nn.ModuleList:
    """Blocks of the alternating decoder."""
    return nn.ModuleList(
        Block(width, config.heads, config.mlp_ratio, eps=EPS, qk_norm=True, rotate_in_value_type=True)
        for _ in range(config.depth)
    )


class HeadDecoder(nn.Module):
    """Decoder features (N, P, 2C) of each frame by itself to (N, P, out)."""

    def __init__(self, config: HeadConfig, inputs: int, out: int) -> None:
        super().__init__()
        self.projects = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, eps=EPS, layer_scale=False, rotate_in_value_type=True)
            for _ in range(config.depth)
        )
        self.linear_out = nn.Linear(config.width, out)

    def forward(self, features: Tensor, rotary: Rotary) -> Tensor:
        x = self.projects(features)
        for block in self.blocks:
            x = block(x, rotary)
        return self.linear_out(x)


class PixelHead(nn.Module):
    """Patch tokens (N, h*w, C) to a map (N, outputs, H, W): each token holds the pixels of its patch."""

    def __init__(self, width: int, outputs: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(width, outputs * patch**2)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return F.pixel_shuffle(self.proj(tokens).transpose(1, 2).unflatten(2, grid), self.patch)


class ResidualMlp(nn.Module):
    """f + relu(l3 relu(l2 relu(l1 f)))"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv1 = nn.Linear(width, width)
        self.res_conv2 = nn.Linear(width, width)
        self.res_conv3 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.res_conv3(F.relu(self.res_conv2(F.relu(self.res_conv1(x))))))


class CameraHead(nn.Module):
    """Patch tokens (N, h*w, C) to camera_to_world (N, 4, 4), float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv = nn.ModuleList(ResidualMlp(width) for _ in range(2))
        self.more_mlps = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t = nn.Linear(width, 3)
        self.fc_rot = nn.Linear(width, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        for residual in self.res_conv:
            tokens = residual(tokens)
        pooled = self.more_mlps(tokens.mean(dim=1))
        pose = torch.eye(4, device=tokens.device).repeat(tokens.shape[0], 1, 1)
        pose[:, :3, :3] = nearest_rotation(self.fc_rot(pooled).float().unflatten(-1, (3, 3)))
        pose[:, :3, 3] = self.fc_t(pooled)
        return pose


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation nearest to matrices (..., 3, 3) whose rows are first brought to unit length."""
    left, _, right = torch.linalg.svd(F.normalize(matrix, dim=-1))
    sign = torch.linalg.det(left @ right)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
    return (left * flip[..., None, :]) @ right


def to_world(local: Tensor, camera_to_world: Tensor) -> Tensor:
    """Points (..., H, W, 3) of cameras (..., 4, 4) float32 to the world, in float32."""
    rotation, translation = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    with torch.autocast(local.device.type, enabled=False):
        return local.float() @ rotation.mT[..., None, :, :] + translation[..., None, None, :]
