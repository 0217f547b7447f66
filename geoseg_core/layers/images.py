"""Checks at the door of every image model."""

from functools import lru_cache

import torch
from torch import Tensor

from geoseg_core.errors import BadInput

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def check_images(images: Tensor, patch: int) -> None:
    """Refuse what is no batch of image sequences.

    Raises:
        BadInput: another shape, no image, sides that are no multiples of the patch, or pixels that are no numbers.
    """
    shape = tuple(images.shape)
    if images.ndim != 5 or shape[2] != 3 or min(shape) == 0:
        raise BadInput(f"expected images (B, S, 3, H, W), at least one, got {shape}")
    if shape[3] % patch or shape[4] % patch:
        raise BadInput(f"expected image sides that are multiples of {patch}, got {shape[3:]}; resize or pad them")
    if not bool(torch.isfinite(images).all()):
        raise BadInput("expected images of finite numbers in [0, 1], got NaN or infinite pixels; check their source")


def normalised(images: Tensor) -> Tensor:
    """Images (..., 3, H, W) in [0, 1] with the mean and deviation of ImageNet taken out."""
    mean, std = _imagenet(images.dtype, images.device)
    return (images - mean) / std


@lru_cache
def _imagenet(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation (3, 1, 1), made once: a CUDA graph cannot hold a copy from the host."""
    with torch.inference_mode(False):
        mean, std = (
            torch.tensor(each, dtype=dtype, device=device)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD)
        )
    return mean, std
