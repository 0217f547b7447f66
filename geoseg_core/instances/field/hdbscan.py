"""HDBSCAN: clusters of any density and number, and noise.

Campello, Moulavi and Sander, "Density-Based Clustering Based on Hierarchical Density Estimates" (2013); with
`epsilon` as Malzer and Baum, "A Hybrid Approach To Hierarchical Density-based Cluster Selection" (2020). In steps: the
spanning tree of the mutual reachability distances, the tree of its merges, that tree without clusters that are too
small, and the clusters in it that last longest. Results are those of the hdbscan library, which IGGT was released with.

Every distance is formed once, N^2 of them, never kept: up to some 20,000 points that takes seconds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

NOISE = -1
# Points in one place have a density, too.
LEAST_DISTANCE = 1e-12


def hdbscan(
    points: np.ndarray, min_samples: int, min_cluster: int, epsilon: float = 0.0, single: bool = False
) -> np.ndarray:
    """Cluster of each point (N, C) from 0, -1 for noise.

    Args:
        min_samples: the distance to so many others is a point's density.
        min_cluster: points of the smallest cluster, at least 2.
        epsilon: clusters that divide below this distance stay one.
        single: whether one cluster may be all that there is.
    """
    if len(points) < max(min_cluster, 2):
        return np.full(len(points), NOISE)
    points = points.astype(np.float64)
    condensed = condense(merge(*spanning_tree(points, core_distances(points, min_samples))), max(min_cluster, 2))
    chosen = longest_lasting(condensed, single)
    if epsilon > 0 and chosen != [0]:
        chosen = not_below(condensed, chosen, epsilon, single)
    return labelled(condensed, sorted(set(chosen)), epsilon)


def core_distances(points: np.ndarray, min_samples: int) -> np.ndarray:
    """(N,) distance of each point to its `min_samples`-th other."""
    count = min(min_samples + 1, len(points))
    distances, _ = cKDTree(points).query(points, k=[count], workers=-1)
    return distances[:, 0]


def spanning_tree(points: np.ndarray, core: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (N - 1, 2) and lengths (N - 1,) of the minimum spanning tree of max(core, core, distance), by Prim."""
    count = len(points)
    # What is not in the tree yet stands in front; a point that joins is overwritten by the last of them.
    left, near = np.array(points.T, order="C"), np.full(count, np.inf)
    names, via, reach = np.arange(count), np.zeros(count, np.int64), core**2
    edges, lengths = np.empty((count - 1, 2), np.int64), np.empty(count - 1)
    joined, position = 0, 0
    for step in range(count - 1):
        last = count - 1 - step
        at, own = left[:, position].copy(), reach[position]
        for each in (names, via, near, reach):
            each[position] = each[last]
        left[:, position] = left[:, last]
        away = left[:, :last] - at[:, None]
        distance = np.einsum("cn,cn->n", away, away)
        np.maximum(distance, reach[:last], out=distance)
        np.maximum(distance, own, out=distance)
        nearer = distance < near[:last]
        np.copyto(near[:last], distance, where=nearer)
        via[:last][nearer] = joined
        position = int(near[:last].argmin())
        edges[step], lengths[step] = (via[position], names[position]), near[position]
        joined = int(names[position])
    return edges, np.sqrt(lengths)


@dataclass(frozen=True, eq=False)
class Merges:
    """The tree of single linkage: nodes 0..N-1 are the points, node N + i is merge i, the last is the root.

    Attributes:
        children: (N - 1, 2) nodes.
        height: (N - 1,) distance of each merge.
        size: (2N - 1,) points below each node.
        start: (2N - 1,) where a node's points begin in `order`.
        order: (N,) points, so that those below a node stand together.
    """

    children: np.ndarray
    height: np.ndarray
    size: np.ndarray
    start: np.ndarray
    order: np.ndarray

    def below(self, node: int) -> np.ndarray:
        """The points below a node."""
        return self.order[self.start[node] : self.start[node] + self.size[node]]


def merge(edges: np.ndarray, lengths: np.ndarray) -> Merges:
    """Join the points along the edges, the shortest first."""
    count = len(edges) + 1
    by_length = np.argsort(lengths, kind="stable")
    top = list(range(2 * count - 1))
    children = np.empty((count - 1, 2), np.int64)
    size = np.ones(2 * count - 1, np.int64)
    for number, (first, second) in enumerate(edges[by_length].tolist()):
        pair = (root(top, first), root(top, second))
        children[number] = pair
        top[pair[0]] = top[pair[1]] = count + number
        size[count + number] = size[pair[0]] + size[pair[1]]
    start = np.zeros(2 * count - 1, np.int64)
    for number in range(count - 2, -1, -1):
        first, second = children[number]
        start[first] = start[count + number]
        start[second] = start[first] + size[first]
    order = np.empty(count, np.int64)
    order[start[:count]] = np.arange(count)
    return Merges(children, lengths[by_length], size, start, order)


def root(top: list[int], node: int) -> int:
    """The highest node above; the way there gets shorter."""
    while top[node] != node:
        top[node] = top[top[node]]
        node = top[node]
    return node


@dataclass(frozen=True, eq=False)
class Condensed:
    """Clusters of enough points, numbered so that parents come first; 0 holds everything.

    Attributes:
        parent: of each cluster, -1 for that of cluster 0.
        birth: density (1 / distance) at which it split off.
        stability: how long its points last, added up.
        home: (N,) smallest cluster that a point was ever in.
        fallen: (N,) density at which it fell out of that.
    """

    parent: list[int]
    birth: list[float]
    stability: list[float]
    home: np.ndarray
    fallen: np.ndarray

    def children(self) -> list[list[int]]:
        """The clusters that each divides into."""
        found: list[list[int]] = [[] for _ in self.parent]
        for cluster, parent in enumerate(self.parent[1:], start=1):
            found[parent].append(cluster)
        return found


def condense(merges: Merges, min_cluster: int) -> Condensed:
    """The tree of merges without clusters of fewer points: those just lose points."""
    count = len(merges.order)
    parent, birth, stability = [-1], [0.0], [0.0]
    home, fallen = np.zeros(count, np.int64), np.zeros(count)
    waiting = [(2 * count - 2, 0)]
    while waiting:
        node, cluster = waiting.pop()
        density = 1 / max(merges.height[node - count], LEAST_DISTANCE)
        pair = merges.children[node - count].tolist()
        large = [child for child in pair if merges.size[child] >= min_cluster]
        for child in pair:
            if child in large and len(large) == 1:
                waiting.append((child, cluster))
                continue
            stability[cluster] += (density - birth[cluster]) * float(merges.size[child])
            if child in large:
                waiting.append((child, len(parent)))
                parent.append(cluster)
                birth.append(density)
                stability.append(0.0)
            else:
                points = merges.below(child)
                home[points], fallen[points] = cluster, density
    return Condensed(parent, birth, stability, home, fallen)


def longest_lasting(condensed: Condensed, single: bool) -> list[int]:
    """Clusters that last longer than all within them together, the largest such."""
    children, value = condensed.children(), list(condensed.stability)
    chosen: dict[int, list[int]] = {}
    for cluster in range(len(value) - 1, -1, -1):
        within = [each for child in children[cluster] for each in chosen[child]]
        together = sum(value[child] for child in children[cluster])
        if together > value[cluster] or (cluster == 0 and not single):
            chosen[cluster], value[cluster] = within, together
        else:
            chosen[cluster] = [cluster]
    return chosen[0]


def not_below(condensed: Condensed, chosen: list[int], epsilon: float, single: bool) -> list[int]:
    """In place of a cluster that split off below epsilon, the smallest one around it that split off above."""

    def climb(cluster: int) -> int:
        while condensed.birth[cluster] * epsilon > 1:
            parent = condensed.parent[cluster]
            if parent == 0:
                return 0 if single else cluster
            cluster = parent
        return cluster

    return [climb(cluster) for cluster in chosen]


def labelled(condensed: Condensed, chosen: list[int], epsilon: float) -> np.ndarray:
    """Label of each point: that of the smallest chosen cluster around it."""
    label = [NOISE] * len(condensed.parent)
    for cluster, parent in enumerate(condensed.parent):
        label[cluster] = chosen.index(cluster) if cluster in chosen else label[parent] if parent >= 0 else NOISE
    labels = np.array(label)[condensed.home]
    if chosen == [0]:
        # Of everything in one cluster only its dense part is meant.
        of_root = condensed.fallen[condensed.home == 0]
        least = 1 / epsilon if epsilon > 0 else of_root.max(initial=0.0)
        labels[condensed.fallen < least] = NOISE
    return labels
