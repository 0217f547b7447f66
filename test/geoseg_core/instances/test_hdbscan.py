"""HDBSCAN: clusters of any density, noise, and clusters that divide below epsilon. Exactness is in test_parity.py."""

import numpy as np
import pytest

from geoseg_core.instances.field.hdbscan import core_distances, hdbscan, spanning_tree


def blobs(centres: list[tuple[float, float]], spread: float, each: int = 60, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([centre + spread * generator.standard_normal((each, 2)) for centre in centres])


def groups(labels: np.ndarray, each: int = 60) -> list[set[int]]:
    return [set(part.tolist()) for part in labels.reshape(-1, each)]


def test_the_spanning_tree_is_the_shortest() -> None:
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    edges, lengths = spanning_tree(points, np.zeros(4))
    assert sorted(lengths.tolist()) == [1, 2, 4]
    assert {frozenset(edge) for edge in edges.tolist()} == {frozenset({0, 1}), frozenset({1, 2}), frozenset({2, 3})}
    # With core distances no edge is shorter than the larger of its ends.
    _, far = spanning_tree(points, core_distances(points, 2))
    assert sorted(far.tolist()) == [3, 3, 6]


def test_core_distances_do_not_count_the_point_itself() -> None:
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert core_distances(points, 1).tolist() == [1, 1, 2, 4]
    assert core_distances(points, 10).tolist() == [7, 6, 4, 7]


def test_clusters_of_different_density_and_noise_are_told_apart() -> None:
    points = np.concatenate((
        blobs([(0, 0)], 0.1), blobs([(10, 0)], 0.5, seed=1), blobs([(0, 10)], 1.0, seed=2), [[60.0, 60.0]]
    ))  # fmt: skip
    labels = hdbscan(points, 5, 30)
    kinds = [max(group, key=list(labels).count) for group in groups(labels[:-1])]
    assert sorted(kinds) == [0, 1, 2]
    assert labels[-1] == -1


def test_pieces_nearer_than_epsilon_stay_one() -> None:
    points = blobs([(0, 0), (1, 0), (20, 0), (21, 0)], 0.03)
    assert hdbscan(points, 3, 10).max() == 3
    assert groups(hdbscan(points, 3, 10, epsilon=5.0)) == [{0}, {0}, {1}, {1}]


def test_one_cluster_is_found_only_where_it_may_be_all() -> None:
    points = blobs([(0, 0)], 0.1)
    assert set(hdbscan(points, 5, 40)) == {-1}
    labels = hdbscan(points, 5, 40, epsilon=0.15, single=True)
    assert labels.max() == 0 and (labels == 0).sum() > 50


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_points_are_noise(count: int) -> None:
    assert hdbscan(np.zeros((count, 2)), 5, 10).tolist() == [-1] * count


def test_points_in_one_place_are_a_cluster() -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 50, axis=0)
    assert groups(hdbscan(points, 5, 20), 50) in ([{0}, {1}, {2}], [{0}, {2}, {1}], [{1}, {0}, {2}], [{1}, {2}, {0}],
                                                  [{2}, {0}, {1}], [{2}, {1}, {0}])  # fmt: skip


def test_the_order_of_the_points_changes_nothing_but_the_numbers() -> None:
    points = blobs([(0, 0), (3, 0), (0, 3)], 0.2)
    order = np.random.default_rng(3).permutation(len(points))
    straight, mixed = hdbscan(points, 5, 20), hdbscan(points[order], 5, 20)
    same = (straight[order][:, None] == straight[order]) == (mixed[:, None] == mixed)
    assert same.mean() > 0.999
