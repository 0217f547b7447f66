"""K-means of points in the plane, with greedy k-means++ seeds.

Arthur and Vassilvitskii, "k-means++" (2007); Lloyd (1982). Draws, types of numbers and the stopping rule are those of
scikit-learn with one initialisation and two threads, which the published points were made with. Centres near a half
pixel depend on the order of the sums: two halves of whole chunks, each point by point in float32.
"""

import numpy as np

MAX_ROUNDS = 300
TOLERANCE = 1e-4
CHUNK = 256


def kmeans(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Centres (count, 2) float32 of points (N, 2), N >= count."""
    points = np.asarray(points, np.float32)
    tolerance = np.var(points, axis=0).mean() * TOLERANCE
    middle = points.mean(axis=0)
    points = points - middle
    centres = seeds(points, count, np.random.RandomState(seed))
    labels = np.full(len(points), -1)
    for _ in range(MAX_ROUNDS):
        before, labels = labels, nearest(points, centres)
        moved = means(points, labels, centres)
        shift = np.square(moved - centres).sum()
        centres = moved
        if np.array_equal(labels, before) or shift <= tolerance:
            break
    return centres + middle


def seeds(points: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """Points to start from: of a few drawn by their squared distance to those chosen, the one that leaves least."""
    trials = 2 + int(np.log(count))
    chosen = [random.choice(len(points), p=np.full(len(points), np.float32(1) / np.float32(len(points))))]
    closest = squared_distances(points, chosen)[0]
    left = closest @ np.ones_like(closest)
    while len(chosen) < count:
        drawn = random.uniform(size=trials) * left
        candidates = np.searchsorted(np.cumsum(closest), drawn).clip(max=len(points) - 1)
        distances = np.minimum(closest, squared_distances(points, candidates))
        lefts = distances @ np.ones_like(closest)
        best = lefts.argmin()
        closest, left = distances[best], lefts[best]
        chosen.append(candidates[best])
    return points[chosen]


def squared_distances(points: np.ndarray, rows: list[int] | np.ndarray) -> np.ndarray:
    """(R, N) float32 from the points of these rows to all; formed in float64."""
    exact = points.astype(np.float64)
    norms = np.einsum("nc,nc->n", exact, exact)
    some = exact[rows]
    return np.maximum(-2 * (some @ exact.T) + norms[rows][:, None] + norms, 0).astype(np.float32)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(N,) which centre is nearest."""
    return (np.square(centres).sum(axis=1) - 2 * (points @ centres.T)).argmin(axis=1)


def means(points: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(K, 2) mean of the points of each label; the old centre where a label has none."""
    chunks = -(-len(points) // CHUNK)
    middle = -(-chunks // 2) * CHUNK
    sums = sum_by_label(points[:middle], labels[:middle], centres) + sum_by_label(
        points[middle:], labels[middle:], centres
    )
    sizes = np.bincount(labels, minlength=len(centres)).astype(np.float32)[:, None]
    return np.where(sizes > 0, sums * (1 / np.maximum(sizes, 1)), centres)


def sum_by_label(points: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(K, 2) float32, added point by point."""
    sums = np.zeros_like(centres)
    for axis in (0, 1):
        np.add.at(sums[:, axis], labels, points[:, axis])
    return sums
