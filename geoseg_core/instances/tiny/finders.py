"""What the instance network finds in scenes of the small encoder: by its queries, or by clustering its field."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.aligner import as_encoded
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.tiny.encoder import TinyScene
from geoseg_core.geometry.tiny.matching import levelled
from geoseg_core.geometry.tiny.model import COARSE
from geoseg_core.instances.field.clustering import FieldClusterConfig, fill_noise, neighbour_means, raw_clusters
from geoseg_core.instances.finder import FoundThings, ranked_things
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.decoding import found_instances
from geoseg_core.instances.tiny.model import InstanceInput, TinyInstances

# Sides of what has a feature, and of the cells that are clustered.
HALF, CELL = 2, 4


class TinyQueries:
    """Things by object queries."""

    method = "queries"

    def __init__(self, model: TinyInstances, config: QueryDecodingConfig) -> None:
        self.model, self.config = model.eval(), config

    @torch.inference_mode()
    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together.

        Raises:
            BadInput: a scene of another encoder.
        """
        tiny = tiny_scene(scene)
        with tiny.encoder.config.trunk_types(tiny.output.coarse.device):
            output = self.model.queries(InstanceInput.of(tiny.images, tiny.output))
        found = found_instances(output, tiny.placements[0].canvas, self.config)[0]
        return found_things(tiny, found.labels, found.scores)


class TinyField:
    """Things by clusters of the instance field."""

    method = "field"

    def __init__(self, model: TinyInstances, config: FieldClusterConfig) -> None:
        self.model, self.config = model.eval(), config

    @torch.inference_mode()
    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together.

        Raises:
            BadInput: a scene of another encoder.
        """
        tiny = tiny_scene(scene)
        with tiny.encoder.config.trunk_types(tiny.output.coarse.device):
            field = self.model.field(InstanceInput.of(tiny.images, tiny.output))
        features, chances = field.features[0], field.things[0].sigmoid()
        cells = F.normalize(F.avg_pool2d(features, CELL // HALF), dim=1).movedim(1, -1)
        chosen = F.avg_pool2d(chances, CELL // HALF) > 0.5
        centres = cluster_centres(cells[chosen], cell_points(scene, tiny, chosen), self.config)
        canvas = tiny.placements[0].canvas
        chance = enlarged(chances[:, None], canvas)[:, 0]  # (V, H, W)
        if not len(centres):
            return found_things(tiny, torch.zeros_like(chance, dtype=torch.int64), chance.new_zeros(0))
        closeness = enlarged(torch.einsum("vchw,kc->vkhw", features, centres), canvas)
        labels = torch.where(chance > 0.5, 1 + closeness.argmax(dim=1), 0)
        return found_things(tiny, labels, means_under(labels, chance, len(centres)))


def tiny_scene(scene: EncodedScene) -> TinyScene:
    """The small encoder's scene behind a scene.

    Raises:
        BadInput: another encoder's.
    """
    inner = as_encoded(scene)
    if not isinstance(inner, TinyScene):
        raise BadInput(f"expected a scene of the encoder tiny, got {type(inner).__name__}; take geometry.encoder=tiny")
    return inner


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (V, K, h, w) at the size (H, W)."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def cell_points(scene: EncodedScene, tiny: TinyScene, chosen: Tensor) -> np.ndarray:
    """World points (N, 3) at the middle of the chosen cells (V, h, w) bool; not finite where none is known."""
    found = []
    for geometry, place, cells in zip(scene.views, tiny.placements, chosen.cpu().numpy(), strict=True):
        rows, columns = np.nonzero(cells)
        middles = place.to_source((np.stack((columns, rows), axis=-1) + 0.5) * CELL - 0.5)
        size = np.array(geometry.depth_m.shape[::-1])
        u, v = np.rint(middles).astype(np.intp).clip(0, size - 1).T
        found.append(geometry.points[v, u])
    return np.concatenate(found)


def cluster_centres(features: Tensor, points: np.ndarray, config: FieldClusterConfig) -> Tensor:
    """Mean features (K, C), of length one, of the clusters of features (N, C) at points (N, 3)."""
    if not len(features):
        return features
    flat = features.float().cpu().numpy()
    means = neighbour_means(flat, points, config.neighbours)
    labels = np.zeros(len(flat), int)
    if len(flat) > config.min_samples:
        labels = fill_noise(means, raw_clusters(means, config))
    centres = np.stack([flat[labels == each].mean(axis=0) for each in range(labels.max() + 1)])
    return F.normalize(torch.from_numpy(centres).to(features.device), dim=1)


def means_under(labels: Tensor, values: Tensor, count: int) -> Tensor:
    """(K,) means of values where the labels, of the same shape, are 1 to K; 0 for a label that is nowhere."""
    flat = labels.flatten()
    sums = values.new_zeros(count + 1).index_add_(0, flat, values.flatten())
    return (sums / flat.bincount(minlength=count + 1).clamp(min=1))[1:]


def found_things(tiny: TinyScene, labels: Tensor, scores: Tensor) -> FoundThings:
    """Things in labels (V, h, w) of the network's input, from 1, with scores (K,)."""
    numbers, looks = labels.cpu().numpy(), looks_of(tiny, labels, len(scores))
    return ranked_things(numbers, scores.cpu().numpy(), looks, tiny.placements)


def looks_of(tiny: TinyScene, labels: Tensor, count: int) -> np.ndarray:
    """Means (K, D), of length one, of the descriptors that match across views, over the places of each thing in labels
    (V, h, w)."""
    described = levelled(tiny.output.coarse[0]).movedim(1, -1).float()  # (V, h, w, D)
    middle = COARSE // 2
    cells = labels[:, middle::COARSE, middle::COARSE].flatten()
    sums = described.new_zeros(count + 1, described.shape[-1]).index_add_(0, cells, described.flatten(0, 2))
    return F.normalize(sums[1:], dim=1).cpu().numpy()
