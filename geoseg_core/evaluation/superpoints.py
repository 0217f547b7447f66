"""Superpoints: a cloud cut into small smooth pieces, whose points vote for one label.

The scans of ScanNet come with segments, made from the normals of the mesh, and the truth labels whole segments: these
are the pieces of a cloud that is such a scan. Other clouds have none, so pieces are made here, the same way for all:
neighbouring points are of one piece where their normals and their colours are alike, and no piece is larger than a cube
of a fixed grid. The truth is not looked at.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geoseg_core.config import setting
from geoseg_core.evaluation.instance_points import ScenePoints


@dataclass(frozen=True)
class SuperpointConfig:
    """What points of one piece have in common."""

    reach: float = setting(1.8, "neighbours are no farther apart", "voxels", 1.0, 10.0)
    angle_deg: float = setting(20.0, "their normals differ by no more", "degrees", 0.0, 180.0)
    colour: float = setting(0.15, "their colours (RGB from 0 to 1) are no farther apart", "", 0.0, 2.0)
    cube: float = setting(6.0, "edge of the cubes that no piece leaves", "voxels", 1.0, 1000.0)


def superpoints(cloud: ScenePoints, config: SuperpointConfig = SuperpointConfig()) -> np.ndarray:  # noqa: B008 (frozen)
    """(N,) number of each point's piece, from 0: the cloud's own segments, or pieces that are made, in which a point
    without a normal is alone."""
    if cloud.segments is not None:
        return cloud.segments
    count = len(cloud.points)
    if not count:
        return np.zeros(0, np.int64)
    first, second = cKDTree(cloud.points).query_pairs(config.reach * cloud.voxel_m, output_type="ndarray").T
    cubes = np.floor(cloud.points / (config.cube * cloud.voxel_m))
    alike = (cubes[first] == cubes[second]).all(axis=1)
    alike &= np.linalg.norm(cloud.colours[first] - cloud.colours[second], axis=1) <= config.colour
    alike &= np.einsum("nc,nc->n", cloud.normals[first], cloud.normals[second]) >= np.cos(np.radians(config.angle_deg))
    links = coo_matrix((np.ones(alike.sum(), bool), (first[alike], second[alike])), (count, count))
    return connected_components(links, directed=False)[1].astype(np.int64)


def voted(labels: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """(N,) labels where every point has the most frequent one of its piece; of equal ones the lowest but 0."""
    if not len(labels):
        return labels
    pairs, counts = np.unique(np.stack((pieces, labels)), axis=1, return_counts=True)
    rank = np.where(pairs[1] == 0, np.iinfo(np.int64).max, pairs[1])
    order = np.lexsort((-rank, counts, pairs[0]))
    winners = order[np.flatnonzero(np.diff(pairs[0][order], append=-1))]
    return pairs[1][winners][pieces]
