"""The union head as what a follower carries masks with."""

from collections.abc import Sequence

import numpy as np

from geoseg_core.cross_view.carrier import Found, Sighting, matched_anchors, sighted
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.looks import MatchedScene, Pair, returning
from geoseg_core.cross_view.union_head.transfer import Decoded, UnionHeadTransfer


class UnionHeadCarrier:
    """Keeps the contract of `MaskCarrier`."""

    method = "union_head"

    def __init__(self, transfer: UnionHeadTransfer) -> None:
        self.transfer = transfer

    def between_views(self, scene: MatchedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Masks (K, H, W) of a view in all views of its set."""
        return self.transfer(scene, source, masks)

    def over_time(self, scene: MatchedScene, asked: Sequence[tuple[Sighting, int]]) -> list[Found]:
        """Objects as their cameras saw them before; all of them are decoded together."""
        pairs = [self._pair(scene, sighting, view) for sighting, view in asked]
        return [found_of(decoded, self.transfer.score(decoded)) for decoded in self.transfer.decode(pairs)]

    def _pair(self, scene: MatchedScene, sighting: Sighting, view: int) -> Pair:
        both = sighted(scene, sighting, view)
        points, matched, _ = matched_anchors(scene, both, sighting.mask, view, self.transfer.config.views.points)
        priors = scene.encoder.matched_masks(both, sighting.mask[None])
        prior = None if priors is None else priors[0]
        return Pair(both, sighting.mask, points, matched, returning(scene.placements[view]), prior)


def found_of(decoded: Decoded, score: float) -> Found:
    """What the head found in a view."""
    mask, seen = ((each > 0).cpu().numpy() for each in (decoded.logits, decoded.seen))
    return Found(mask, seen, score)
