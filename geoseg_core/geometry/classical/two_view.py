"""The relative pose of two uncalibrated views from their matches, and the points that both see.

Focal lengths are unknown, so a few are tried for each view; the pair that explains most matches wins, with a preference
for usual fields of view, and a final adjustment of pose and focal lengths makes the epipolar errors small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from geoseg_core.geometry.classical.config import ClassicalConfig

CONFIDENCE = 0.9999
# Samples of five matches: when focal lengths are compared, and for the chosen ones.
DRAWS_TO_COMPARE, DRAWS = 1000, 10_000
LEAST_ANGLE_RAD = np.radians(0.5)


@dataclass(frozen=True, eq=False)
class TwoView:
    """Two views and what connects them; the length of the baseline is 1.

    Attributes:
        intrinsics: of the first and the second, each (3, 3).
        second_to_first: (4, 4).
        first_px, second_px: (M, 2) inliers.
        points: (M, 3) in the frame of the first camera, NaN where the rays are nearly parallel or meet behind.
    """

    intrinsics: tuple[np.ndarray, np.ndarray]
    second_to_first: np.ndarray
    first_px: np.ndarray
    second_px: np.ndarray
    points: np.ndarray


def camera_matrix(size: tuple[int, int], field_deg: float) -> np.ndarray:
    """(3, 3) of a camera whose longer side (of `size`, height and width) sees `field_deg`; centred, square pixels."""
    height, width = size
    focal = max(size) / 2 / np.tan(np.radians(field_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def connect(
    first_px: np.ndarray,
    second_px: np.ndarray,
    candidates: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    usual: tuple[np.ndarray, np.ndarray],
    config: ClassicalConfig,
) -> TwoView | None:
    """Pose and points of two views; None where too few matches agree.

    Args:
        first_px, second_px: (M, 2) matches.
        candidates: camera matrices to try for each view; one where it is known.
        usual: the camera matrix that is expected of each.
    """
    if len(first_px) < config.least_inliers:
        return None
    found = []
    for first in candidates[0]:
        for second in candidates[1]:
            _, inliers = _essential(first_px, second_px, (first, second), config.threshold_px, DRAWS_TO_COMPARE)
            surprise = np.log(first[0, 0] / usual[0][0, 0]) ** 2 + np.log(second[0, 0] / usual[1][0, 0]) ** 2
            found.append((inliers.sum() * np.exp(-0.5 * surprise), (first, second)))
    cameras = max(found, key=lambda each: each[0])[1]
    pose, inliers = _essential(first_px, second_px, cameras, config.threshold_px, DRAWS)
    if inliers.sum() < config.least_inliers:
        return None
    free = (len(candidates[0]) > 1, len(candidates[1]) > 1)
    first_px, second_px = first_px[inliers], second_px[inliers]
    pose, cameras = _adjust(first_px, second_px, pose, cameras, usual, free, config)
    points = triangulate(_rays(first_px, cameras[0]), _rays(second_px, cameras[1]), pose)
    return TwoView(cameras, pose, first_px, second_px, points)


def triangulate(first: np.ndarray, second: np.ndarray, second_to_first: np.ndarray) -> np.ndarray:
    """Points (M, 3) half-way between the rays (M, 3) of two cameras where they come nearest, in the first one's frame;
    NaN where they are nearly parallel or meet behind a camera."""
    rotation, centre = second_to_first[:3, :3], second_to_first[:3, 3]
    one = first / np.linalg.norm(first, axis=1, keepdims=True)
    two = second @ rotation.T
    two /= np.linalg.norm(two, axis=1, keepdims=True)
    cosine = np.einsum("mc,mc->m", one, two)
    along_one, along_two = one @ centre, two @ centre
    sine2 = np.maximum(1 - cosine**2, 1e-12)
    s = (along_one - cosine * along_two) / sine2
    t = (cosine * along_one - along_two) / sine2
    points = (s[:, None] * one + centre + t[:, None] * two) / 2
    good = (s > 0) & (t > 0) & (sine2 > np.sin(LEAST_ANGLE_RAD) ** 2)
    return np.where(good[:, None], points, np.nan)


def _rays(points_px: np.ndarray, camera: np.ndarray) -> np.ndarray:
    return np.concatenate((points_px, np.ones((len(points_px), 1))), axis=1) @ np.linalg.inv(camera).T


def _essential(
    first_px: np.ndarray, second_px: np.ndarray, cameras: tuple[np.ndarray, np.ndarray], threshold_px: float, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """second_to_first (4, 4) and the inliers (M,) bool that lie before both cameras."""
    one, two = (_rays(px, camera)[:, :2] for px, camera in zip((first_px, second_px), cameras, strict=True))
    threshold = threshold_px / np.sqrt(cameras[0][0, 0] * cameras[1][0, 0])
    nothing = np.eye(4), np.zeros(len(first_px), bool)
    cv2.setRNGSeed(0)
    essential, mask = cv2.findEssentialMat(
        one, two, np.eye(3), method=cv2.USAC_MAGSAC, prob=CONFIDENCE, threshold=threshold, maxIters=draws
    )
    if essential is None or essential.shape != (3, 3):
        return nothing
    _, rotation, translation, mask = cv2.recoverPose(essential, one, two, np.eye(3), mask=mask)
    first_to_second = np.eye(4)
    first_to_second[:3, :3], first_to_second[:3, 3] = rotation, translation[:, 0]
    return np.linalg.inv(first_to_second), mask[:, 0] > 0


def _adjust(
    first_px: np.ndarray,
    second_px: np.ndarray,
    pose: np.ndarray,
    cameras: tuple[np.ndarray, np.ndarray],
    usual: tuple[np.ndarray, np.ndarray],
    free: tuple[bool, bool],
    config: ClassicalConfig,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Rotation, direction and the free focal lengths that make the epipolar errors least (Sampson, robust)."""
    expected = np.log([camera[0, 0] for camera in usual])

    def unpack(values: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        moved = np.eye(4)
        moved[:3, :3] = pose[:3, :3] @ cv2.Rodrigues(values[:3])[0]
        direction = pose[:3, 3] + values[3:6]
        moved[:3, 3] = direction / np.linalg.norm(direction)
        return moved, (_with_focal(cameras[0], values[6]), _with_focal(cameras[1], values[7]))

    def errors(values: np.ndarray) -> np.ndarray:
        moved, made = unpack(values)
        sampson = _sampson_px(first_px, second_px, moved, made) / config.threshold_px
        logs = np.log([made[0][0, 0], made[1][0, 0]]) - expected
        # Where a focal length is fixed, its pull to the start keeps the problem well posed.
        pull = np.where(free, logs / config.field_spread, 1e3 * values[6:8])
        return np.concatenate((sampson, pull, [np.linalg.norm(pose[:3, 3] + values[3:6]) - 1]))

    solved = least_squares(errors, np.zeros(8), loss="soft_l1", max_nfev=30)
    return unpack(solved.x)


def _with_focal(camera: np.ndarray, change: float) -> np.ndarray:
    changed = camera.copy()
    changed[[0, 1], [0, 1]] *= np.exp(np.clip(change, -1, 1))
    return changed


def _sampson_px(
    first_px: np.ndarray, second_px: np.ndarray, second_to_first: np.ndarray, cameras: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(M,) signed distances of matches from epipolar geometry, in pixels, to first order."""
    x, y, z = second_to_first[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.linalg.inv(cameras[0]).T @ cross @ second_to_first[:3, :3] @ np.linalg.inv(cameras[1])
    one, two = (np.concatenate((px, np.ones((len(px), 1))), axis=1) for px in (first_px, second_px))
    lines_one, lines_two = two @ matrix.T, one @ matrix
    product = np.einsum("mc,mc->m", one, lines_one)
    return product / np.sqrt((lines_one[:, :2] ** 2).sum(1) + (lines_two[:, :2] ** 2).sum(1) + 1e-12)
