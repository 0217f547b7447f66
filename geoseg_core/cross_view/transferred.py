"""What every way to carry masks between views gives, and what all of them ask of the masks."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet


@dataclass(frozen=True, eq=False)
class TransferredMasks:
    """K masks in V views.

    Attributes:
        masks: per view (K, H, W) bool; those of the source view are as given.
        visibility: (V, K) of `Visibility`.
        scores: (V, K) in [0, 1], the overlap with the truth (IoU) that is expected.
    """

    masks: tuple[np.ndarray, ...]
    visibility: np.ndarray
    scores: np.ndarray


class MaskTransfer(Protocol):
    """Carries masks of one view into all views of an encoded scene."""

    def __call__(self, scene: EncodedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source`; see `checked_masks` for what is refused."""


def checked_masks(frames: FrameSet, source: int, masks: np.ndarray) -> np.ndarray:
    """The masks as bool.

    Raises:
        BadInput: a set of one view, a source that is none of its views, masks of another size than the view, or a mask
            that is empty or covers the whole view.
    """
    views = frames.views
    if len(views) < 2:
        raise BadInput(f"expected at least two views to carry masks between, got {len(views)}; wait for other cameras")
    if not 0 <= source < len(views):
        raise BadInput(f"expected a source view from 0 to {len(views) - 1}, got {source}")
    height, width = views[source].size
    if masks.ndim != 3 or masks.shape[1:] != (height, width):
        raise BadInput(f"masks: expected (K, {height}, {width}), got {masks.shape}; mark objects in that view's image")
    masks = masks.astype(bool)
    for row, mask in enumerate(masks):
        if not mask.any() or mask.all():
            what = "covers the whole view" if mask.any() else "is empty"
            raise BadInput(f"mask {row}: expected an object in view {source}, got a mask that {what}; mark it again")
    return masks


def no_masks(frames: FrameSet) -> TransferredMasks:
    """What no mask becomes."""
    empty = tuple(np.zeros((0, *view.size), bool) for view in frames.views)
    return TransferredMasks(empty, np.zeros((len(empty), 0), int), np.zeros((len(empty), 0)))


def state_of(mask: np.ndarray, points_px: np.ndarray, size: tuple[int, int]) -> Visibility:
    """State of an object in a view (height, width) with its mask (H, W), and points (N, 2) of it that were followed
    there: without a mask it is out of view where most of them left the image."""
    if mask.any():
        return Visibility.VISIBLE
    height, width = size
    x, y = points_px.T
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    return Visibility.OUT_OF_VIEW if outside.mean() > 0.5 else Visibility.OCCLUDED
