"""What the instance network finds in scenes of the small encoder: by its queries, or by clustering its field."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.aligner import AlignedScene
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.network_input import Placement
from geoseg_core.geometry.tiny.encoder import TinyScene
from geoseg_core.geometry.tiny.matching import levelled
from geoseg_core.geometry.tiny.model import COARSE, FINE
from geoseg_core.instances.field.clustering import FieldClusterConfig, fill_noise, neighbour_means, raw_clusters
from geoseg_core.instances.finder import FoundThings
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.decoding import found_instances
from geoseg_core.instances.tiny.model import InstanceInput, TinyInstances


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
            output = self.model.queries(InstanceInput.of(tiny.output))
        found = found_instances(output, tiny.placements[0].canvas, self.config)[0]
        chances = output.mask_logits[0, found.queries].float().sigmoid()  # (K, V, h, w)
        labels = []
        for view, place in enumerate(tiny.placements):
            chance = at_pixels(chances[:, view], place)
            weights = found.scores[:, None, None] * chance
            labels.append(best_of(torch.where(chance >= self.config.mask_chance, weights, 0.0)))
        return found_things(tiny, labels, found.scores)


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
            field = self.model.field(InstanceInput.of(tiny.output))
        features, chances = field.features[0], field.things[0].sigmoid()
        chosen = chances > 0.5
        centres = cluster_centres(features.movedim(1, -1)[chosen], cell_points(scene, tiny, chosen), self.config)
        labels, trust = [], []
        for view, place in enumerate(tiny.placements):
            chance = at_pixels(chances[None, view], place)
            closeness = at_pixels(features[view], place).movedim(0, -1) @ centres.T  # (H, W, K)
            weights = torch.where(chance > 0.5, 2 + closeness.movedim(-1, 0), 0.0)
            labels.append(best_of(weights))
            trust.append(chance[0])
        scores = torch.stack([mean_under(labels, trust, number) for number in range(1, len(centres) + 1)] or [])
        return found_things(tiny, labels, scores)


def tiny_scene(scene: EncodedScene) -> TinyScene:
    """The small encoder's scene behind a scene.

    Raises:
        BadInput: another encoder's.
    """
    inner = scene.inner if isinstance(scene, AlignedScene) else scene
    if not isinstance(inner, TinyScene):
        raise BadInput(f"expected a scene of the encoder tiny, got {type(inner).__name__}; take geometry.encoder=tiny")
    return inner


def at_pixels(maps: Tensor, place: Placement) -> Tensor:
    """Maps (K, h, w) at 1/4 of the network's input at the pixels of the image (K, H, W); 0 where it saw nothing."""
    if not len(maps):
        return maps.new_zeros(0, *place.source)
    return place.logits_to_source(F.interpolate(maps[None], place.canvas, mode="bilinear", align_corners=False)[0], 0.0)


def best_of(weights: Tensor) -> Tensor:
    """(H, W): 1 + the thing of the highest weight (K, H, W), 0 where all are 0."""
    return F.pad(weights, (0, 0, 0, 0, 1, 0)).argmax(dim=0)


def cell_points(scene: EncodedScene, tiny: TinyScene, chosen: Tensor) -> np.ndarray:
    """World points (N, 3) at the middle of the chosen cells (V, h, w) bool; not finite where none is known."""
    found = []
    for geometry, place, cells in zip(scene.views, tiny.placements, chosen.cpu().numpy(), strict=True):
        rows, columns = np.nonzero(cells)
        middles = place.to_source((np.stack((columns, rows), axis=-1) + 0.5) * FINE - 0.5)
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


def mean_under(labels: list[Tensor], values: list[Tensor], number: int) -> Tensor:
    """Mean of values (H, W) of each view where the labels are a number; 0 where they are nowhere."""
    chosen = torch.cat([value[label == number] for value, label in zip(values, labels, strict=True)])
    return chosen.mean() if len(chosen) else chosen.new_zeros(())


def found_things(tiny: TinyScene, labels: list[Tensor], scores: Tensor) -> FoundThings:
    """Labels (H, W) int64 of each view and scores (K,), best first and without things that have no pixel."""
    counts = torch.stack([each.flatten().bincount(minlength=len(scores) + 1) for each in labels]).sum(dim=0)
    ranked = np.argsort(-scores.cpu().numpy(), kind="stable")
    ranked = ranked[counts.cpu().numpy()[ranked + 1] > 0]
    numbers = np.zeros(len(scores) + 1, np.uint16)
    numbers[ranked + 1] = np.arange(1, len(ranked) + 1)
    images = tuple(numbers[each.cpu().numpy()] for each in labels)
    return FoundThings(images, scores.cpu().numpy()[ranked], looks_of(tiny, images, len(ranked)))


def looks_of(tiny: TinyScene, labels: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """Means (K, D), of length one, of the descriptors that match across views, over the places of each thing."""
    described = levelled(tiny.output.coarse[0]).movedim(1, -1).float()  # (V, h, w, D)
    middle = COARSE // 2
    cells = [
        place.map_to_network(image)[middle::COARSE, middle::COARSE]
        for place, image in zip(tiny.placements, labels, strict=True)
    ]
    numbers = torch.from_numpy(np.stack(cells).astype(np.int64)).to(described.device)
    sums = described.new_zeros(count + 1, described.shape[-1])
    sums.index_add_(0, numbers.flatten(), described.flatten(0, 2))
    return F.normalize(sums[1:], dim=1).cpu().numpy()
