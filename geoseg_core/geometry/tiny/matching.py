"""Places of one view found in another: descriptors compared over the whole view, then around the best place.

Pixel centres are whole numbers; cell c of a map at 1/s of the size has its centre at pixel (c + 0.5) * s - 0.5.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.geometry.tiny.model import COARSE, FINE

WINDOW = 3
# A carried mask is never surer than this.
LEAST_CHANCE = 1e-3


def sampled(maps: Tensor, points_px: Tensor, stride: int) -> Tensor:
    """Descriptors (B, N, D) of maps (B, D, h, w) at pixels (B, N, 2), bilinear."""
    size = points_px.new_tensor((maps.shape[-1] * stride, maps.shape[-2] * stride))
    grid = (2 * points_px + 1) / size - 1
    return F.grid_sample(maps, grid[:, :, None], padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)


def coarse_logits(described: Tensor, target: Tensor, nowhere: Tensor) -> Tensor:
    """Logits (B, N, h*w + 1) of each cell of the target (B, D, h, w) for descriptors (B, N, D); the last one says that
    the place is not in sight."""
    scores = (described * described.shape[-1] ** -0.5) @ target.flatten(2)
    return torch.cat((scores, nowhere.expand(*scores.shape[:2], 1)), dim=-1)


def window_logits(described: Tensor, target: Tensor, cells: Tensor) -> Tensor:
    """Logits (B, N, (2*WINDOW+1)^2) of the cells of the fine target (B, d, h, w) around cells (B, N, 2) of integer
    column and row; -inf outside the map."""
    height, width = target.shape[-2:]
    around = cells[:, :, None] + window(cells.device)
    within = ((around >= 0) & (around < cells.new_tensor((width, height)))).all(dim=-1)
    flat = around[..., 1].clamp(0, height - 1) * width + around[..., 0].clamp(0, width - 1)
    batch = torch.arange(len(cells), device=cells.device)[:, None, None]
    near = target.flatten(2).transpose(1, 2)[batch, flat]  # (B, N, K, d)
    scores = (near @ described[..., None])[..., 0] * described.shape[-1] ** -0.5
    return scores.masked_fill(~within, -torch.inf)


def window(device: torch.device) -> Tensor:
    """(K, 2) columns and rows of the cells of a window about its centre."""
    steps = torch.arange(-WINDOW, WINDOW + 1, device=device)
    return torch.cartesian_prod(steps, steps).flip(-1)


def best_cells(chances: Tensor, width: int) -> Tensor:
    """The likeliest cell (B, N, 2), column and row, by chances (B, N, h*w), each place's up to a factor.

    What lies on the corner of four cells is likely in each of them, so chances are summed over the neighbours first.
    """
    cells = chances.unflatten(-1, (-1, width))
    best = (neighbourhood(cells) + cells).flatten(-2).argmax(dim=-1)
    return torch.stack((best % width, best // width), dim=-1)


def neighbourhood(cells: Tensor) -> Tensor:
    """Means (..., h, w) over the 3x3 cells about each cell, 0 outside. Slices are several times faster than pooling
    on CPUs."""
    padded = F.pad(cells, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + padded[..., 1:-1, :]
    rows += padded[..., 2:, :]
    summed = rows[..., :-2] + rows[..., 1:-1]
    summed += rows[..., 2:]
    return summed.div_(9)


def refined(cells: Tensor, logits: Tensor) -> Tensor:
    """Pixels (B, N, 2) of a fine match: the mean place about the likeliest cell of a window around `cells`."""
    steps = window(cells.device)
    best = steps[logits.argmax(dim=-1)]
    near = (steps - best[..., None, :]).abs().amax(dim=-1) <= 1
    shares = logits.masked_fill(~near, -torch.inf).softmax(dim=-1)
    place = cells + (shares[..., None] * steps).sum(dim=-2)
    return (place + 0.5) * FINE - 0.5


def levelled(coarse: Tensor) -> Tensor:
    """Descriptors (B, D, h, w) of equal length, their mean one.

    The first view of a set and the others are told apart by what all their descriptors share, so that views of a set
    are matched as they are. Between sets a view meets one of its own kind, and what they share would outweigh the rest.
    """
    lengths = coarse.norm(dim=1, keepdim=True)
    return coarse / lengths.clamp(min=1e-6) * lengths.mean(dim=(2, 3), keepdim=True)


def cell_centres(height: int, width: int) -> Tensor:
    """Pixels (N, 2) of the centres of all coarse cells of an image, row by row."""
    rows, columns = torch.meshgrid(*(torch.arange(size // COARSE) for size in (height, width)), indexing="ij")
    return (torch.stack((columns, rows), dim=-1).flatten(0, 1) + 0.5) * COARSE - 0.5


def cells_of(points_px: Tensor) -> Tensor:
    """The coarse cells (..., 2), column and row, in which pixels (..., 2) lie."""
    return ((points_px + 0.5) / COARSE).floor().long()


def follow(
    coarse: tuple[Tensor, Tensor],
    fine: tuple[Tensor, Tensor],
    nowhere: Tensor,
    points_px: Tensor,
    expected: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Follow pixels (B, N, 2) from one view to another.

    Args:
        coarse: descriptors (B, D, h, w) of the source and of the target; fine the same.
        expected: (B, N, h*w) logs of how far each cell of the target is expected from what else is known, such as a
            pose; up to a constant.

    Returns:
        pixels (B, N, 2) in the target, and the chance (B, N) that they are in sight there.
    """
    cells, seen = follow_coarsely(coarse, nowhere, points_px, expected)
    centres = cells * (COARSE // FINE)  # the upper left of the fine cells of a coarse one
    near = window_logits(sampled(fine[0], points_px, FINE), fine[1], centres)
    return refined(centres, near), seen


def follow_coarsely(
    coarse: tuple[Tensor, Tensor], nowhere: Tensor, points_px: Tensor, expected: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What `follow` does first: the coarse cells (B, N, 2) of the target, column and row, and the chances (B, N)."""
    logits = coarse_logits(sampled(coarse[0], points_px, COARSE), coarse[1], nowhere)
    chances = logits.softmax(dim=-1)
    within = chances[..., :-1] if expected is None else (logits[..., :-1] + expected).softmax(dim=-1)
    return best_cells(within, coarse[1].shape[-1]), 1 - chances[..., -1]


def carried(maps: tuple[Tensor, Tensor], nowhere: Tensor, masks: Tensor) -> Tensor:
    """Logits (B, K, H, W) of masks (B, K, H, W) bool of the source, where the target's places are found in the source.

    Args:
        maps: coarse descriptors (B, D, h, w) of the source and of the target.
    """
    source, target = maps
    covered = F.avg_pool2d(masks.to(source.dtype), COARSE).flatten(2)  # (B, K, h*w) part of each cell
    found = coarse_logits(target.flatten(2).mT, source, nowhere).softmax(dim=-1)[..., :-1]
    chance = (covered @ found.mT).float().unflatten(-1, target.shape[-2:])  # bfloat16 has nothing between .996 and 1
    logits = chance.clamp(LEAST_CHANCE, 1 - LEAST_CHANCE).logit()
    return F.interpolate(logits, masks.shape[2:], mode="bilinear", align_corners=False)
