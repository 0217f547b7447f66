"""Prompts to learn from, drawn from the true masks of things: points on them and beside them, masks and boxes.

MV-SAM (2026), appendix A: ten points of which up to 10 % are negative; masks with errors as dense prompts. Beside
these, few points, points in one view alone, and boxes, since that is how people point.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.prompting.mv_sam.marks import MASK_POINTS, RIM_POINTS, rim
from geoseg_core.prompting.mv_sam.model import BOX, MASK, NEGATIVE, NOTHING, POSITIVE, ScenePrompts


@dataclass(frozen=True)
class PromptDrawsConfig:
    """Which things are prompted, and how."""

    things: int = setting(4, "things of a scene that are prompted, at most", low=1)
    least_px: int = setting(48, "pixels of a thing in all views together, at least", "px", 1)
    points: int = setting(10, "points on a thing, at most; so many or fewer, each number as often", low=1)
    negatives: int = setting(2, "points beside it, at most", low=0)
    one_view: float = setting(0.5, "share of prompts whose points lie in one view", low=0.0, high=1.0)
    masks: float = setting(0.3, "share of prompts that are a mask in one view, with errors, and points of it",
                           low=0.0, high=1.0)  # fmt: skip
    boxes: float = setting(0.1, "share of prompts that are a box in one view, and learned in that view alone",
                           low=0.0, high=1.0)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DrawnPrompts:
    """Prompts, and what they ask for.

    Attributes:
        truth: (B, K, V, H, W) bool.
        counted: (B, K, V) bool: where the answer counts; False in all views where a scene has fewer things.
    """

    prompts: ScenePrompts
    truth: Tensor
    counted: Tensor


def draw_prompts(ids: Tensor, last: int, config: PromptDrawsConfig, map_size: tuple[int, int]) -> DrawnPrompts:
    """Prompts to things in instance ids (B, V, H, W) up to `last`, with maps of masks and boxes of a size (h, w)."""
    batch, views = ids.shape[:2]
    room = max(config.points + config.negatives, MASK_POINTS + RIM_POINTS)
    kinds = torch.full((batch, config.things, room), NOTHING)
    where = torch.zeros(batch, config.things, room, 3, dtype=torch.int64)  # view, row, column
    dense = torch.zeros(batch, config.things, views, 2, *map_size)
    truth = torch.zeros(batch, config.things, *ids.shape[1:], dtype=torch.bool)
    counted = torch.zeros(batch, config.things, views, dtype=torch.bool)
    for scene, labels in enumerate(ids.cpu()):
        for row, thing in enumerate(drawn_things(labels, last, config)):
            mask = labels == thing
            truth[scene, row], counted[scene, row] = mask, True
            view = drawn_view(mask)
            kind = float(torch.rand(()))
            if kind < config.boxes:
                dense[scene, row, view, BOX] = box_map(mask[view], map_size)
                counted[scene, row] = torch.arange(views) == view
                continue
            if kind < config.boxes + config.masks:
                dense[scene, row, view, MASK] = wrong = wrong_map(mask[view], map_size)
                given = F.interpolate(wrong[None, None], mask.shape[1:])[0] > 0
                here = (torch.arange(views) == view)[:, None, None]
                asked = [(given & here, MASK_POINTS), (rim(given) & here, RIM_POINTS)]
            else:
                allowed = torch.ones(views, dtype=torch.bool)
                if float(torch.rand(())) < config.one_view:
                    allowed = torch.arange(views) == view
                within = allowed[:, None, None]
                asked = [
                    (mask & within, int(torch.randint(1, config.points + 1, ()))),
                    (~mask & within, int(torch.randint(0, config.negatives + 1, ()))),
                ]
            drawn = [(number, drawn_pixels(*each)) for number, each in zip((POSITIVE, NEGATIVE), asked, strict=True)]
            told = torch.cat([torch.full((len(pixels),), number) for number, pixels in drawn])
            kinds[scene, row, : len(told)] = told
            where[scene, row, : len(told)] = torch.cat([pixels for _, pixels in drawn])
    device = ids.device
    prompts = ScenePrompts(kinds, where[..., 0], where[..., [2, 1]], dense)
    moved = ScenePrompts(*(each.to(device) for each in vars(prompts).values()))
    return DrawnPrompts(moved, truth.to(device), counted.to(device))


def drawn_things(labels: Tensor, last: int, config: PromptDrawsConfig) -> list[int]:
    """Ids in labels (V, H, W) that show enough, in an order drawn anew."""
    found, pixels = labels.unique(return_counts=True)
    enough = found[(found > 0) & (found <= last) & (pixels >= config.least_px)]
    listed: list[int] = enough[torch.randperm(len(enough))][: config.things].tolist()
    return listed


def drawn_view(mask: Tensor) -> int:
    """A view that shows a mask (V, H, W), one as often as the other."""
    return int(torch.multinomial(mask.flatten(1).any(dim=1).float(), 1))


def drawn_pixels(mask: Tensor, count: int) -> Tensor:
    """(N, 3) view, row and column of `count` pixels of a mask (V, H, W), some perhaps twice; none of an empty one."""
    pixels = mask.nonzero()
    return pixels[torch.randint(len(pixels), (count,))] if len(pixels) else pixels


def box_map(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w): 1 within the box round a mask (H, W), each side moved by up to a tenth of its length, -1 outside."""
    rows, columns = mask.nonzero().T
    spans = []
    for places, length, cells in ((rows, mask.shape[0], size[0]), (columns, mask.shape[1], size[1])):
        low, high = float(places.min()), float(places.max()) + 1
        low, high = (side + (high - low) * 0.2 * (float(torch.rand(())) - 0.5) for side in (low, high))
        middles = (torch.arange(cells) + 0.5) * length / cells
        spans.append((middles > low) & (middles < high))
    return torch.where(spans[0][:, None] & spans[1], 1.0, -1.0)


def wrong_map(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w): 1 within a mask (H, W) with an edge that wavers, -1 outside."""
    small = F.adaptive_avg_pool2d(mask[None, None].float(), size)
    blurred = F.avg_pool2d(small, 5, stride=1, padding=2)
    noise = F.interpolate(torch.rand(1, 1, 8, 8), size, mode="bilinear", align_corners=False)
    return torch.where(blurred / blurred.max() > 0.1 + 0.8 * noise, 1.0, -1.0)[0, 0]
