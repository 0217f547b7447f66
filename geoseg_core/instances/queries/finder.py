"""Things by the object queries of SegVGGT, in scenes of VGGT with SegVGGT's weights."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.instances.finder import FoundThings, ranked_things
from geoseg_core.instances.queries.config import FIRST_CLASS, QueryDecodingConfig
from geoseg_core.instances.queries.decoding import found_instances
from geoseg_core.instances.queries.segvggt import SegVggt
from geoseg_core.instances.vggt_scene import vggt_scene


class SegVggtQueries:
    """Finds things in scenes of VGGT with SegVGGT's weights."""

    method = "queries"

    def __init__(self, config: QueryDecodingConfig) -> None:
        self.config = config

    @torch.inference_mode()
    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together, with classes where the network learned more than one.

        Raises:
            BadInput: a scene of another encoder, or of VGGT with other weights.
        """
        inner, model = vggt_scene(scene, SegVggt, "SegVGGT")
        output = model.instances(inner.tokens, inner.encoder.config.frame_chunk)
        found = found_instances(output, inner.placements[0].canvas, self.config)[0]
        scores = found.scores.float().cpu().numpy()
        looks = looks_of(inner.tokens, found.labels, len(scores), model.config.patch)
        named = (found.classes + FIRST_CLASS).cpu().numpy() if model.config.queries.classes > 1 else None
        return ranked_things(found.labels.cpu().numpy(), scores, looks, inner.placements, named)


def looks_of(tokens: TokenLayers, labels: Tensor, count: int, patch: int) -> np.ndarray:
    """Means (K, 2C), of length one, of the last layer's tokens over the patches in whose middle labels (V, h, w) name
    each thing."""
    (last,) = tokens.patches([max(tokens.layers)])  # (V, P, 2C)
    middle = patch // 2
    whose = labels[:, middle::patch, middle::patch].flatten()
    flat = last.float().flatten(0, 1)
    sums = flat.new_zeros(count + 1, flat.shape[1]).index_add_(0, whose, flat)
    return F.normalize(sums[1:], dim=1).cpu().numpy()
