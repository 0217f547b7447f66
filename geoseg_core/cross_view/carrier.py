"""What `MaskFollower` needs to carry masks: between the views of a set, and from a camera's last set to its next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.looks import MatchedScene


@dataclass(frozen=True, eq=False)
class Sighting:
    """How a camera saw an object: features (C, h, w) of the view and mask (H, W) bool, both as the network saw it."""

    maps: Tensor
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """An object in one view: mask (H, W) bool in the image and `seen` in the network's input, and how far it is
    trusted, in [0, 1]."""

    mask: np.ndarray
    seen: np.ndarray
    score: float


class MaskCarrier(Protocol):
    """Carries masks. Both ways refuse nothing that the follower gives them."""

    method: str

    def between_views(self, scene: MatchedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Masks (K, H, W) of a view in all views of its set; see `checked_masks` for what is refused."""

    def over_time(self, scene: MatchedScene, asked: Sequence[tuple[Sighting, int]]) -> list[Found]:
        """Objects as their cameras saw them before, each in that camera's view of this set."""


def in_network(mask: np.ndarray, scene: MatchedScene, view: int) -> np.ndarray:
    """A mask (H, W) bool of a view's image in the network's input."""
    return scene.placements[view].map_to_network(mask.astype(np.uint8)) > 0


def nothing(scene: MatchedScene, view: int) -> Found:
    """No mask in a view."""
    return Found(np.zeros(scene.frames.views[view].size, bool), np.zeros(scene.placements[view].canvas, bool), 0.0)


def sighted(scene: MatchedScene, sighting: Sighting, view: int) -> Tensor:
    """Features (2, C, h, w) of a sighting and of a view of this set."""
    maps = scene.matching_maps(0)[view].float()
    return torch.stack((sighting.maps.to(maps), maps))


def matched_anchors(
    scene: MatchedScene, both: Tensor, mask: np.ndarray, view: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points that stand for a mask, those that match them in a view of this set, both (N, 2) in the network's input,
    and how far (N,) they are in sight there."""
    points = mask_anchors(mask, count).points_px
    matched, seen = scene.encoder.matched_points(both, points)
    return points, matched.clip(0, np.array(scene.placements[view].canvas[::-1]) - 1), seen
