"""The pose of one camera to another from matched pixels and the depth that a network gives each of them.

First guesses come from three matches at a time (a similarity of the two sets of points; Umeyama 1991). The best are
refined with the focal lengths and the ratio of the two depth scales by robust least squares (Levenberg-Marquardt,
Geman-McClure weights). Guesses are compared by a judge: how many matches agree, or what else is known of the views.
An error of predicted depth moves a point along its epipolar line in the other view, so errors count little in that
direction and much across it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

GUESSES = 128
# Expected errors of right matches: parts of the image width, of depth (log), of the predicted focal length (log).
PIXEL_PART, DEPTH_PART, FOCAL_PART = 0.012, 0.15, 0.25
# A match agrees with a pose up to this square of its error over the expected one (three numbers).
AGREES = 12.0
STEPS = 8
DELTA, SETTLED = 1e-5, 1e-4
LEAST_MATCHES = 6
# So many of the best guesses are refined.
REFINED = 2

# Poses (G, 9), as rotation vector, translation, log scale and two log focal lengths -> (G,), the higher the better.
Judge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Matches:
    """Matched places of two views.

    Attributes:
        first, second: (N, 2) pixels about the principal points, in widths of the image.
        first_depth, second_depth: (N,) predicted depths, each view's in its own unit.
        weight: (N,) trust in each match, in [0, 1].
    """

    first: np.ndarray
    second: np.ndarray
    first_depth: np.ndarray
    second_depth: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class RelativePose:
    """The second camera as the first one sees it.

    Attributes:
        second_to_first: (4, 4); lengths in units of the first view's depth.
        scale: the second view's depth times this is in units of the first view's.
        focals: of both views, in widths of the image.
        support: sum of the weights of matches that agree.
    """

    second_to_first: np.ndarray
    scale: float
    focals: tuple[float, float]
    support: float


def relative_pose(
    matches: Matches, focals: tuple[float, float], judge: Judge | None = None, seed: int = 0
) -> RelativePose:
    """Solve for the pose; with too few matches that agree, the support is 0 and the cameras stand in one place.

    Args:
        matches: some of them wrong.
        focals: predicted, in widths of the image.
        judge: compares poses; by default by the matches that agree.
        seed: of the guesses.
    """
    unknown = RelativePose(np.eye(4), 1.0, focals, 0.0)
    if np.count_nonzero(matches.weight > 0) < LEAST_MATCHES:
        return unknown
    judge = judge or (lambda parameters: agreement(matches, parameters))
    starts = first_guesses(matches, focals, seed)
    if not len(starts):
        return unknown
    starts = starts[np.argsort(-judge(starts), kind="stable")[:REFINED]]
    tried = np.concatenate((starts, [refine(matches, start, focals) for start in starts]))
    return described(matches, tried[judge(tried).argmax()])


def refined_pose(pose: RelativePose, guided: Matches, matches: Matches, focals: tuple[float, float]) -> RelativePose:
    """A pose refined with matches that it guided; its support is that of the others."""
    return described(matches, refine(guided, parameters_of(pose), focals))


def parameters_of(pose: RelativePose) -> np.ndarray:
    """(9,) rotation vector, translation, log scale, two log focal lengths."""
    turn = Rotation.from_matrix(pose.second_to_first[:3, :3]).as_rotvec()
    return np.concatenate((turn, pose.second_to_first[:3, 3], np.log((pose.scale, *pose.focals))))


def described(matches: Matches, found: np.ndarray) -> RelativePose:
    """The pose with parameters (9,), and how many of the matches agree with it."""
    support = float(matches.weight[squared_errors(matches, found[None])[0] < AGREES].sum())
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(found[:3]).as_matrix(), found[3:6]
    return RelativePose(pose, float(np.exp(found[6])), (float(np.exp(found[7])), float(np.exp(found[8]))), support)


def agreement(matches: Matches, parameters: np.ndarray) -> np.ndarray:
    """(G,) how many matches agree with poses (G, 9), the better the more."""
    return (matches.weight * np.maximum(1 - squared_errors(matches, parameters) / AGREES, 0)).sum(axis=1)


def first_guesses(matches: Matches, focals: tuple[float, float], seed: int) -> np.ndarray:
    """Parameters (G, 9) of the similarities through three matches each."""
    generator = np.random.default_rng(seed)
    chance = matches.weight / matches.weight.sum()
    # Gumbel keys draw three different matches for each guess, heavier ones more often.
    with np.errstate(divide="ignore"):
        keys = np.log(chance) - np.log(-np.log(generator.random((GUESSES, len(chance)))))
    triples = np.argpartition(keys, -3, axis=1)[:, -3:]
    first, second = (
        lifted(pixels, depth, np.log([focal]))[0]
        for pixels, depth, focal in zip(
            (matches.first, matches.second), (matches.first_depth, matches.second_depth), focals, strict=True
        )
    )
    guesses = similarities(second[triples], first[triples])
    solved = np.isfinite(guesses).all(axis=1)
    return np.concatenate((guesses[solved], np.tile(np.log(focals), (solved.sum(), 1))), axis=1)


def similarities(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarities of point sets (G, N, 3): rotation vector, translation, log scale, (G, 7)."""
    centre_s, centre_t = source.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    moved_s, moved_t = source - centre_s, target - centre_t
    u, values, vt = np.linalg.svd(np.einsum("gni,gnj->gij", moved_t, moved_s))
    sign = np.ones_like(values)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = np.einsum("gij,gj,gjk->gik", u, sign, vt)
    spread = np.einsum("gni,gni->g", moved_s, moved_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (values * sign).sum(axis=1) / spread
        log_scale = np.log(scale)
    shift = centre_t[:, 0] - scale[:, None] * np.einsum("gij,gj->gi", rotation, centre_s[:, 0])
    good = np.isfinite(log_scale) & np.isfinite(rotation).all(axis=(1, 2))
    result = np.full((len(source), 7), np.nan)
    result[good, :3] = Rotation.from_matrix(rotation[good]).as_rotvec()
    result[good, 3:6], result[good, 6] = shift[good], log_scale[good]
    return result


def lifted(pixels: np.ndarray, depth: np.ndarray, log_focals: np.ndarray) -> np.ndarray:
    """Points (G, N, 3) of a view in its camera frame, for log focal lengths (G,)."""
    slopes = pixels / np.exp(log_focals[:, None, None])
    return np.concatenate((slopes, np.ones((*slopes.shape[:2], 1))), axis=-1) * depth[:, None]


def moved_points(matches: Matches, parameters: np.ndarray, deeper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the first view in the second camera's frame under parameters (G, 9).

    Args:
        deeper: (N,) what is added to the log of the first view's depth, over the error to expect of it.

    Returns:
        (G, N, 3), and where the first camera stands (G, 1, 3).
    """
    back = Rotation.from_rotvec(parameters[:, :3]).as_matrix()  # second to first, so rows times it go back
    first = lifted(matches.first, matches.first_depth * np.exp(DEPTH_PART * deeper), parameters[:, 7])
    stands = -parameters[:, None, 3:6] @ back
    return first @ back + stands, stands


def misses(matches: Matches, parameters: np.ndarray, points: np.ndarray, deeper: np.ndarray) -> np.ndarray:
    """How far matches miss under parameters (G, 9), which move the first view's points to (G, N, 3).

    Returns:
        (G, N, 4) errors over those to expect: the two pixel coordinates in the second view, the log of the ratio of
        both depths there, and `deeper` (N,) itself.
    """
    depth, ahead, focal = surroundings(matches, parameters, points)
    found = np.empty((*points.shape[:2], 4))
    found[..., :2] = focal * points[..., :2] / ahead - matches.second / PIXEL_PART
    found[..., 2] = np.log(ahead / depth)[..., 0] / DEPTH_PART
    found[..., 3] = deeper
    return found


def misses_by_depth(matches: Matches, parameters: np.ndarray, points: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """(G, N, 4) how `misses` change with `deeper`, of both that `moved_points` gives."""
    _, ahead, focal = surroundings(matches, parameters, points)
    along = DEPTH_PART * (points - stands)
    found = np.ones((*points.shape[:2], 4))
    found[..., :2] = focal * (along[..., :2] - points[..., :2] * along[..., 2:] / ahead) / ahead
    found[..., 2] = along[..., 2] / ahead[..., 0] / DEPTH_PART
    return found


def surroundings(
    matches: Matches, parameters: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of points (G, N, 3) in the second camera's frame: the depth (G, N, 1) that the second view has there, their own,
    no less than a part of that, and its focal lengths (G, 1, 1) over the error to expect of pixels."""
    depth = (np.exp(parameters[:, 6, None]) * matches.second_depth)[..., None]
    return depth, np.maximum(points[..., 2:], 1e-3 * depth), np.exp(parameters[:, 8, None, None]) / PIXEL_PART


def without(direction: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The part of errors (..., 4) that no change along `direction` (..., 4) takes away."""
    share = (errors * direction).sum(axis=-1, keepdims=True) / (direction**2).sum(axis=-1, keepdims=True)
    return errors - share * direction


def squared_errors(matches: Matches, parameters: np.ndarray) -> np.ndarray:
    """(G, N) squares of what is left of the errors when each match has the depth that suits it best, to first order;
    3 is to be expected where a match is right."""
    level = np.zeros(len(matches.weight))
    points, stands = moved_points(matches, parameters, level)
    off, along = misses(matches, parameters, points, level), misses_by_depth(matches, parameters, points, stands)
    return (without(along, off) ** 2).sum(axis=-1)


@np.errstate(over="ignore", invalid="ignore")  # steps too far, which are not taken
def refine(matches: Matches, start: np.ndarray, focals: tuple[float, float]) -> np.ndarray:
    """Levenberg-Marquardt from parameters (9,): rotation vector, translation, log scale, two log focal lengths.

    The depth of each match in the first view is solved for as well and eliminated (Schur complement).
    """
    prior, damping, best = np.log(focals), 1e-3, start
    deeper = np.zeros(len(matches.weight))
    for _ in range(STEPS):
        around = np.concatenate((best[None], best + DELTA * np.eye(9)))
        points, stands = moved_points(matches, around, deeper)
        off = misses(matches, around, points, deeper)
        errors, by_depth = off[0], misses_by_depth(matches, best[None], points[:1], stands[:1])[0]
        change = (off[1:] - errors) / DELTA  # (9, N, 4)
        weight = matches.weight / (1 + (errors**2).sum(axis=-1) / AGREES) ** 2
        left = (without(by_depth, change) * np.sqrt(weight)[:, None]).reshape(9, -1)
        normal, slope = left @ left.T, left @ (errors * np.sqrt(weight)[:, None]).ravel()
        normal[[7, 8], [7, 8]] += 1 / FOCAL_PART**2
        slope[7:] += (best[7:] - prior) / FOCAL_PART**2
        step = np.linalg.solve(normal + np.diag(damping * np.diag(normal) + 1e-12), -slope)
        moved = errors + np.tensordot(step, change, axes=1)
        nearer = deeper - (moved * by_depth).sum(axis=-1) / (by_depth**2).sum(axis=-1)
        tried = (best + step)[None]
        after = misses(matches, tried, moved_points(matches, tried, nearer)[0], nearer)[0]
        before, after = cost(matches, best, errors, prior), cost(matches, best + step, after, prior)
        if after < before:
            best, deeper, damping = best + step, nearer, damping / 5
            if before - after < SETTLED * before:
                break
        else:
            damping *= 10
    return best


def cost(matches: Matches, parameters: np.ndarray, errors: np.ndarray, prior: np.ndarray) -> float:
    """What `refine` makes small, of parameters (9,) and the errors (N, 4) under them."""
    squared = (errors**2).sum(axis=-1)
    focal = (((parameters[7:] - prior) / FOCAL_PART) ** 2).sum()
    return float((squared / (1 + squared / AGREES) * matches.weight).sum() + focal)
