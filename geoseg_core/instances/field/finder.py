"""Things by clusters of IGGT's instance field, in scenes of VGGT with IGGT's weights.

IGGT has a feature for every pixel, those of walls and tables too. What lies on a support plane for the most part, or
fills a large part of all images, is no thing.
"""

import numpy as np
import torch
from torch import Tensor

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.field.clustering import FieldClusterConfig, normalised
from geoseg_core.instances.field.model import Iggt
from geoseg_core.instances.field.quick import instance_labels
from geoseg_core.instances.finder import FoundThings, ranked_things
from geoseg_core.instances.support import SupportConfig, SupportFinder
from geoseg_core.instances.vggt_scene import vggt_scene

# Parts of a cluster's pixels on a support, and of all pixels in a cluster, from which on it is no thing.
ON_SUPPORT, OF_ALL = 0.5, 0.3


class IggtField:
    """Finds things in scenes of VGGT with IGGT's weights."""

    method = "field"

    def __init__(self, config: FieldClusterConfig, support: SupportConfig) -> None:
        self.config, self._supports = config, SupportFinder(support)

    @torch.inference_mode()
    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together.

        Raises:
            BadInput: a scene of another encoder, or of VGGT with other weights.
        """
        inner, model = vggt_scene(scene, Iggt, "IGGT")
        features = normalised(model.field(inner.tokens, inner.encoder.config.frame_chunk)[0])  # (V, C, h, w)
        places = inner.placements
        points = np.stack(
            [
                np.stack([place.map_to_network(view.points[..., axis]) for axis in range(3)], axis=-1)
                for place, view in zip(places, scene.views, strict=True)
            ]
        )
        labels = instance_labels(features, torch.from_numpy(points).to(features.device), self.config)
        supports = np.stack(
            [
                place.map_to_network(mask)
                for place, mask in zip(places, self._supports.update(scene.views), strict=True)
            ]
        )
        looks, scores = means_of(features, labels)
        scores[~are_things(labels.cpu().numpy(), supports, len(scores))] = -1
        kept = np.flatnonzero(scores >= 0)
        numbers = np.zeros(len(scores), np.int64)
        numbers[kept] = np.arange(1, len(kept) + 1)
        return ranked_things(numbers[labels.cpu().numpy()], scores[kept], looks[kept], places)


def means_of(features: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of labels (V, h, w) from 0 the mean features (K, C), of length one, and how much alike (K,) the features
    (V, C, h, w) of each are: the length of their mean, 1 where all are the same."""
    flat, whose = features.float().movedim(1, -1).flatten(0, 2), labels.flatten()
    count = int(whose.max()) + 1
    sums = flat.new_zeros(count, flat.shape[1]).index_add_(0, whose, flat)
    means = sums / whose.bincount(minlength=count).clamp(min=1)[:, None]
    lengths = means.norm(dim=1)
    return (means / lengths.clamp(min=1e-6)[:, None]).cpu().numpy(), lengths.clamp(max=1).cpu().numpy()


def are_things(labels: np.ndarray, supports: np.ndarray, count: int) -> np.ndarray:
    """(K,) whether what has a label (V, h, w) is a thing, given where supports are (V, h, w)."""
    pixels = np.bincount(labels.reshape(-1), minlength=count)
    on_support = np.bincount(labels[supports > 0], minlength=count)
    return np.asarray((on_support <= ON_SUPPORT * pixels) & (pixels <= OF_ALL * labels.size))
