"""The contract that every geometry encoder keeps: a frame set in, an encoded scene out, once per set."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from geoseg_core.results import ScaleState
from geoseg_core.views import FrameSet


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """Geometry of one view at the resolution of its image.

    Attributes:
        depth_m: (H, W) float32 along z; 0 where unknown.
        confidence: (H, W) float32 in [0, 1].
        intrinsics: (3, 3) float64, pixels.
        camera_to_world: (4, 4) float64.
        points: (H, W, 3) float32 in the world frame; NaN where depth is unknown.
    """

    depth_m: np.ndarray
    confidence: np.ndarray
    intrinsics: np.ndarray
    camera_to_world: np.ndarray
    points: np.ndarray


@dataclass(frozen=True, eq=False)
class PointTracks:
    """Points of one view followed into others: points_px (T, N, 2), visible (T, N) bool,
    confidence (T, N) in [0, 1]; T targets in the order asked for."""

    points_px: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray


class EncodedScene(Protocol):
    """One frame set, encoded. Readouts ask it for geometry, tracks and features."""

    @property
    def frames(self) -> FrameSet:
        """The views that were encoded; `frames.missing` names those that could not be."""

    @property
    def views(self) -> tuple[ViewGeometry, ...]:
        """Geometry of each view, in the order of `frames.views`."""

    @property
    def scale(self) -> ScaleState:
        """Whether lengths are metres, and how that is known."""

    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Follow points_px (N, 2) of view `source` into the views `targets`."""

    def features(self, layers: tuple[int, ...]) -> list[Any]:
        """Token features of the given layers, each (V, P, C); an encoder without any raises GeosegError."""


class GeometryEncoder(Protocol):
    """Images (and what is known of their cameras) to an encoded scene."""

    name: str

    def encode(self, frames: FrameSet) -> EncodedScene:
        """Encode a set once; every readout works on the result."""
