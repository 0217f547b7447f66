"""What `MaskFollower` needs to carry masks: between the views of a set, and from a camera's last set to its next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.looks import MatchedScene, of_each


@dataclass(frozen=True, eq=False)
class Sighting:
    """How a camera saw an object: features (C, h, w) of the view and mask (H, W) bool, both as the network saw it, how
    far the mask is trusted, in [0, 1], and whether the view was the first of its set, whose features differ."""

    maps: Tensor
    mask: np.ndarray
    score: float = 1.0
    first: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """An object that is looked for in the view of a set whose camera saw it before."""

    object_id: int
    sighting: Sighting
    view: int


@dataclass(frozen=True, eq=False)
class Found:
    """An object in one view: mask (H, W) bool in the image and `seen` in the network's input, and how far it is
    trusted, in [0, 1]."""

    mask: np.ndarray
    seen: np.ndarray
    score: float


class MaskCarrier(Protocol):
    """Carries masks. Both ways refuse nothing that the follower gives them.

    A carrier may remember how objects looked, and find them the better for it. One that does not is a `Forgetful`.
    `frame` counts the sets; it never goes back.
    """

    method: str

    @property
    def held_bytes(self) -> int:
        """Memory of what is remembered."""

    def between_views(
        self, scene: MatchedScene, source: int, masks: np.ndarray, object_ids: Sequence[int] = (), frame: int = 0
    ) -> TransferredMasks:
        """Masks (K, H, W) of a view in all views of its set; see `checked_masks` for what is refused. They are of these
        objects, if any are named."""

    def over_time(self, scene: MatchedScene, asked: Sequence[Asked], frame: int = 0) -> list[Found]:
        """Objects as their cameras saw them before, each in that camera's view of this set."""

    def remember(self, object_id: int, sightings: Mapping[str, Sighting], frame: int, prompted: str = "") -> None:
        """What cameras saw of an object, by masks that are trusted; `prompted`: the camera in whose view a user marked
        it."""

    def forget(self, object_id: int) -> None:
        """Remember nothing of an object, which need not be known."""

    def forget_camera(self, camera: str) -> None:
        """Remember nothing that a camera saw."""

    def reset(self) -> None:
        """Remember nothing."""

    def shrink(self) -> None:
        """Memory is short: remember half as much, from now on too."""


class Forgetful:
    """What a carrier without a memory has to do for it: nothing."""

    held_bytes = 0

    def remember(self, object_id: int, sightings: Mapping[str, Sighting], frame: int, prompted: str = "") -> None:
        """Nothing is remembered."""

    def forget(self, object_id: int) -> None:
        """Nothing is remembered."""

    def forget_camera(self, camera: str) -> None:
        """Nothing is remembered."""

    def reset(self) -> None:
        """Nothing is remembered."""

    def shrink(self) -> None:
        """Nothing is remembered."""


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
    scene: MatchedScene, both: Tensor, masks: Sequence[np.ndarray], view: int, count: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each mask the points that stand for it, those that match them in a view of this set, both (N, 2) in the
    network's input, and how far (N,) they are in sight there."""
    corner = np.array(scene.placements[view].canvas[::-1]) - 1

    def follow(points_px: np.ndarray) -> np.ndarray:
        matched, seen = scene.encoder.matched_points(both, points_px)
        return np.column_stack((matched.clip(0, corner), seen))

    points = [mask_anchors(mask, count).points_px for mask in masks]
    found = of_each(follow, points, scene.encoder.points_apart)
    return [(given, there[:, :2], there[:, 2]) for given, there in zip(points, found, strict=True)]
