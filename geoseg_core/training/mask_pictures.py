"""Pictures of masks that were carried between views, for the training's report."""

import numpy as np
import torch
from torch import Tensor

# Red where a mask is, over the darkened image.
MASK = (230, 60, 40)
GAP_PX = 4


def mask_rows(images: Tensor, masks: tuple[Tensor, Tensor, Tensor], rows: int = 8) -> np.ndarray:
    """Of each of the first objects a row: the source with its mask, the target with the true one, then with that found.

    Args:
        images: (R, 2, 3, H, W) source and target of each object, in [0, 1].
        masks: (R, H, W) bool in the source, truly in the target, found in the target.

    Returns:
        (H', W', 3) uint8; one white pixel where there is no object.
    """
    if not len(images):
        return np.full((1, 1, 3), 255, np.uint8)
    shown = (images[:rows] * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
    marked = [each[:rows].cpu().numpy() for each in masks]
    made = []
    for row, (source, target) in enumerate(shown):
        cells = [painted(image, mask[row]) for image, mask in zip((source, target, target), marked, strict=True)]
        made.append(np.concatenate(cells, axis=1))
        made.append(np.full((GAP_PX, made[0].shape[1], 3), 255, np.uint8))
    return np.concatenate(made[:-1])


def painted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 with a mask (H, W) bool in red, all else darker."""
    return np.where(mask[..., None], (image.astype(np.uint16) + MASK) // 2, image // 2).astype(np.uint8)
