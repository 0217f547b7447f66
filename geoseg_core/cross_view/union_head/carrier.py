"""The union head as what a follower carries masks with, alone or with a memory."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from geoseg_core.cross_view.carrier import Asked, Forgetful, Found, Sighting, matched_anchors, sighted
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.looks import MatchedScene, Pair, returning
from geoseg_core.cross_view.union_head.reminder import Reminder, Seen
from geoseg_core.cross_view.union_head.transfer import Decoded, UnionHeadTransfer


class UnionHeadCarrier(Forgetful):
    """Keeps the contract of `MaskCarrier`."""

    method = "union_head"

    def __init__(self, transfer: UnionHeadTransfer) -> None:
        self.transfer = transfer

    def between_views(
        self, scene: MatchedScene, source: int, masks: np.ndarray, object_ids: Sequence[int] = (), frame: int = 0
    ) -> TransferredMasks:
        """Masks (K, H, W) of a view in all views of its set."""
        return self.transfer(scene, source, masks)

    @torch.inference_mode()
    def over_time(self, scene: MatchedScene, asked: Sequence[Asked], frame: int = 0) -> list[Found]:
        """Objects as their cameras saw them before; all of them are decoded together."""
        return self._found(self._pairs(scene, asked))

    def _found(self, pairs: Sequence[Pair]) -> list[Found]:
        return [found_of(decoded, self.transfer.score(decoded)) for decoded in self.transfer.decode(pairs)]

    def _pairs(self, scene: MatchedScene, asked: Sequence[Asked]) -> list[Pair]:
        """The pairs of all that is asked; what a camera saw at one moment is compared with its view now once."""
        found: dict[int, Pair] = {}
        for rows in seen_together(asked):
            sighting, view = asked[rows[0]].sighting, asked[rows[0]].view
            masks = np.stack([asked[row].sighting.mask for row in rows])
            both, back = sighted(scene, sighting, view), returning(scene.placements[view])
            priors = scene.encoder.matched_masks(both, masks)
            anchors = matched_anchors(scene, both, list(masks), view, self.transfer.config.views.points)
            for place, (row, (points, matched, _)) in enumerate(zip(rows, anchors, strict=True)):
                prior = None if priors is None else priors[place]
                found[row] = Pair(both, masks[place], points, matched, back, prior)
        return [found[row] for row in range(len(asked))]


class RemindedCarrier(UnionHeadCarrier):
    """The same with a memory: features look at what is remembered of an object before the head finds it.

    Between views they do so where the views are shown whole; else a cell would not keep its place.
    """

    def __init__(self, transfer: UnionHeadTransfer, reminder: Reminder) -> None:
        super().__init__(transfer)
        self.reminder = reminder

    @property
    def held_bytes(self) -> int:  # type: ignore[override]
        """Memory of what is remembered."""
        return self.reminder.bank.held_bytes

    def between_views(
        self, scene: MatchedScene, source: int, masks: np.ndarray, object_ids: Sequence[int] = (), frame: int = 0
    ) -> TransferredMasks:
        """Masks (K, H, W) of a view in all views of its set."""
        if len(object_ids) != len(masks) or self.transfer.config.look != "whole":
            return self.transfer(scene, source, masks)
        remind = partial(self.reminder.of_objects, object_ids=object_ids, frame=frame)
        return self.transfer(scene, source, masks, remind)

    @torch.inference_mode()
    def over_time(self, scene: MatchedScene, asked: Sequence[Asked], frame: int = 0) -> list[Found]:
        """Objects as their cameras saw them before; all of them are decoded together."""
        pairs = self._pairs(scene, asked)
        cameras = [scene.frames.views[each.view].camera for each in asked]
        return self._found(self.reminder.reminded(pairs, [each.object_id for each in asked], cameras, frame))

    def remember(self, object_id: int, sightings: Mapping[str, Sighting], frame: int, prompted: str = "") -> None:
        """What cameras saw of an object becomes its memories."""
        seen = [Seen(object_id, camera, each, camera == prompted) for camera, each in sightings.items()]
        self.reminder.remember(seen, frame)

    def forget(self, object_id: int) -> None:
        """Remember nothing of an object."""
        if object_id in self.reminder.bank.objects:
            self.reminder.bank.forget(object_id)

    def forget_camera(self, camera: str) -> None:
        """Remember nothing that a camera saw."""
        self.reminder.bank.forget_view(camera)

    def reset(self) -> None:
        """Remember nothing."""
        self.reminder.bank.clear()

    def shrink(self) -> None:
        """Remember half as much, from now on too."""
        self.reminder.bank.shrink()


def seen_together(asked: Sequence[Asked]) -> list[list[int]]:
    """Rows of what is asked in the same view with the same features of its camera."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, each in enumerate(asked):
        rows.setdefault((id(each.sighting.maps), each.view), []).append(row)
    return list(rows.values())


def found_of(decoded: Decoded, score: float) -> Found:
    """What the head found in a view."""
    mask, seen = ((each > 0).cpu().numpy() for each in (decoded.logits, decoded.seen))
    return Found(mask, seen, score)
