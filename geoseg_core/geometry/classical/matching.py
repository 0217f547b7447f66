"""SIFT or ORB features of an image and the matches between two, with Lowe's ratio test in both directions."""

from dataclasses import dataclass

import cv2
import numpy as np

from geoseg_core.geometry.classical.config import ClassicalConfig

# Rows of the table of similarities that are made at a time.
ROWS = 2048
# Small images are nearly all margin by OpenCV's defaults, and dark ones have no corners.
ORB_MARGIN_PX, ORB_STEP = 16, 5


@dataclass(frozen=True, eq=False)
class Features:
    """Points of one image: points_px (N, 2) float64; descriptors (N, D) float32 of unit length."""

    points_px: np.ndarray
    descriptors: np.ndarray


def find_features(image: np.ndarray, config: ClassicalConfig) -> Features:
    """Features of an (H, W, 3) uint8 RGB image."""
    sift = config.detector == "sift"
    detector: cv2.Feature2D = cv2.SIFT.create(config.features, 3, config.contrast)
    if not sift:
        detector = cv2.ORB.create(config.features, edgeThreshold=ORB_MARGIN_PX, fastThreshold=ORB_STEP)
    if config.tilts:
        detector = cv2.AffineFeature.create(detector, config.tilts)
    found, descriptors = detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    if not found:
        return Features(np.zeros((0, 2)), np.zeros((0, detector.descriptorSize()), np.float32))
    points = np.array([each.pt for each in found], np.float64)
    return Features(points, unit_histograms(descriptors) if sift else unit_bits(descriptors))


def unit_histograms(descriptors: np.ndarray) -> np.ndarray:
    """Histograms (N, D) as unit vectors whose distance is Hellinger's (RootSIFT)."""
    shares = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)
    return np.sqrt(shares).astype(np.float32)


def unit_bits(descriptors: np.ndarray) -> np.ndarray:
    """Bits, packed as (N, D / 8) uint8, as unit vectors (N, D) whose squared distance is 4 / D for each other bit."""
    signs = 2 * np.unpackbits(descriptors, axis=1).astype(np.float32) - 1
    return signs / np.float32(np.sqrt(signs.shape[1]))


def match_features(first: Features, second: Features, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (M, 2) of the first image and their partners (M, 2) in the second: nearest in both directions, and
    nearer than `ratio` times the second nearest."""
    if len(first.points_px) < 2 or len(second.points_px) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    rows = [_two_best(first.descriptors[start : start + ROWS], second.descriptors)
            for start in range(0, len(first.descriptors), ROWS)]  # fmt: skip
    best, similarity = (np.concatenate(each) for each in zip(*rows, strict=True))
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    back = np.concatenate([
        _two_best(second.descriptors[start : start + ROWS], first.descriptors)[0][:, 0]
        for start in range(0, len(second.descriptors), ROWS)
    ])
    mutual = back[best[:, 0]] == np.arange(len(best))
    chosen = np.flatnonzero(mutual & (distance[:, 0] < ratio * distance[:, 1]))
    return _without_repeats(first.points_px[chosen], second.points_px[best[chosen, 0]])


def _two_best(rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (R, 2) and similarities (R, 2) of the two nearest, nearest first."""
    table = rows @ others.T
    places = np.argpartition(-table, 1, axis=1)[:, :2]
    values = np.take_along_axis(table, places, axis=1)
    order = np.argsort(-values, axis=1)
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


def _without_repeats(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of several orientations or tilts stand at one place; each pair of places counts once."""
    _, kept = np.unique(np.rint(np.concatenate((first, second), axis=1)), axis=0, return_index=True)
    kept.sort()
    return first[kept], second[kept]
