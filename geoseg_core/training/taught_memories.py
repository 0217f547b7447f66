"""What a memory is taught: objects by their true masks in the moments of a clip, some of them lost or wrong."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.remembering import encoded_masks
from geoseg_core.memory.attention import Recalled
from geoseg_core.memory.bank import Memory, MemoryBank, padded
from geoseg_core.memory.config import BankConfig
from geoseg_core.memory.networks import TemporalMemory

# Each object has a bank of its own.
OWN = 0


@dataclass(frozen=True)
class TaughtConfig:
    """What goes wrong with memories while training."""

    dropped: float = setting(0.2, "chance that a memory is lost", "", 0.0, 1.0)
    degraded: float = setting(0.3, "chance that the mask of a memory is grown, shrunk or moved; a prompted one is not",
                              "", 0.0, 1.0)  # fmt: skip
    degraded_px: int = setting(6, "by so much, at most", "px", 1)
    long_ago: int = setting(100, "frames between the first moment and the second, at most; by chance", "", 1)


# Nothing goes wrong.
TRUE = TaughtConfig(dropped=0.0, degraded=0.0, long_ago=1)


@dataclass(frozen=True, eq=False)
class Past:
    """R objects in the moments before they are looked for.

    Attributes:
        maps: (B, V, D, h, w) features of all views of the B clips.
        scenes: (R,) the clip of each object.
        masks: (R, V, H, W) bool.
        cameras: names of the V views.
        moments: the views of each moment that is over, the earliest first.
    """

    maps: Tensor
    scenes: Tensor
    masks: Tensor
    cameras: tuple[str, ...]
    moments: list[list[int]]


@dataclass(frozen=True)
class Place:
    """An object, a row of the past, in a view of a moment."""

    row: int
    view: int
    moment: int
    prompted: bool


def places(past: Past) -> Iterator[Place]:
    """Every object in every view; prompted in the first view that shows it in the first moment."""
    shown = past.masks.flatten(2).any(dim=2).tolist()
    for row, seen in enumerate(shown):
        asked = next((view for view in past.moments[0] if seen[view]), None)
        for moment, views in enumerate(past.moments):
            for view in views:
                yield Place(row, view, moment, view == asked)


def recalled(
    memory: TemporalMemory,
    head: UnionHead,
    past: Past,
    camera: str,
    anchors: int,
    taught: TaughtConfig = TRUE,
    bank: BankConfig = BankConfig(),  # noqa: B008 (frozen)
) -> Recalled | None:
    """What a camera's view of the moment after the past is given of every object; None if all memories are lost."""
    kept = [place for place in places(past) if torch.rand(()) >= taught.dropped]
    if not kept:
        return None
    rows, views = (torch.tensor([getattr(place, name) for place in kept]) for name in ("row", "view"))
    masks = past.masks[rows, views]
    wrong = (torch.rand(len(kept)) < taught.degraded) & ~torch.tensor([place.prompted for place in kept])
    masks = torch.where(wrong.to(masks.device)[:, None, None], degraded(masks, taught.degraded_px), masks)
    encoded = encoded_masks(head, memory.encoder, past.maps[past.scenes[rows], views], masks, anchors)
    banks = [MemoryBank(bank) for _ in past.masks]
    since = int(torch.randint(taught.long_ago, ()))
    frames = [0, *(since + moment for moment in range(1, len(past.moments) + 1))]
    for place, spatial, pointer in zip(kept, encoded.spatial, encoded.pointer, strict=True):
        view, frame = past.cameras[place.view], frames[place.moment]
        banks[place.row].add(OWN, Memory(view, frame, place.prompted, spatial, pointer, encoded.grid))
    chosen = [each.chosen(OWN, camera, encoded.grid) for each in banks]
    return padded(chosen, camera, frames[-1], bank.pointers)


def degraded(masks: Tensor, most_px: int) -> Tensor:
    """Masks (N, H, W) bool, each grown, shrunk or moved by up to so many pixels; one of which nothing would be left
    stays as it is."""
    height, width = masks.shape[1:]
    there = masks[:, None].float()
    by = int(torch.randint(1, most_px + 1, ()))
    down, right = torch.randint(2 * most_px + 1, (2,)).tolist()
    made = torch.stack((
        F.max_pool2d(there, 2 * by + 1, 1, by),
        1 - F.max_pool2d(1 - there, 2 * by + 1, 1, by),
        F.pad(there, (most_px,) * 4)[..., down : down + height, right : right + width],
    ))[torch.randint(3, (len(masks),)), torch.arange(len(masks)), 0] > 0  # fmt: skip
    return torch.where(made.flatten(1).any(dim=1)[:, None, None], made, masks)
