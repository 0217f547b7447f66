"""Masks as the encoder's own dense matching finds them: what its descriptors give without a head."""

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks, no_masks
from geoseg_core.cross_view.union_head.ego_exo import EgoExoConfig
from geoseg_core.cross_view.union_head.looks import MatchedScene, coarse_points, returning
from geoseg_core.cross_view.union_head.transfer import gathered, network_mask
from geoseg_core.errors import BadConfig

# Points that tell where an object without a mask went.
POINTS = EgoExoConfig(coarse_points=5, dropped=0)


class MatchedTransfer:
    """Masks of a source view to masks in all views of an encoded scene."""

    @torch.inference_mode()
    def __call__(self, scene: MatchedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source` into all views.

        Raises:
            BadInput: as for `UnionHeadTransfer`; BadConfig: an encoder that matches points alone.
        """
        masks = checked_masks(scene.frames, source, masks)
        marked = [network_mask(mask, scene.placements[source], row) for row, mask in enumerate(masks)]
        if not marked:
            return no_masks(scene.frames)
        coarse = coarse_points(scene, source, marked, POINTS)
        logits = [matched_logits(scene, mask, source, target) for mask in marked for target in coarse.targets]
        return gathered(scene, source, masks, coarse, logits)


def matched_logits(scene: MatchedScene, mask: np.ndarray, source: int, target: int) -> Tensor:
    """Logits (H, W) at the pixels of the target's image of a mask (h, w) in the source's network input.

    Raises:
        BadConfig: an encoder that matches points alone.
    """
    found = scene.matched_mask(mask, source, target)
    if found is None:
        raise BadConfig(f"expected an encoder that matches masks, such as tiny, got {scene.encoder.name}")
    return returning(scene.placements[target])(found[None])[0]
