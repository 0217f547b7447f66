"""What the queries found: scores, masks without duplicates, and one label map for each view.

A query's score is the confidence of its class times the overlap (intersection over union) with the truth that the
chances of its pixels, inside and outside of its mask, let expect. Of masks that overlap much
the one with the highest score stays; a pixel in several masks that stay belongs to where score times chance is highest.
Masks are enlarged one view at a time: beside the result, the memory does not grow with the views.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.model import QueryOutput

# By so much may rounding raise a chance.
ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class FoundInstances:
    """K instances of one scene, the best score first.

    Attributes:
        scores: (K,) from 0 to 1.
        classes: (K,) int64, from 0.
        queries: (K,) int64, which query each is.
        masks: (K, V, H, W) bool; they may overlap.
        labels: (V, H, W) int64, k + 1 where instance k is, 0 where none is; each has a pixel at least.
    """

    scores: Tensor
    classes: Tensor
    queries: Tensor
    masks: Tensor
    labels: Tensor


def found_instances(
    output: QueryOutput, size: tuple[int, int], config: QueryDecodingConfig | None = None
) -> list[FoundInstances]:
    """The instances of each scene, with masks of a size (H, W), on the device of the output."""
    config = config or QueryDecodingConfig()
    return [
        _of_scene(classes, masks, size, config)
        for classes, masks in zip(output.class_logits.float(), output.mask_logits, strict=True)
    ]


def _of_scene(
    class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int], config: QueryDecodingConfig
) -> FoundInstances:
    """class_logits (Q, K + 1), mask_logits (Q, V, h, w)."""
    confidence, classes = class_logits.softmax(dim=-1)[:, :-1].max(dim=-1)
    # An overlap is 1 at most: what is not confident enough need not be enlarged.
    queries = (confidence >= config.least_score).nonzero()[:, 0]
    chances, both = _areas(mask_logits, queries, size, config.mask_chance)
    pixels = both.diagonal()
    beside = _outside(mask_logits, queries, size, config.mask_chance)
    scores = confidence[queries] * (chances / (pixels + beside).clamp(min=1)).float()
    order = scores.argsort(descending=True, stable=True)
    order = order[((scores >= config.least_score) & (pixels > 0))[order]]
    order = order[_distinct(both[order[:, None], order], config.most_overlap)]
    scores, kept = scores[order], queries[order]
    masks, labels = _shown(mask_logits, kept, scores, size, config.mask_chance)
    shown = labels.flatten().bincount(minlength=len(kept) + 1)[1:] > 0
    numbers = F.pad(torch.where(shown, shown.cumsum(0), 0), (1, 0))
    if not shown.all():
        kept, scores, masks, labels = kept[shown], scores[shown], masks[shown], numbers[labels]
    return FoundInstances(scores, classes[kept], kept, masks, labels)


def _views(
    mask_logits: Tensor, queries: Tensor, size: tuple[int, int], least: float
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """One view after the other, so that not all of them are enlarged at once: its number, which of the queries may have
    pixels there (n,), their chance at each pixel, 0 outside of their masks, and the masks (n, H, W)."""
    # Enlarging gives no value beyond those that it lies between.
    peaks = mask_logits.amax(dim=(2, 3))[queries].float().sigmoid()
    for view, there in enumerate((~(peaks < least - ROUNDING)).T.cpu()):
        rows = there.nonzero()[:, 0].to(queries.device)
        if len(rows):
            coarse = mask_logits[queries[rows], view].float()
            chance = F.interpolate(coarse[None], size, mode="bilinear", align_corners=False)[0].sigmoid_()
            masks = chance >= least
            yield view, rows, chance.masked_fill_(~masks, 0.0), masks


def _areas(mask_logits: Tensor, queries: Tensor, size: tuple[int, int], least: float) -> tuple[Tensor, Tensor]:
    """Of all views together: the sum of the chances of each query's pixels (K,), and the pixels that each two masks
    share (K, K), exact in whatever order they are added."""
    chances = torch.zeros(len(queries), dtype=torch.float64, device=queries.device)
    both = torch.zeros(len(queries), len(queries), dtype=torch.float64, device=queries.device)
    for _, rows, chance, masks in _views(mask_logits, queries, size, least):
        chances[rows] += chance.flatten(1).sum(dim=1, dtype=torch.float64)
        flat = masks.flatten(1).float()
        both[rows[:, None], rows] += (flat @ flat.T).double()
    return chances, both


def _outside(mask_logits: Tensor, queries: Tensor, size: tuple[int, int], least: float) -> Tensor:
    """The sum of the chances outside of each query's mask (K,), in pixels; counted before masks are enlarged."""
    beside = torch.zeros(len(queries), dtype=torch.float64, device=queries.device)
    for view in range(mask_logits.shape[1]):
        chance = mask_logits[queries, view].float().sigmoid()
        beside += torch.where(chance < least, chance, 0.0).flatten(1).sum(dim=1, dtype=torch.float64)
    return beside * (size[0] * size[1] / mask_logits[0, 0].numel())


def _distinct(both: Tensor, most: float) -> Tensor:
    """(K,) bool, which of K masks that share pixels (K, K) stay: those that overlap no better one that stays by more
    than `most`."""
    areas = both.diagonal()
    worse = (both > most * (areas[:, None] + areas - both)).triu(1).cpu()
    stays = torch.ones(len(both), dtype=torch.bool)
    for number, covered in enumerate(worse):
        if stays[number]:
            stays &= ~covered
    return stays.to(both.device)


def _shown(
    mask_logits: Tensor, queries: Tensor, scores: Tensor, size: tuple[int, int], least: float
) -> tuple[Tensor, Tensor]:
    """Masks (K, V, H, W), and labels (V, H, W): 1 + the query where score times chance is highest, 0 outside of all."""
    views, device = mask_logits.shape[1], queries.device
    found = torch.zeros(len(queries), views, *size, dtype=torch.bool, device=device)
    labels = torch.zeros(views, *size, dtype=torch.int64, device=device)
    for view, rows, chance, masks in _views(mask_logits, queries, size, least):
        found[rows, view] = masks
        weights = chance.mul_(scores[rows, None, None])
        best = weights.amax(dim=0)
        # The first of those that have it; several times as fast on a CPU as argmax along this axis.
        numbers = (rows + 1).int()[:, None, None]
        first = torch.where(weights == best, numbers, numbers.new_tensor(len(queries) + 1)).amin(dim=0)
        labels[view] = torch.where(best > 0, first, 0)
    return found, labels
