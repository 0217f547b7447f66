"""Parts: a new cluster that joins several things over gaps finer than its voxels, divided where the gaps are.

A closer look, in finer voxels, shows gaps between things that nearly touch. It also takes single things apart where the
cameras see them badly, so only parts of different colour are kept apart.
"""

import numpy as np

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.clustering import cluster, spread
from geoseg_core.instances.voxels import Foreground, build_lattice

LIGHTNESS = 0.5  # weight of a difference in lightness: a shadow is no border
SHARE = 0.05  # what is less of a cluster is no thing of its own


def parts_of(
    foreground: Foreground, voxels: np.ndarray, fine: np.ndarray, colour_gate: float, min_voxels: int
) -> np.ndarray:
    """Part (N,) of each of the voxels (indices (N,)) of one cluster, counted from 0.

    fine: (N,) what `fine_clusters` says of them. colour_gate: parts with mean colours (CIE Lab) no farther apart
    are one.
    """
    size = foreground.lattice.voxel_m
    centres, colours = foreground.centres[voxels], foreground.colours[voxels]
    seeds = np.unique(np.append(fine, -1), return_inverse=True)[1][:-1] - 1  # counted from 0, -1 = none
    counts = np.bincount(seeds[seeds >= 0], minlength=1)
    large = np.flatnonzero(counts >= max(min_voxels, SHARE * len(voxels)))
    if len(large) < 2:
        return np.zeros(len(voxels), int)
    place = np.full(len(counts), -1)
    place[large] = join_alike(np.stack([colours[seeds == part].mean(0) for part in large]), counts[large], colour_gate)
    if place.max() == 0:
        return np.zeros(len(voxels), int)
    seeds = np.where(seeds >= 0, place[seeds], -1)
    return np.maximum(spread(centres, colours, seeds, 2.5 * size, 0.15 * size), 0)


def fine_clusters(scene: EncodedScene, foreground: Foreground, voxels: np.ndarray, fine_m: float) -> np.ndarray:
    """The cluster (N,) in voxels of edge `fine_m` of most points in each voxel (indices (N,)), -1 where none lie."""
    place = np.full(len(foreground.centres), -1)
    place[voxels] = np.arange(len(voxels))
    points, whose = [], []
    for view, pixels, voxel_of in zip(scene.views, foreground.pixels, foreground.voxel_of, strict=True):
        member = place[voxel_of]
        seen = (member >= 0) & (view.depth_m.reshape(-1)[pixels] > 0)
        points.append(view.points.reshape(-1, 3)[pixels[seen]])
        whose.append(member[seen])
    xyz, voxel = np.concatenate(points), np.concatenate(whose)
    _, cell_of, cells = build_lattice(xyz, fine_m)
    inside = np.zeros((cells, 3), np.float32)
    inside[cell_of] = xyz  # one point of each cell stands for it
    found = cluster(inside, fine_m)[cell_of]
    count = int(found.max(initial=0)) + 1
    pairs, hits = np.unique(voxel * count + found, return_counts=True)
    pairs = pairs[np.argsort(hits, kind="stable")]  # the most hit comes last and stays
    result = np.full(len(voxels), -1)
    result[pairs // count] = pairs % count
    return result


def join_alike(colours: np.ndarray, counts: np.ndarray, gate: float) -> np.ndarray:
    """Group (P,) of each part with mean colours (P, 3) and voxel counts (P,); the most alike are joined first."""
    means = colours * np.array([LIGHTNESS, 1, 1])
    weights = counts.astype(float)
    groups = np.arange(len(counts))
    while True:
        names = np.unique(groups)
        centres = np.stack([np.average(means[groups == name], 0, weights[groups == name]) for name in names])
        steps = np.linalg.norm(centres[:, None] - centres[None], axis=2) + np.diag(np.full(len(names), np.inf))
        if len(names) < 2 or steps.min() > gate:
            return np.unique(groups, return_inverse=True)[1]
        row, column = np.unravel_index(steps.argmin(), steps.shape)
        groups[groups == names[row]] = names[column]
