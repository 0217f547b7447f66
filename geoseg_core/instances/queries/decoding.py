"""What the queries found: scores, masks without duplicates, and one label map for each view.

A query's score is the confidence of its class times the mean chance of its mask's pixels. Of masks that overlap much
the one with the highest score stays; a pixel in several masks that stay belongs to where score times chance is highest.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.model import QueryOutput


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
        for classes, masks in zip(output.class_logits.float(), output.mask_logits.float(), strict=True)
    ]


def _of_scene(
    class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int], config: QueryDecodingConfig
) -> FoundInstances:
    """class_logits (Q, K + 1), mask_logits (Q, V, h, w)."""
    confidence, classes = class_logits.softmax(dim=-1)[:, :-1].max(dim=-1)
    # A mean chance is 1 at most: what is not confident enough need not be enlarged.
    queries = (confidence >= config.least_score).nonzero()[:, 0]
    logits = F.interpolate(mask_logits[queries], size, mode="bilinear", align_corners=False)
    chance = logits.sigmoid()
    masks = chance >= config.mask_chance
    pixels = masks.flatten(1).sum(dim=1)
    scores = confidence[queries] * (chance * masks).flatten(1).sum(dim=1) / pixels.clamp(min=1)
    order = scores.argsort(descending=True, stable=True)
    order = order[((scores >= config.least_score) & (pixels > 0))[order]]
    order = order[_distinct(masks[order], config.most_overlap)]
    scores, masks, chance = scores[order], masks[order], chance[order]
    labels = _labels(scores[:, None, None, None] * chance * masks)
    shown = labels.flatten().bincount(minlength=len(order) + 1)[1:] > 0
    numbers = F.pad(torch.where(shown, shown.cumsum(0), 0), (1, 0))
    kept = order[shown]
    return FoundInstances(scores[shown], classes[queries[kept]], queries[kept], masks[shown], numbers[labels])


def _distinct(masks: Tensor, most: float) -> Tensor:
    """(K,) bool, which of masks (K, V, H, W) stay: those that overlap no better one that stays by more than `most`."""
    flat = masks.flatten(1).float()
    both, areas = flat @ flat.T, flat.sum(dim=1)
    worse = (both > most * (areas[:, None] + areas - both)).triu(1).cpu()
    stays = torch.ones(len(masks), dtype=torch.bool)
    for number, covered in enumerate(worse):
        if stays[number]:
            stays &= ~covered
    return stays.to(masks.device)


def _labels(weights: Tensor) -> Tensor:
    """(V, H, W): 1 + the instance of the highest weight (K, V, H, W), 0 where all are 0."""
    return F.pad(weights, (0, 0, 0, 0, 0, 0, 1, 0)).argmax(dim=0)
