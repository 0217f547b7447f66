"""Instance labels of many views: a sample is clustered, and the rest goes with the nearest of its clusters.

A sample of the pixels is smoothed in space and clustered as `clustering.py` does with all of them; a few prototypes
stand for each cluster. Small squares of pixels, by their mean feature, take the cluster of the nearest prototype; where
squares of different clusters touch, each pixel takes the nearest of the prototypes around it. Sizes in pixels shrink in
the proportion of the sample.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.spatial.distance import cdist
from torch import Tensor

from geoseg_core.instances.field.clustering import (
    FieldClusterConfig,
    check_field,
    cluster_whole,
    neighbour_means,
    raw_clusters,
)
from geoseg_core.instances.field.hdbscan import NOISE

# The sample is smoothed among so many pixels for each of its own.
CROWD = 20
SEED = 0
ROUNDS = 5


def instance_labels(
    features: Tensor,
    points: Tensor,
    config: FieldClusterConfig = FieldClusterConfig(),  # noqa: B008 (frozen)
) -> Tensor:
    """Labels (V, H, W) int64 from 0, the same for an instance in all views.

    Args:
        features: (V, C, H, W) of the part head, of any length.
        points: (V, H, W, 3) in one frame, any unit; not finite where nothing is known.

    Raises:
        BadInput: shapes that do not fit, no pixel, or features that are no numbers.
    """
    check_field(features, points)
    if points[..., 0].numel() <= config.whole_up_to:
        return cluster_whole(features, points, config)
    return cluster_sample(features, points, config)


def cluster_sample(features: Tensor, points: Tensor, config: FieldClusterConfig) -> Tensor:
    """The quick way, whatever the number of pixels."""
    pixels = points[..., 0].numel()
    stride = side_of_squares(pixels, config)
    squares = F.avg_pool2d(features.float(), stride, ceil_mode=True)  # (V, C, h, w)
    rows, columns = (
        (torch.arange(count) * stride + stride // 2).clamp(max=side - 1)
        for count, side in zip(squares.shape[-2:], points.shape[1:3], strict=True)
    )
    middles = features[:, :, rows[:, None], columns].float().movedim(1, -1).flatten(0, -2)
    places = points[:, rows[:, None], columns].reshape(-1, 3)
    prototypes, owners = find_prototypes(middles, places, config, pixels)
    if len(owners) == 0:
        return torch.zeros(points.shape[:3], dtype=torch.int64, device=features.device)
    table = scoring(prototypes)
    labels = [
        refined(view.float(), nearest(mean, table), table, owners, stride)
        for view, mean in zip(features, squares, strict=True)
    ]
    return torch.stack(labels)


def side_of_squares(pixels: int, config: FieldClusterConfig) -> int:
    """The largest side that leaves enough squares to draw the sample and its neighbours from."""
    return min(max(round((pixels / (CROWD * config.sample)) ** 0.5), 1), config.stride)


def find_prototypes(features: Tensor, places: Tensor, config: FieldClusterConfig, pixels: int) -> tuple[Tensor, Tensor]:
    """Prototypes (K, C) and the cluster of each (K,) of features (N, C) at places (N, 3), drawn from so many pixels.

    There are none if the sample has no cluster.
    """
    generator = np.random.default_rng(SEED)
    count = len(places)
    crowd = generator.permutation(count)[: CROWD * config.sample]
    flat = F.normalize(features[torch.from_numpy(crowd)], dim=1).cpu().numpy()
    around = places[torch.from_numpy(crowd)].cpu().numpy()
    sample = neighbour_means(flat, around, config.neighbours, config.sample)
    labels = raw_clusters(sample, shrunk(config, len(sample) / pixels))
    found = [pick(sample[labels == label], config.prototypes) for label in range(labels.max(initial=NOISE) + 1)]
    owners = np.repeat(np.arange(len(found)), [len(each) for each in found])
    stacked = np.concatenate(found) if found else np.empty((0, sample.shape[1]), np.float32)
    return torch.from_numpy(stacked).float().to(features.device), torch.from_numpy(owners).to(features.device)


def shrunk(config: FieldClusterConfig, share: float) -> FieldClusterConfig:
    """The sizes for a sample that is such a share of all pixels."""
    return replace(
        config,
        min_cluster=max(round(config.min_cluster * share), config.least_cluster),
        min_samples=max(round(config.min_samples * share), config.least_samples),
    )


def pick(members: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` means (K, C) of parts of a cluster with members (N, C)."""
    if len(members) <= count:
        return members
    centres = members[:count]
    for _ in range(ROUNDS):
        near = cdist(members, centres).argmin(axis=1)
        centres = np.stack([members[near == k].mean(axis=0) if (near == k).any() else centres[k] for k in range(count)])
    return centres


def scoring(prototypes: Tensor) -> Tensor:
    """(K, C + 1), to be multiplied with features and their lengths; the nearest prototype has the largest product.

    |f/|f| - p|^2 is least where f.p - |f| |p|^2 / 2 is largest, so that nothing need be divided.
    """
    return torch.cat((prototypes, -prototypes.square().sum(1, keepdim=True) / 2), dim=1)


def with_lengths(features: Tensor) -> Tensor:
    """Features (..., C, N) and their lengths, (..., C + 1, N)."""
    return torch.cat((features, features.square().sum(dim=-2, keepdim=True).sqrt()), dim=-2)


def nearest(features: Tensor, table: Tensor) -> Tensor:
    """Prototype (h, w) nearest to features (C, h, w)."""
    products = with_lengths(features.flatten(1)).T @ table.T
    return products.argmax(dim=1).view(features.shape[1:])


def refined(features: Tensor, coarse: Tensor, table: Tensor, owners: Tensor, stride: int) -> Tensor:
    """Labels (H, W) of pixels with features (C, H, W), of the prototypes (h, w) of squares."""
    height, width = features.shape[1:]
    rows, columns = coarse.shape
    squares = owners[coarse]
    labels = squares[:, :, None, None].repeat(1, 1, stride, stride)  # (h, w, stride, stride)
    mixed = at_border(squares)
    whole = F.pad(features[None], (0, columns * stride - width, 0, rows * stride - height), mode="replicate")[0]
    inside = whole.unflatten(2, (columns, stride)).unflatten(1, (rows, stride)).permute(1, 3, 0, 2, 4)[mixed]
    around = F.pad(coarse[None].float(), (1, 1, 1, 1), mode="replicate")[0].long()
    near = around.unfold(0, 3, 1).unfold(1, 3, 1)[mixed].flatten(1)  # (M, 9)
    best = (table[near] @ with_lengths(inside.flatten(2))).argmax(dim=1)  # (M, stride^2)
    labels[mixed] = owners[near.gather(1, best)].unflatten(1, (stride, stride))
    return labels.transpose(1, 2).reshape(rows * stride, columns * stride)[:height, :width]


def at_border(squares: Tensor) -> Tensor:
    """Whether a square (h, w) touches one of another label, corners too."""
    around = F.pad(squares[None].float(), (1, 1, 1, 1), mode="replicate")
    return (F.max_pool2d(around, 3, stride=1) != -F.max_pool2d(-around, 3, stride=1))[0]
