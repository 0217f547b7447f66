"""Parity of what follows IGGT: from features and points to labels."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geoseg_core.config import build
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row, compare
from geoseg_core.evaluation.parity_config import named
from geoseg_core.instances.field.clustering import (
    FieldClusterConfig,
    fill_noise,
    neighbour_means,
    normalised,
    raw_clusters,
)

SIZES = {
    "knn_k": "neighbours",
    "eps": "epsilon",
    "min_samples": "min_samples",
    "min_cluster_size": "min_cluster",
    "allow_single_cluster": "single",
}
# Entries of the configuration that say nothing about the clustering.
FREE = {"model", "seed"}
# Pixels that may differ through near ties.
LABEL_TOLERANCE = 0.005


def run_postprocess(fixture: Fixture) -> list[Row]:
    """The clustering of every pixel, in its stages.

    Settings that nobody here knows are named where a number is missed: it may be by them.

    Raises:
        BadInput: points that are not those of the features; BadConfig: a setting of another type, or out of range.
    """
    inputs, stored = fixture.tensors("input"), fixture.tensors("output")
    config = build(FieldClusterConfig, named(SIZES, fixture.config))
    raw, points = inputs["part_feat_raw"], inputs["points"]
    shape = raw.shape[:-1]
    if points.shape != (*shape, 3):
        raise BadInput(f"expected points {(*shape, 3)} of the features' pixels, got {tuple(points.shape)}")
    features = normalised(raw.movedim(-1, 1)).movedim(1, -1)
    means = neighbour_means(
        features.reshape(-1, raw.shape[-1]).numpy(), points.reshape(-1, 3).numpy(), config.neighbours
    )
    noisy = raw_clusters(means, config)
    labels = {"labels_with_noise": noisy, "labels": fill_noise(means, noisy)}
    maps = {"part_feat_normalized": features, "knn_mean_features": features.new_tensor(means).view(raw.shape)}
    rows = compare(maps, {name: each for name, each in stored.items() if name not in labels})
    rows += [compare_labels(name, each.reshape(shape), stored[name]) for name, each in labels.items() if name in stored]
    unknown = [] if all(row.passed for row in rows) else [*fixture.config.keys() - SIZES.keys() - FREE]
    return rows + [Row("", f"config {name}", None, 0.0, "UNKNOWN KEY") for name in sorted(unknown)]


def compare_labels(name: str, ours: np.ndarray, reference: Tensor) -> Row:
    """The share of pixels that differ when our labels from 0 are renumbered in the best way; noise stays noise."""
    theirs = reference.long().numpy()
    if ours.shape != theirs.shape:
        return Row("", name, None, LABEL_TOLERANCE, f"SHAPE {ours.shape} for {theirs.shape}")
    counts = np.zeros((ours.max() + 2, theirs.max() + 2), np.int64)
    np.add.at(counts, (ours.ravel() + 1, theirs.ravel() + 1), 1)
    pairs = linear_sum_assignment(counts[1:, 1:], maximize=True)
    same = counts[0, 0] + counts[1:, 1:][pairs].sum()
    return Row("", name, 1 - float(same) / theirs.size, LABEL_TOLERANCE)
