"""Predicted camera poses fitted to known ones: rotations count as well as centres, and wrong cameras are left out.

Two cameras suffice: their rotations give the orientation, their baseline the scale. With one the scale stays open.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.similarity import Similarity, angle_deg, nearest_rotation
from geoseg_core.shapes import check_shape

MODES = ("similarity", "rigid", "scale")
MAX_PAIRS = 300


@dataclass(frozen=True)
class PoseGate:
    """How far a predicted camera may lie off its known pose and still count.

    Attributes:
        rotation_deg: in its direction.
        offset: in its place, as part of the cameras' distance (root mean square) from their centre.
    """

    rotation_deg: float = 8.0
    offset: float = 0.25


@dataclass(frozen=True, eq=False)
class PoseFit:
    """The similarity that brings predicted cameras to known ones.

    Attributes:
        deviation: relative standard deviation of the scale; infinite where nothing fixes it or no two cameras agree.
        inliers: (N,) bool, the cameras that agree with it; none where no two do: then all count.
        rotation_deg: (N,) how far each camera is turned off its known pose.
        offset: (N,) how far each lies off it, as part of the known cameras' distance (r.m.s.) from their centre.
        centres: (2, 3), mean predicted and mean known place of the inliers: what stays fixed when the scale changes.
    """

    similarity: Similarity
    deviation: float
    inliers: np.ndarray
    rotation_deg: np.ndarray
    offset: np.ndarray
    centres: np.ndarray

    def at_scale(self, scale: float) -> Similarity:
        """The fit with a scale that is known from elsewhere."""
        rotation = self.similarity.rotation
        return Similarity(scale, rotation, self.centres[1] - scale * rotation @ self.centres[0])


def fit_poses(
    predicted: np.ndarray,
    known: np.ndarray,
    mode: str = "similarity",
    gate: PoseGate = PoseGate(),  # noqa: B008 (frozen)
    noise: float = 0.0,
) -> PoseFit:
    """Fit camera_to_world matrices (N, 4, 4) to known ones (N, 4, 4).

    Args:
        mode: "similarity"; "rigid": without scale; "scale": nothing but the scale, the worlds being one.
        noise: standard deviation of a predicted place along each axis, in the unit of the prediction; the fit's own
            residuals count where they are larger.

    Raises:
        BadInput: no camera, other shapes, numbers that are not finite, or an unknown mode.
    """
    count = check_shape(predicted, "N 4 4", "predicted poses")["N"]
    check_shape(known, f"{count} 4 4", "known poses")
    if mode not in MODES or count == 0 or not (np.isfinite(predicted).all() and np.isfinite(known).all()):
        raise BadInput(f"poses: expected finite poses of cameras and a mode of {MODES}, got {count} and {mode!r}")
    everything = np.ones(count, bool)
    if mode == "scale" or count == 1:
        return _fit(predicted, known, everything, mode, noise)
    best = _consensus(predicted, known, mode, gate)
    if best is None:
        return replace(_fit(predicted, known, everything, mode, noise), deviation=float("inf"), inliers=~everything)
    return _fit(predicted, known, best, mode, noise)


def _consensus(predicted: np.ndarray, known: np.ndarray, mode: str, gate: PoseGate) -> np.ndarray | None:
    """The cameras (N,) bool that the pair with the most followers agrees with; None where no two agree."""
    best, best_score = None, (1, 0.0)
    pairs = list(combinations(range(len(known)), 2))
    if len(pairs) > MAX_PAIRS:
        chosen = np.random.default_rng(0).choice(len(pairs), MAX_PAIRS, replace=False)
        pairs = [pairs[index] for index in chosen]
    for pair in pairs:
        fit = _fit(predicted, known, np.isin(np.arange(len(known)), pair), mode, 0.0)
        near = (fit.rotation_deg <= gate.rotation_deg) & (fit.offset <= gate.offset)
        errors = fit.rotation_deg / gate.rotation_deg + fit.offset / gate.offset
        score = (int(near.sum()), -float(errors[near].sum()))
        if near[list(pair)].all() and score > best_score:
            best, best_score = near, score
    return best


def _fit(predicted: np.ndarray, known: np.ndarray, chosen: np.ndarray, mode: str, noise: float) -> PoseFit:
    """Least squares over the chosen cameras."""
    start, goal = predicted[:, :3, 3], known[:, :3, 3]
    from_centre, to_centre = start[chosen].mean(0), goal[chosen].mean(0)
    if mode == "scale":
        from_centre, to_centre = np.zeros(3), np.zeros(3)
    here, there = start[chosen] - from_centre, goal[chosen] - to_centre
    spread, known_spread = float(np.linalg.norm(here)), float(np.linalg.norm(there))
    turns = known[:, :3, :3] @ np.swapaxes(predicted[:, :3, :3], 1, 2)
    rotation = np.eye(3) if mode == "scale" else _rotation(turns[chosen], here, there, spread * known_spread)
    free = mode != "rigid" and spread > 0 and known_spread > 0
    scale = known_spread / spread if free else 1.0
    similarity = Similarity(scale, rotation, to_centre - scale * rotation @ from_centre)
    errors = np.linalg.norm(similarity.apply(start) - goal, axis=1)
    # Of 3 numbers for each camera, the scale takes one and the place of the world three (none where it is given).
    left_over = max(3 * int(chosen.sum()) - (1 if mode == "scale" else 4), 1)
    own = float(np.sqrt((errors[chosen] ** 2).sum() / left_over))
    deviation = max(own, noise * scale) / known_spread if free else float("inf")
    offset = errors * np.sqrt(chosen.sum()) / known_spread if known_spread > 0 else np.zeros(len(errors))
    centres = np.stack((from_centre, to_centre))
    turned = angle_deg(turns @ rotation.T)
    return PoseFit(similarity, 0.0 if mode == "rigid" else deviation, chosen, turned, offset, centres)


def _rotation(turns: np.ndarray, here: np.ndarray, there: np.ndarray, spreads: float) -> np.ndarray:
    """The mean (3, 3) of what each camera's rotation says and of what the centres' directions say."""
    places = there.T @ here / spreads if spreads > 0 else np.zeros((3, 3))
    return nearest_rotation(turns.mean(0) + places)
