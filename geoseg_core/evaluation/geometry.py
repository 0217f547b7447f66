"""How far predicted cameras, depth and point tracks are from the truth. Nothing here knows an encoder or a dataset.

Definitions, as the tables use them:

- Rotation error of a pair: angle of the rotation that is left between the predicted and the true motion of the camera.
- Direction error of a pair: angle between predicted and true translation, both in the first camera's frame, 0 to 180
  degrees. Lengths play no part, since no scale is known. Where the true translation is shorter than LEAST_BASELINE its
  direction says nothing, and the error is 0.
- AUC@30: area below the curve "share of pairs whose max(rotation error, direction error) is at most x", x from 0 to 30
  degrees, divided by 30; so 1 for a perfect encoder. The published protocol (VGGT, RealEstate10K) lets a direction
  that points backwards pass as a forward one, by min(angle, 180 - angle); `folded` says to do so.
- AbsRel: mean of |scale * depth - truth| / truth; delta < 1.25: share of pixels where the larger of the two is less
  than 1.25 times the other. One scale for all views of a set: the median of truth / depth. Every pixel with a true
  depth counts; one that the encoder left unknown has depth 0, so AbsRel 1.
- PCK at p %: share of truly visible points that are predicted within p % of the target image's width.
"""

from collections.abc import Sequence

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.transforms import invert

AUC_LIMIT_DEG = 30.0
DELTA = 1.25
LEAST_BASELINE = 1e-3


def relative_pose(first_to_world: np.ndarray, second_to_world: np.ndarray) -> np.ndarray:
    """second_to_first (4, 4): where the second camera is in the frame of the first."""
    return invert(np.asarray(first_to_world, np.float64)) @ np.asarray(second_to_world, np.float64)


def rotation_error_deg(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Degrees between the rotations of two (4, 4) poses."""
    left = predicted[:3, :3].T @ truth[:3, :3]
    # The arc cosine of the trace loses half of the digits near 0; the skew part has them.
    sine = np.linalg.norm([left[2, 1] - left[1, 2], left[0, 2] - left[2, 0], left[1, 0] - left[0, 1]])
    return float(np.degrees(np.arctan2(sine, np.trace(left) - 1)))


def direction_error_deg(predicted: np.ndarray, truth: np.ndarray, folded: bool = False) -> float:
    """Degrees between the translations of two (4, 4) poses; 90 where none is predicted."""
    wanted, found = truth[:3, 3], predicted[:3, 3]
    if np.linalg.norm(wanted) < LEAST_BASELINE:
        return 0.0
    if not np.linalg.norm(found) > 0:
        return 90.0
    angle = float(np.degrees(np.arctan2(np.linalg.norm(np.cross(found, wanted)), found @ wanted)))
    return min(angle, 180 - angle) if folded else angle


def area_under_curve(errors: Sequence[float], limit: float = AUC_LIMIT_DEG) -> float:
    """Area below the share of errors that are at most x, for x from 0 to `limit`, divided by `limit`.

    Raises:
        BadInput: no error.
    """
    if not len(errors):
        raise BadInput("area under the curve: expected at least one error, got none")
    return float(np.mean(np.clip(1 - np.asarray(errors, np.float64) / limit, 0, 1)))


def depth_scale(predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """The median of truth / predicted over all pixels of all views where both are known; 1 where none is."""
    ratios = [true[both] / found[both] for found, true, both in _known(predicted, truth)]
    joined = np.concatenate(ratios) if ratios else np.zeros(0)
    return float(np.median(joined)) if joined.size else 1.0


def depth_errors(predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> tuple[float, float]:
    """AbsRel and delta < 1.25 of the views of one set, after its one scale.

    Args:
        predicted: (H, W) of each view, 0 where unknown.
        truth: the same; views may differ in size.

    Raises:
        BadInput: no pixel has a true depth.
    """
    scale = depth_scale(predicted, truth)
    found = np.concatenate([each[true > 0] for each, true in zip(predicted, truth, strict=True)]).astype(np.float64)
    wanted = np.concatenate([true[true > 0] for true in truth]).astype(np.float64)
    if not wanted.size:
        raise BadInput("depth errors: expected a true depth in at least one pixel, got none")
    found = np.where(np.isfinite(found), found, 0) * scale
    within = (found * DELTA > wanted) & (found < wanted * DELTA)
    return float(np.mean(np.abs(found - wanted) / wanted)), float(np.mean(within))


def track_shares(
    predicted_px: np.ndarray, truth_px: np.ndarray, visible: np.ndarray, width: int, percents: Sequence[float]
) -> list[float]:
    """PCK at each of `percents` over the visible points.

    Args:
        predicted_px, truth_px: (N, 2); visible: (N,) bool, the truth; width: of the target image, pixels.

    Raises:
        BadInput: no point is visible.
    """
    if not visible.any():
        raise BadInput("point tracks: expected at least one visible point, got none")
    distance = np.linalg.norm(predicted_px[visible] - truth_px[visible], axis=1)
    return [float(np.mean(distance <= percent / 100 * width)) for percent in percents]


def _known(
    predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    pairs = zip(predicted, truth, strict=True)
    return [(found, true, (found > 0) & np.isfinite(found) & (true > 0)) for found, true in pairs]
