"""What object queries are compared with: masks, classes and the spread over the views of all things of a scene."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.instances.queries.config import FIRST_CLASS


@dataclass(frozen=True, eq=False)
class InstanceTruth:
    """B scenes with K things at most; the rows of fewer things are filled up with empty ones.

    Attributes:
        known: (B, K) bool, which rows are things.
        ids: (B, K) int64 of the things, 0 where there is none.
        classes: (B, K) int64, from 0.
        masks: (B, K, V, h, w) float, 1 where the thing is.
        view_shares: (B, K, V) how the visible pixels of each thing are spread over the views.
    """

    known: Tensor
    ids: Tensor
    classes: Tensor
    masks: Tensor
    view_shares: Tensor


def instance_truth(batch: Sample, size: tuple[int, int], least_px: int = 1, classes: int = 1) -> InstanceTruth:
    """The things of each sample, with masks of a size (h, w) that divides that of the images.

    A cell belongs to a thing that covers at least half of it. Spread and `least_px` are of the pixels of all views; a
    thing that covers no cell is none. With one class all things are of it; with more a thing is of the class that most
    of its pixels have, class id 1 being class 0, and a thing of no class among these is none.

    Raises:
        BadInput: samples without instance ids or, with more than one class, class ids; a size that does not divide
            theirs.
    """
    ids = batch.instance_ids
    if ids is None:
        raise BadInput(
            f"{batch.source}: expected samples with instance ids to learn instances, got none; take labelled data"
        )
    if classes > 1 and batch.class_ids is None:
        raise BadInput(
            f"{batch.source}: expected samples with class ids to learn {classes} classes, got none; take labelled "
            "data, or one class"
        )
    kinds = batch.class_ids if classes > 1 and batch.class_ids is not None else [None] * len(ids)
    stride = (ids.shape[-2] // size[0], ids.shape[-1] // size[1])
    if (stride[0] * size[0], stride[1] * size[1]) != tuple(ids.shape[-2:]):
        raise BadInput(f"expected masks of a size that divides {tuple(ids.shape[-2:])}, got {size}; change their size")
    scenes = [_of_scene(*each, stride, batch.last_thing, least_px, classes) for each in zip(ids, kinds, strict=True)]
    most = max(len(parts[0]) for parts in scenes)
    found, named, masks, shares = (
        torch.stack([F.pad(each, (0, 0) * (each.ndim - 1) + (0, most - len(each))) for each in parts])
        for parts in zip(*scenes, strict=True)
    )
    return InstanceTruth(found > 0, found, named, masks, shares)


def _of_scene(
    ids: Tensor, kinds: Tensor | None, stride: tuple[int, int], last: int, least_px: int, classes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids (K,), classes (K,), masks (K, V, h, w) and spread (K, V) of the things in ids and class ids (V, H, W)."""
    found = ids.unique()
    found = found[(found > 0) & (found <= last)]
    exact = (ids == found[:, None, None, None]).float()  # (K, V, H, W)
    pixels = exact.sum(dim=(2, 3))
    height, width = ids.shape[-2] // stride[0], ids.shape[-1] // stride[1]
    covered = exact.unflatten(3, (width, stride[1])).unflatten(2, (height, stride[0])).mean(dim=(3, 5))
    masks = (covered >= 0.5).float()
    named = torch.zeros_like(found)
    if kinds is not None:
        named = found.new_tensor([int(kinds[ids == each].mode().values) - FIRST_CLASS for each in found])
    kept = (pixels.sum(dim=1) >= least_px) & masks.flatten(1).any(dim=1) & (named >= 0) & (named < classes)
    return found[kept], named[kept], masks[kept], (pixels / pixels.sum(dim=1, keepdim=True))[kept]
