"""Pairs of views made of single images, so that masks of one image are enough to learn from.

VGGT-Segmentor (2026) after MASA (Li et al., 2024). Two families: changes that a geometry network follows (scale, a
slight turn, another crop), and changes that no camera makes (a large turn, a mirror), for which each view is encoded by
itself and the points that would come from the network are the true ones, shaken.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample


@dataclass(frozen=True)
class ImagePairsConfig:
    """How far an image is changed."""

    adaptive_turn_deg: float = setting(15.0, "slight turns, at most", "deg", 0.0, 180.0)
    adaptive_scale: float = setting(1.8, "factor of the size, at most; its inverse is the least", "", 1.0, 10.0)
    large_turn_deg: float = setting(30.0, "large turns, at least", "deg", 0.0, 180.0)
    large_scale: float = setting(1.3, "factor of the size with a large turn, at most", "", 1.0, 10.0)
    shift: float = setting(0.15, "shift over the width of the image, at most", "", 0.0, 1.0)
    light: float = setting(1.25, "factor of the brightness, at most; its inverse is the least", "", 1.0, 10.0)


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """Images and their changed copies.

    Attributes:
        sample: batch of two views: as it was, changed. Of it only images and ids are known; 0 where nothing is shown.
        moves: (B, 2, 3) takes pixels of the first view (x, y, 1) to those of the second.
    """

    sample: Sample
    moves: Tensor

    def moved(self, points_px: Tensor, rows: Tensor) -> Tensor:
        """Points (R, N, 2) of the images `rows` (R,), in the changed copies."""
        moves = self.moves[rows].to(points_px)
        return points_px @ moves[:, :, :2].mT + moves[:, None, :, 2]


def image_pairs(batch: Sample, adaptive: bool, settings: ImagePairsConfig) -> ImagePairs:
    """The first view of each sample and a changed copy, drawn from torch's global generator."""
    images, ids = batch.images[:, 0], batch.instance_ids
    moves = random_moves(len(images), (images.shape[-2], images.shape[-1]), adaptive, settings).to(images)
    there = warped(images, moves, "bilinear")
    light = torch.exp((2 * torch.rand(len(images), 1, 1, 1) - 1) * math.log(settings.light)).to(images)
    shown = torch.stack((images, (there * light).clamp(0, 1)), dim=1)
    both = None
    if ids is not None:
        moved = warped(ids[:, :1].float(), moves, "nearest")[:, 0].round().long()
        both = torch.stack((ids[:, 0], moved), dim=1)
    return ImagePairs(Sample(shown, instance_ids=both, source=batch.source), moves)


def random_moves(count: int, size: tuple[int, int], adaptive: bool, settings: ImagePairsConfig) -> Tensor:
    """(count, 2, 3) of one family, about the centres of images of a size (height, width)."""
    least, most = (0.0, settings.adaptive_turn_deg) if adaptive else (settings.large_turn_deg, 180.0)
    largest = settings.adaptive_scale if adaptive else settings.large_scale
    sign = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    angle = torch.deg2rad(sign * (least + (most - least) * torch.rand(count)))
    scale = torch.exp((2 * torch.rand(count) - 1) * math.log(largest))
    mirror = torch.ones(count) if adaptive else torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack((torch.stack((cosine * mirror, -sine), -1), torch.stack((sine * mirror, cosine), -1)), 1)
    height, width = size
    centre = torch.tensor(((width - 1) / 2, (height - 1) / 2))
    shift = (2 * torch.rand(count, 2) - 1) * settings.shift * width
    return torch.cat((turn, (centre + shift - turn @ centre)[..., None]), dim=-1)


def warped(maps: Tensor, moves: Tensor, mode: str) -> Tensor:
    """Maps (B, C, H, W) moved by (B, 2, 3), 0 where nothing was."""
    height, width = maps.shape[-2:]
    turn, shift = moves[:, :, :2], moves[:, :, 2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((columns, rows), dim=-1).flatten(0, 1).to(moves)  # (H*W, 2)
    places = torch.linalg.solve(turn[:, None], (pixels - shift[:, None])[..., None])[..., 0]
    grid = (2 * places + 1) / places.new_tensor((width, height)) - 1
    return F.grid_sample(maps, grid.unflatten(1, (height, width)), mode=mode, align_corners=False)
