"""Pictures of labels beside the true ones, for the training's report."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.colours import colour_table
from geoseg_core.instances.queries.decoding import FoundInstances

GAP_PX = 4


def label_rows(images: Tensor, truth: Tensor, found: Tensor) -> np.ndarray:
    """Of each scene two rows with its views side by side: the true labels, then those that were found.

    Args:
        images: (B, V, 3, H, W) in [0, 1].
        truth, found: (B, V, H, W) int64, 0 = none; their numbers, and so their colours, have nothing in common.

    Returns:
        (H', W', 3) uint8
    """
    shown = (images * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
    made = []
    for views, *both in zip(shown, truth.cpu().numpy(), found.cpu().numpy(), strict=True):
        for labels in both:
            coloured = [painted(image, each) for image, each in zip(views, labels, strict=True)]
            made.append(np.concatenate(coloured, axis=1))
        made.append(np.full((GAP_PX, made[0].shape[1], 3), 255, np.uint8))
    return np.concatenate(made[:-1])


def found_rows(batch: Sample, found: Sequence[FoundInstances]) -> np.ndarray:
    """Of each scene the views with the true things, and with those that were found."""
    assert batch.instance_ids is not None
    things = torch.where(batch.instance_ids <= batch.last_thing, batch.instance_ids, 0)
    return label_rows(batch.images, things, torch.stack([each.labels for each in found]))


def painted(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 with labels (H, W) in their colours, all else darker."""
    colours = colour_table(np.unique(labels).tolist())[labels].astype(np.uint16)
    return np.where(labels[..., None] > 0, (image + colours) // 2, image // 2).astype(np.uint8)
