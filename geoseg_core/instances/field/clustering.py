"""Instance features of all views to instance labels: the post-processing of IGGT.

Features are normalised to length one, each is replaced by the mean over its nearest neighbours in space (of all views
together, itself left out), the means are clustered by HDBSCAN, and what the clustering calls noise takes the label of
the nearest labelled feature. This is exact and its time grows faster than the pixels; `quick.py` does the same for
many views.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.spatial import cKDTree
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.instances.field.cluster_config import FieldClusterConfig
from geoseg_core.instances.field.hdbscan import NOISE, hdbscan


def cluster_whole(features: Tensor, points: Tensor, config: FieldClusterConfig) -> Tensor:
    """Labels (V, H, W) int64 from 0 of features (V, C, H, W) and points (V, H, W, 3), by clustering every pixel."""
    flat = normalised(features).movedim(1, -1).flatten(0, -2).cpu().numpy()
    means = neighbour_means(flat, points.reshape(-1, 3).cpu().numpy(), config.neighbours)
    labels = fill_noise(means, raw_clusters(means, config))
    return torch.from_numpy(labels).view(points.shape[:3]).to(features.device)


def normalised(features: Tensor) -> Tensor:
    """Features (V, C, H, W) of length one."""
    return F.normalize(features.float(), dim=1)


def neighbour_means(features: np.ndarray, points: np.ndarray, neighbours: int, asked: int | None = None) -> np.ndarray:
    """Mean (asked, C) over the features (N, C) of the points nearest to the first `asked` ones, themselves left out.

    A point (N, 3) that is not finite keeps its own feature and is nobody's neighbour.
    """
    means = features[:asked].copy()
    placed = np.flatnonzero(np.isfinite(points).all(axis=1))
    neighbours = min(neighbours, len(placed) - 1)
    if neighbours < 1:
        return means
    askers = placed[: np.searchsorted(placed, len(means))]
    near = nearest_others(points[placed].astype(np.float64), len(askers), neighbours)
    means[askers] = features[placed[near]].mean(axis=1)
    return means


def nearest_others(points: np.ndarray, asked: int, count: int) -> np.ndarray:
    """Indices (asked, count) of the points nearest to each of the first `asked`."""
    _, near = cKDTree(points).query(points[:asked], k=count + 1, workers=-1)
    others = near != np.arange(asked)[:, None]
    # Among many points in one place a point may not find itself; then the farthest is left out.
    others[others.all(axis=1), -1] = False
    return near[others].reshape(asked, count)


def raw_clusters(features: np.ndarray, config: FieldClusterConfig) -> np.ndarray:
    """Cluster of each feature (N, C) from 0; -1 for noise."""
    return hdbscan(features, config.min_samples, config.min_cluster, config.epsilon, config.single)


def fill_noise(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels in which noise has that of the nearest labelled feature; 0 for all if there is none."""
    noise = labels == NOISE
    if noise.all():
        return np.zeros_like(labels)
    filled = labels.copy()
    if noise.any():
        _, near = cKDTree(features[~noise]).query(features[noise], workers=-1)
        filled[noise] = labels[~noise][near]
    return filled


def check_field(features: Tensor, points: Tensor) -> None:
    """Refuse what cannot be clustered.

    Raises:
        BadInput: shapes that do not fit, no pixel, or features that are no numbers.
    """
    shape = tuple(features.shape)
    if features.ndim != 4 or min(shape) == 0:
        raise BadInput(f"expected features (V, C, H, W) of at least one view, got {shape}")
    wanted = (shape[0], *shape[2:], 3)
    if tuple(points.shape) != wanted:
        raise BadInput(f"expected points (V, H, W, 3) = {wanted} of the features' pixels, got {tuple(points.shape)}")
    if not bool(torch.isfinite(features.sum())):
        raise BadInput("expected finite features, got NaN or infinite ones; check the images and the weights")
