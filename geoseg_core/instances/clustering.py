"""Clusters of voxels, and how a cluster that holds several things is divided."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from geoseg_core.config import setting


@dataclass(frozen=True)
class ClusterConfig:
    """How foreground becomes clusters."""

    voxel_m: float = setting(0.005, "smallest edge of the voxels that join the views", "m", 0.001, 0.2)
    voxel_pixels: float = setting(2.3, "the same in pixels at the median distance", "pixels", 0.1, 50.0)
    voxel_noise: float = setting(2.0, "the same in standard deviations of the depth noise there", "", 0.0, 50.0)
    range_pixels: float = setting(
        0.7, "what is so far that a voxel covers less than this is background", "pixels", 0.1, 50.0
    )
    part_pixels: float = setting(
        1.25, "a new thing is searched for gaps in voxels of so many pixels at the median distance", "pixels", 0.1, 50.0
    )
    part_colour: float = setting(12.0, "parts of it with a gap between are two things if their colours differ by this",
                                 "CIE Lab", 0.0, 200.0)  # fmt: skip
    min_voxels: int = setting(25, "a cluster of fewer voxels is noise", "", 1, 10000)
    colour_weight: float = setting(0.15, "cost of a colour step of 1 (CIE Lab) when a cluster is divided, in voxels",
                                   "voxels", 0.0, 10.0)


def cluster(centres: np.ndarray, voxel_m: float) -> np.ndarray:
    """Cluster index (M,) of voxels with mean points (M, 3): those that touch, corners too, are connected.

    It resembles DBSCAN with one point as its minimum, but neighbourhood is counted in cells of the lattice, so that two
    points are joined up to a distance of one to two and a half edges, depending on where they lie in their cells.
    """
    count = len(centres)
    if count == 0:
        return np.zeros(0, np.int32)
    scale = np.float32(1 / voxel_m)
    x, y, z = (cells - cells.min() + 1 for cells in np.floor(centres.T * scale).astype(np.int64))
    rows, layers = int(y.max()) + 2, int(z.max()) + 2
    key = (x * rows + y) * layers + z
    order = np.argsort(key)
    key = key[order]
    begins = np.diff(key, prepend=-2) > 1
    run = np.cumsum(begins) - 1
    first, second = touching_runs(key[begins], key[np.append(begins[1:], True)], rows, layers)
    runs = int(run[-1]) + 1
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(runs, runs))
    result = np.empty(count, np.int32)
    result[order] = connected_components(graph, directed=False)[1][run]
    return result


def touching_runs(start: np.ndarray, stop: np.ndarray, rows: int, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of indices of runs of cells along z that touch, of runs with sorted first and last keys (R,), (R,).

    key = (x * rows + y) * layers + z.
    """
    first, second = [], []
    for x, y in ((0, 1), (1, -1), (1, 0), (1, 1)):
        step = (x * rows + y) * layers
        low = np.searchsorted(stop, start + (step - 1))
        count = np.searchsorted(start, stop + (step + 1), "right") - low
        index = np.flatnonzero(count > 0)
        count = count[index]
        first.append(np.repeat(index, count))
        second.append(np.arange(count.sum()) + np.repeat(low[index] - np.cumsum(count) + count, count))
    return np.concatenate(first), np.concatenate(second)


def spread(
    centres: np.ndarray, colours: np.ndarray, seeds: np.ndarray, reach_m: float, colour_m: float
) -> np.ndarray:
    """Give every point the seed that reaches it on the shortest path; seeds (M,) int, -1 = open.

    Points within `reach_m` of each other are joined. A step costs its length plus `colour_m` for each unit of colour
    difference. Points that no path reaches stay -1.
    """
    sources = np.flatnonzero(seeds >= 0)
    open_points = len(sources) < len(seeds)
    if not open_points or len(sources) == 0:
        return seeds.copy()
    # A shortest path leaves its seed at once: seeds that lie beside no open point need not be searched.
    left = np.flatnonzero(seeds < 0)
    beside = np.isfinite(quick_tree(centres[left]).query(centres[sources], distance_upper_bound=reach_m)[0])
    members = np.concatenate([sources[beside], left])
    sources = np.arange(beside.sum())
    places, tints = centres[members], colours[members]
    pairs = quick_tree(places).query_pairs(reach_m, output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    step = np.linalg.norm(places[first] - places[second], axis=1)
    step = step + colour_m * np.linalg.norm(tints[first] - tints[second], axis=1)
    graph = coo_matrix((step, (first, second)), shape=(len(members), len(members))).tocsr()
    result = seeds.copy()
    if len(sources) == 0:
        return result
    distance, _, nearest = dijkstra(graph, directed=False, indices=sources, min_only=True, return_predecessors=True)
    reached = np.isfinite(distance)
    result[members[reached]] = seeds[members[nearest[reached]]]
    return result


def quick_tree(points: np.ndarray) -> cKDTree:
    """A search tree that is built several times faster than the default one, for the few queries of one set."""
    return cKDTree(points, balanced_tree=False, compact_nodes=False)
