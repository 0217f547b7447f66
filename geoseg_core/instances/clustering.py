"""Clusters of voxels, and how a cluster that holds several things is divided."""

from dataclasses import dataclass

import numpy as np
import open3d as o3d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from geoseg_core.config import setting


@dataclass(frozen=True)
class ClusterConfig:
    """How foreground becomes clusters."""

    voxel_m: float = setting(0.005, "smallest edge of the voxels that join the views", "m", 0.001, 0.2)
    voxel_slope: float = setting(0.004, "edge of the voxels as part of the median distance", "m/m", 0.0, 0.1)
    reach_voxels: float = setting(2.0, "voxels closer than this belong together", "voxels", 1.0, 10.0)
    min_voxels: int = setting(25, "a cluster of fewer voxels is noise", "", 1, 10000)
    colour_weight: float = setting(0.15, "cost of a colour step of 1 (CIE Lab) when a cluster is divided, in voxels",
                                   "voxels", 0.0, 10.0)


def cluster(centres: np.ndarray, reach_m: float) -> np.ndarray:
    """Cluster index (M,) of points (M, 3): those within `reach_m` of each other are connected."""
    if len(centres) == 0:
        return np.zeros(0, np.int32)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(centres.astype(np.float64)))
    return np.asarray(cloud.cluster_dbscan(eps=reach_m, min_points=1), np.int32)


def spread(
    centres: np.ndarray, colours: np.ndarray, seeds: np.ndarray, reach_m: float, colour_m: float
) -> np.ndarray:
    """Give every point the seed that reaches it on the shortest path; seeds (M,) int, -1 = open.

    A step costs its length plus `colour_m` for each unit of colour difference. Points that no path reaches stay -1.
    """
    sources = np.flatnonzero(seeds >= 0)
    open_points = len(sources) < len(seeds)
    if not open_points or len(sources) == 0:
        return seeds.copy()
    pairs = cKDTree(centres).query_pairs(reach_m, output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    step = np.linalg.norm(centres[first] - centres[second], axis=1)
    step = step + colour_m * np.linalg.norm(colours[first] - colours[second], axis=1)
    graph = coo_matrix((step, (first, second)), shape=(len(seeds), len(seeds))).tocsr()
    distance, _, nearest = dijkstra(graph, directed=False, indices=sources, min_only=True, return_predecessors=True)
    result = seeds.copy()
    reached = np.isfinite(distance)
    result[reached] = seeds[nearest[reached]]
    return result
