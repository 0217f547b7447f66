"""Prompts of the union head: positions of image cells and of points, masks as maps.

Places are encoded by random Fourier features (Tancik et al., 2020): for c in [0, 1]^2, x first, u = 2 pi (2c - 1) G and
the code is [sin u, cos u]. Every code gets a learned vector that says which view it belongs to.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.layers.two_way import ChannelNorm


class FourierCode(nn.Module):
    """Places to codes of `width` channels."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, places: Tensor) -> Tensor:
        """(..., 2) x, y in [0, 1] -> (..., width)"""
        angles = 2 * math.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def grid(self, size: tuple[int, int]) -> Tensor:
        """(width, h, w): codes of the centres of h x w cells."""
        matrix = self.positional_encoding_gaussian_matrix
        rows, columns = (
            (torch.arange(length, device=matrix.device, dtype=matrix.dtype) + 0.5) / length for length in size
        )
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (h, w, 2)
        return self(places).movedim(-1, 0)


class PromptEncoder(nn.Module):
    """Codes of the two views' cells, of points and of masks."""

    def __init__(self, config: UnionHeadConfig) -> None:
        super().__init__()
        width, fused = config.width, config.fusion_width
        self.mask_logit = config.mask_logit
        self.ca_pe_layer = FourierCode(width)
        if config.fusion != "none":
            self.sa_pe_layer = FourierCode(fused)
        self.ca_src_img_pe = nn.Embedding(1, width)
        self.ca_tar_img_pe = nn.Embedding(1, width)
        if config.fusion != "none":
            self.sa_src_img_pe = nn.Embedding(1, fused)
            self.sa_tar_img_pe = nn.Embedding(1, fused)
        self.src_point_pe = nn.Embedding(1, width)
        self.tar_point_pe = nn.Embedding(1, width)
        self.mask_downscaling = mask_downscaling(config)

    def cells(self, size: tuple[int, int]) -> Tensor:
        """(1, C, h, 2w): codes of the source's cells, then of the target's, side by side."""
        return side_by_side(self.ca_pe_layer.grid(size), self.ca_src_img_pe.weight, self.ca_tar_img_pe.weight)

    def bottleneck_cells(self, size: tuple[int, int]) -> Tensor:
        """The same for the cells of the bottleneck."""
        return side_by_side(self.sa_pe_layer.grid(size), self.sa_src_img_pe.weight, self.sa_tar_img_pe.weight)

    def points(self, source_px: Tensor, target_px: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, N, 2) points of the source and (B, M, 2) of the target, in images of `size` -> (B, N + M, C)."""
        scale = source_px.new_tensor((size[1], size[0]))
        source = self.ca_pe_layer((source_px + 0.5) / scale) + self.src_point_pe.weight
        target = self.ca_pe_layer((target_px + 0.5) / scale) + self.tar_point_pe.weight
        return torch.cat((source, target), dim=1)

    def point_features(self, sampled: Tensor, additions: int) -> Tensor:
        """Sampled features (B, N, C) with the source-point vector added so many times; only the last is learned."""
        vector = self.src_point_pe.weight
        return sampled + (additions - 1) * vector.detach() + vector

    def source_mask(self, masks: Tensor) -> Tensor:
        """Masks (B, H, W) bool -> (B, C, h, w)."""
        logits = torch.where(masks, self.mask_logit, -self.mask_logit)
        return self.mask_downscaling(logits[:, None].to(self.src_point_pe.weight.dtype))

    def feedback(self, logits: Tensor) -> Tensor:
        """Mask logits (B, 1, H, W) -> (B, C, h, w), with the weights of the source mask."""
        return self.mask_downscaling(logits)


def mask_downscaling(config: UnionHeadConfig) -> nn.Module:
    """(B, 1, H, W) to a map of the features' size and width."""
    stride = config.map_stride
    if config.mask_encoder == "single":
        return nn.Sequential(nn.Conv2d(1, config.width, stride, stride))
    inside = config.mask_channels
    return nn.Sequential(
        nn.Conv2d(1, inside, stride, stride), ChannelNorm(inside), nn.GELU(), nn.Conv2d(inside, config.width, 1)
    )


def side_by_side(codes: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Codes (C, h, w) with each view's vector (1, C) added: (1, C, h, 2w)."""
    return torch.cat([codes + each[0, :, None, None] for each in (source, target)], dim=-1)[None]


def sample_points(maps: Tensor, points_px: Tensor, size: tuple[int, int]) -> Tensor:
    """Features (B, N, C) of maps (B, C, h, w) at points (B, N, 2) of images of `size`.

    As in the released code the first and the last pixel of the image fall on the first and the last cell of the map;
    the border goes on outside.
    """
    last = points_px.new_tensor((size[1] - 1, size[0] - 1)).clamp(min=1)
    places = (2 * points_px / last - 1).clamp(-1, 1)
    sampled = F.grid_sample(maps, places[:, :, None].to(maps.dtype), padding_mode="border", align_corners=True)
    return sampled.squeeze(-1).transpose(1, 2)
