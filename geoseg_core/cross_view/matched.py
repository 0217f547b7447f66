"""Masks as the encoder's own dense matching finds them: what its descriptors give without a head."""

import numpy as np
import torch

from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks, no_masks
from geoseg_core.cross_view.union_head.config import EgoExoConfig
from geoseg_core.cross_view.union_head.looks import MatchedScene, coarse_points, matched, returning
from geoseg_core.cross_view.union_head.transfer import Decoded, gathered, network_mask
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
        priors = matched(scene, scene.matching_maps(source).float(), marked, source, coarse.targets)
        if not priors:
            raise BadConfig(f"expected an encoder that matches masks, such as tiny, got {scene.encoder.name}")
        found = [
            Decoded(returning(scene.placements[target])(priors[target][row, None])[0], priors[target][row])
            for row in range(len(marked))
            for target in coarse.targets
        ]
        return gathered(scene, source, masks, coarse, found)
