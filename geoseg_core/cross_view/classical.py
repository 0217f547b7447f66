"""Masks carried without learning and without geometry: what learned transfers are compared with.

Features inside a mask are matched with the whole target image (nearest in both directions, ratio test). A homography is
fitted to the matches (RANSAC), or an affine map where too few of them agree on one, and takes the mask along. Where
neither holds the mask is empty.

    transfer = ClassicalTransfer()
    masks = transfer(Unencoded(frames), source=0, masks=marked).masks  # per view (K, H, W)
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from geoseg_core.config import setting
from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks, no_masks, state_of
from geoseg_core.geometry.classical.config import ClassicalConfig
from geoseg_core.geometry.classical.matching import Features, find_features, match_features
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet

CONFIDENCE = 0.999
DRAWS = 5000


@dataclass(frozen=True)
class ClassicalTransferConfig:
    """What is matched, and how many matches make a map. Of `matching`, what finds and matches features counts."""

    matching: ClassicalConfig = field(default_factory=ClassicalConfig)
    threshold_px: float = setting(3.0, "matches agree with a map that takes them so near to each other", "px", 0.1)
    least_homography: int = setting(8, "fewer agreeing matches make no homography", low=4)
    least_affine: int = setting(4, "fewer agreeing matches make no affine map", low=3)


@dataclass(frozen=True, eq=False)
class Unencoded:
    """Views that no encoder has seen."""

    frames: FrameSet


@dataclass(frozen=True, eq=False)
class Warp:
    """A map (3, 3) from pixels of the source to pixels of the target, and the share of the matches that agree."""

    matrix: np.ndarray
    agreeing: float


class ClassicalTransfer:
    """Keeps the contract of `MaskTransfer`, and asks nothing of the scene but its images.

    The score is the share of the matches that agree with the map. An object without a map counts as hidden.
    """

    def __init__(
        self,
        config: ClassicalTransferConfig = ClassicalTransferConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.config = config

    def __call__(self, scene: Unencoded | EncodedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source` into all views.

        Raises:
            BadInput: see `checked_masks`.
        """
        masks = checked_masks(scene.frames, source, masks)
        if not len(masks):
            return no_masks(scene.frames)
        views = scene.frames.views
        features = [find_features(view.image, self.config.matching) for view in views]
        insides = [within(features[source], mask) for mask in masks]
        found, states, scores = [], [], []
        for index, view in enumerate(views):
            if index == source:
                found.append(masks)
                states.append([Visibility.VISIBLE] * len(masks))
                scores.append([1.0] * len(masks))
                continue
            there = [
                carried(mask, self._warp(inside, features[index], mask), view.size)
                for inside, mask in zip(insides, masks, strict=True)
            ]
            warped, seen, trust = zip(*there, strict=True)
            found.append(np.stack(warped))
            states.append(list(seen))
            scores.append(list(trust))
        return TransferredMasks(tuple(found), np.array(states), np.array(scores))

    def _warp(self, inside: Features, target: Features, mask: np.ndarray) -> Warp | None:
        return fitted(*match_features(inside, target, self.config.matching.ratio), mask, self.config)


def within(features: Features, mask: np.ndarray) -> Features:
    """The features whose place is on a mask (H, W)."""
    columns, rows = np.rint(features.points_px).astype(np.intp).clip(0, (mask.shape[1] - 1, mask.shape[0] - 1)).T
    inside = mask[rows, columns]
    return Features(features.points_px[inside], features.descriptors[inside])


def fitted(
    source_px: np.ndarray, target_px: np.ndarray, mask: np.ndarray, config: ClassicalTransferConfig
) -> Warp | None:
    """The map of matches (M, 2) of a mask (H, W); None where too few agree, or the mask would be turned over."""
    corners = corners_of(mask)
    cv2.setRNGSeed(0)
    for fit, least in ((homography, config.least_homography), (affine, config.least_affine)):
        if len(source_px) < least:
            continue
        matrix, agree = fit(source_px, target_px, config.threshold_px)
        if agree.sum() >= least and keeps_side(matrix, corners):
            return Warp(matrix, float(agree.mean()))
    return None


def homography(source_px: np.ndarray, target_px: np.ndarray, threshold_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A homography (3, 3) and which matches (M,) agree; none do where there is none."""
    matrix, agree = cv2.findHomography(
        source_px, target_px, cv2.RANSAC, threshold_px, maxIters=DRAWS, confidence=CONFIDENCE
    )
    return (np.eye(3), np.zeros(len(source_px), bool)) if matrix is None else (matrix, agree[:, 0] > 0)


def affine(source_px: np.ndarray, target_px: np.ndarray, threshold_px: float) -> tuple[np.ndarray, np.ndarray]:
    """An affine map (3, 3) and which matches (M,) agree; none do where there is none."""
    matrix, agree = cv2.estimateAffine2D(
        source_px, target_px, None, cv2.RANSAC, threshold_px, maxIters=DRAWS, confidence=CONFIDENCE
    )
    if matrix is None:
        return np.eye(3), np.zeros(len(source_px), bool)
    return np.concatenate((matrix, [[0.0, 0.0, 1.0]])), agree[:, 0] > 0


def corners_of(mask: np.ndarray) -> np.ndarray:
    """(4, 2) corners of the box of a mask (H, W)."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    right, bottom = left + width - 1, top + height - 1
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def keeps_side(matrix: np.ndarray, points_px: np.ndarray) -> bool:
    """Whether a map (3, 3) leaves what lies between points (N, 2) in one piece and does not mirror it."""
    denominators = points_px @ matrix[2, :2] + matrix[2, 2]
    return bool((np.linalg.det(matrix) * denominators > 0).all())


def carried(mask: np.ndarray, warp: Warp | None, size: tuple[int, int]) -> tuple[np.ndarray, Visibility, float]:
    """A mask (H, W) in a view of a size (height, width), whether it is to be seen there, and its score."""
    if warp is None:
        return np.zeros(size, bool), Visibility.OCCLUDED, 0.0
    there = cv2.warpPerspective(mask.view(np.uint8), warp.matrix, size[::-1], flags=cv2.INTER_NEAREST) > 0
    corners = cv2.perspectiveTransform(corners_of(mask)[None], warp.matrix)[0]
    return there, state_of(there, corners, size), warp.agreeing if there.any() else 0.0
