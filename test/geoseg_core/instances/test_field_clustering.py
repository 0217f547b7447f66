"""Features and points to instance labels: whole and by a sample. Exactness is in test_parity.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from geoseg_core.errors import BadInput
from geoseg_core.instances.field.clustering import FieldClusterConfig, cluster_whole, fill_noise, neighbour_means
from geoseg_core.instances.field.quick import cluster_sample, instance_labels, refined, scoring, side_of_squares

SMALL = FieldClusterConfig(min_samples=20, min_cluster=100)


def made_field(views: int, height: int, width: int, things: int = 8, noise: float = 0.1) -> tuple[torch.Tensor, ...]:
    """Features, points and true labels of a wall of patches, each view of another part of it."""
    generator = torch.Generator().manual_seed(5)
    kinds = F.normalize(torch.randn(things, 8, generator=generator), dim=1)
    middles = torch.rand(things, 2, generator=generator) * torch.tensor([2.0, 1.5])
    labels, points, features = [], [], []
    for _ in range(views):
        corner = torch.rand(2, generator=generator) * torch.tensor([0.8, 0.5])
        v, u = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
        place = corner + torch.stack((1.2 * u, v), dim=-1)
        label = torch.cdist(place.view(1, -1, 2), middles[None])[0].argmin(dim=1).view(height, width)
        feature = kinds[label].movedim(-1, 0) + noise * torch.randn(8, height, width, generator=generator)
        features.append(3 * feature)
        points.append(torch.cat((place, 2 + 0.1 * label[..., None]), dim=-1))
        labels.append(label)
    return torch.stack(features), torch.stack(points), torch.stack(labels)


def agreement(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Adjusted Rand index."""
    table = np.zeros((int(ours.max()) + 1, int(theirs.max()) + 1))
    np.add.at(table, (ours.flatten().numpy(), theirs.flatten().numpy()), 1)
    pairs, rows, columns = ((each * (each - 1) / 2).sum() for each in (table, table.sum(1), table.sum(0)))
    expected = rows * columns / (table.sum() * (table.sum() - 1) / 2)
    return float((pairs - expected) / ((rows + columns) / 2 - expected))


def test_the_index_itself() -> None:
    first = torch.tensor([0, 0, 1, 1])
    assert agreement(first, torch.tensor([5, 5, 2, 2])) == 1
    assert agreement(first, torch.tensor([0, 1, 0, 1])) == pytest.approx(-0.5)


def test_every_thing_is_found_in_all_views() -> None:
    features, points, truth = made_field(3, 42, 56)
    labels = instance_labels(features, points, SMALL)
    assert labels.shape == truth.shape and labels.min() == 0
    assert len(labels.unique()) == len(truth.unique())
    assert agreement(labels, truth) > 0.99


@pytest.mark.parametrize(("sample", "stride"), [(600, 1), (250, 2)])
def test_a_sample_agrees_with_clustering_every_pixel(sample: int, stride: int) -> None:
    features, points, _ = made_field(3, 56, 70)
    config = replace(SMALL, sample=sample, least_cluster=6, least_samples=4)
    assert side_of_squares(3 * 56 * 70, config) == stride
    assert agreement(cluster_sample(features, points, config), cluster_whole(features, points, config)) >= 0.97


@pytest.mark.parametrize(("sample", "stride"), [(3000, 2), (1000, 4)])
def test_a_sample_is_enough_to_find_the_things_of_larger_views(sample: int, stride: int) -> None:
    features, points, truth = made_field(3, 280, 300)
    config = replace(SMALL, sample=sample, least_cluster=10, least_samples=5)
    assert side_of_squares(truth.numel(), config) == stride
    labels = cluster_sample(features, points, config)
    sizes = torch.bincount(truth.flatten())
    # What has fewer pixels than a cluster of the sample stands for cannot be found.
    large = [thing for thing in truth.unique() if sizes[thing] >= 2 * config.least_cluster / sample * truth.numel()]
    assert len({int(labels[truth == thing].mode().values) for thing in large}) == len(large) >= 5
    assert agreement(labels, truth) >= 0.97


def test_the_number_of_pixels_decides_between_them() -> None:
    features, points, _ = made_field(2, 28, 42)
    whole = instance_labels(features, points, replace(SMALL, whole_up_to=2352))
    assert torch.equal(whole, cluster_whole(features, points, SMALL))
    sampled = replace(SMALL, whole_up_to=2351, sample=500)
    assert torch.equal(instance_labels(features, points, sampled), cluster_sample(features, points, sampled))


def test_the_sample_gives_the_same_again_and_sides_need_not_be_multiples() -> None:
    features, points, truth = made_field(2, 53, 67)
    config = replace(SMALL, sample=100, least_cluster=5, least_samples=3)
    assert side_of_squares(truth.numel(), config) == 2
    labels = cluster_sample(features, points, config)
    assert labels.shape == truth.shape
    assert torch.equal(labels, cluster_sample(features, points, config))


def test_the_length_of_a_feature_does_not_matter() -> None:
    features, points, _ = made_field(2, 42, 56)
    scale = 0.5 + torch.rand(2, 1, 42, 56, generator=torch.Generator().manual_seed(1))
    straight = instance_labels(features, points, SMALL)
    assert torch.equal(instance_labels(2 * features, points, SMALL), straight)
    assert agreement(instance_labels(features * scale, points, SMALL), straight) > 0.999


def test_the_order_of_the_views_changes_nothing_but_the_numbers() -> None:
    features, points, truth = made_field(3, 28, 42)
    order = [2, 0, 1]
    straight = instance_labels(features, points, SMALL)
    assert agreement(instance_labels(features[order], points[order], SMALL), straight[order]) > 0.999
    sampled = replace(SMALL, whole_up_to=100, sample=1000)
    assert agreement(instance_labels(features[order], points[order], sampled), truth[order]) > 0.95


def test_one_view_of_one_thing_and_features_without_clusters_are_one_instance() -> None:
    features, points = torch.ones(1, 8, 28, 28), torch.rand(1, 28, 28, 3, generator=torch.Generator().manual_seed(1))
    assert set(instance_labels(features, points, SMALL).unique().tolist()) == {0}
    noise = torch.randn(1, 8, 28, 28, generator=torch.Generator().manual_seed(2))
    for config in (SMALL, replace(SMALL, whole_up_to=100, sample=100)):
        assert set(instance_labels(noise, points, config).unique().tolist()) == {0}


def test_points_that_are_not_known_are_labelled_by_their_own_features() -> None:
    features, points, truth = made_field(2, 42, 56)
    points[:, :10] = float("nan")
    points[0, 20] = float("inf")
    for config in (SMALL, replace(SMALL, whole_up_to=100, sample=1000)):
        assert agreement(instance_labels(features, points, config), truth) > 0.95
    nowhere = torch.full_like(points, float("nan"))
    assert agreement(instance_labels(features, nowhere, SMALL), truth) > 0.9


def test_means_are_over_the_nearest_others() -> None:
    features = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    points = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0], [np.nan, 0, 0]])
    assert neighbour_means(features, points, 2)[:, 0].tolist() == [3.0, 2.5, 1.5, 3.0, 16.0]
    assert neighbour_means(features, points, 2, asked=2)[:, 0].tolist() == [3.0, 2.5]
    assert neighbour_means(features, points, 9)[0, 0] == pytest.approx(14 / 3)
    assert neighbour_means(features, points, 0).tolist() == features.tolist()


def test_points_in_one_place_have_others_as_neighbours() -> None:
    features, points = np.arange(6.0)[:, None], np.zeros((6, 3))
    means = neighbour_means(features, points, 2)[:, 0]
    assert means.shape == (6,) and np.isfinite(means).all()


def test_noise_takes_the_label_of_the_nearest_feature() -> None:
    features = np.array([[0.0], [1.0], [5.0], [6.0]])
    assert fill_noise(features, np.array([3, -1, -1, 7])).tolist() == [3, 3, 7, 7]
    assert fill_noise(features, np.full(4, -1)).tolist() == [0, 0, 0, 0]


def test_pixels_at_a_border_are_labelled_one_by_one() -> None:
    prototypes, owners = torch.eye(2), torch.tensor([0, 1])
    features = torch.zeros(2, 4, 8)
    features[0, :, :3], features[1, :, 3:] = 2.0, 0.5
    coarse = torch.tensor([[0, 1]])  # squares of four pixels; the border lies in the first
    labels = refined(features, coarse, scoring(prototypes), owners, 4)
    assert labels.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]] * 4


@pytest.mark.parametrize(
    ("features", "points", "words"),
    [
        (torch.zeros(8, 4, 4), torch.zeros(1, 4, 4, 3), "features"),
        (torch.zeros(0, 8, 4, 4), torch.zeros(0, 4, 4, 3), "at least one"),
        (torch.zeros(1, 8, 4, 4), torch.zeros(1, 4, 5, 3), "points"),
        (torch.full((1, 8, 4, 4), float("nan")), torch.zeros(1, 4, 4, 3), "NaN"),
    ],
)
def test_what_cannot_be_clustered_is_refused(features: torch.Tensor, points: torch.Tensor, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        instance_labels(features, points)
