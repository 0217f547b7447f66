"""The encoder without weights: measured depth, CameraInfo and tf, behind the contract of every encoder."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoseg_core.config import setting
from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.geometry.camera import check_calibration, inside, project
from geoseg_core.geometry.encoder import EncodedScene, PointTracks, ViewGeometry
from geoseg_core.geometry.pointmap import NEAR, clean_depth, depth_confidence, lift, occlusion
from geoseg_core.results import ScaleState, ScaleStatus
from geoseg_core.shapes import check_shape
from geoseg_core.views import FrameSet, View


@dataclass(frozen=True)
class RgbdConfig:
    """How measured depth is read."""

    min_depth_m: float = setting(0.05, "depth below this is taken as unknown", "m", 0.0, 10.0)
    max_depth_m: float = setting(10.0, "depth beyond this is taken as unknown", "m", 0.1, 1000.0)
    edge_ratio: float = setting(0.03, "a depth jump of this part of the depth is an edge", "", 0.001, 1.0)
    tolerance_m: float = setting(0.006, "how far a point may lie off the seen surface and count as seen", "m", 0.0, 1.0)
    tolerance_slope: float = setting(0.006, "the same, growing with depth", "m/m", 0.0, 1.0)
    scale_deviation: float = setting(0.01, "relative standard deviation of the depth cameras' scale", "", 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class RgbdScene:
    """A frame set lifted by its own depth. Keeps the contract of `EncodedScene`."""

    frames: FrameSet
    views: tuple[ViewGeometry, ...]
    scale: ScaleState
    config: RgbdConfig

    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Follow points_px (N, 2) of view `source` into the views `targets` by lifting and projecting.

        A point without depth, outside the target's image or hidden there is not visible; its confidence is 0.

        Raises:
            BadInput: points_px has another shape or lies outside the source image.
        """
        check_shape(points_px, "N 2", "points_px")
        view = self.views[source]
        columns_rows = np.rint(points_px).astype(np.intp)
        height, width = view.depth_m.shape
        if not inside(points_px, np.ones(len(points_px)), (height, width)).all():
            raise BadInput(f"points_px: expected pixels inside {width}x{height}, got {points_px.tolist()}")
        points = view.points[columns_rows[:, 1], columns_rows[:, 0]]
        confidence = view.confidence[columns_rows[:, 1], columns_rows[:, 0]]
        known = np.isfinite(points[:, 0])
        shape = (len(targets), len(points_px))
        tracks = PointTracks(np.full((*shape, 2), np.nan), np.zeros(shape, bool), np.zeros(shape, np.float32))
        for row, target in enumerate(targets):
            goal = self.views[target]
            tracks.points_px[row], _ = project(points, goal.intrinsics, goal.camera_to_world)
            state = occlusion(np.nan_to_num(points), goal, self.config.tolerance_m, self.config.tolerance_slope)
            tracks.visible[row] = known & (state == NEAR)
            tracks.confidence[row] = np.where(tracks.visible[row], confidence, 0)
        return tracks

    def features(self, layers: tuple[int, ...]) -> list[Any]:
        """Raises GeosegError: measured depth has no token features."""
        raise GeosegError(f"features of layers {layers}: the encoder 'rgbd' has none; choose a learned encoder")


class RgbdEncoder:
    """Calibrated RGB-D views to world points."""

    name = "rgbd"

    def __init__(self, config: RgbdConfig = RgbdConfig()) -> None:  # noqa: B008 (frozen)
        self.config = config

    def encode(self, frames: FrameSet) -> EncodedScene:
        """Lift every view that has depth and calibration; the others join `frames.missing`.

        Raises:
            BadInput: no view can be used; the message says what each one lacks.
        """
        lacking = {view.camera: lack for view in frames.views if (lack := _lack(view, len(frames.views)))}
        usable = tuple(view for view in frames.views if view.camera not in lacking)
        if not usable:
            raise BadInput(f"encoder 'rgbd': expected a view with depth, intrinsics and pose, got {lacking}")
        if lacking:
            frames = replace(frames, views=usable, missing=(*frames.missing, *lacking))
        scale = ScaleState(ScaleStatus.LOCKED, "depth_camera", self.config.scale_deviation)
        return RgbdScene(frames, tuple(self._lift(view) for view in usable), scale, self.config)

    def _lift(self, view: View) -> ViewGeometry:
        assert view.depth_m is not None  # `_lack` let it pass
        pose = np.eye(4) if view.camera_to_world is None else view.camera_to_world
        depth_m = clean_depth(view.depth_m, self.config.min_depth_m, self.config.max_depth_m)
        intrinsics = np.asarray(view.intrinsics, np.float64)
        confidence = depth_confidence(depth_m, self.config.edge_ratio)
        return ViewGeometry(depth_m, confidence, intrinsics, pose, lift(depth_m, intrinsics, pose))


def _lack(view: View, view_count: int) -> str:
    """What keeps a view from being lifted, "" if nothing does. Several views need a common world frame."""
    if view.depth_m is None:
        return "no depth"
    if view.camera_to_world is None and view_count > 1:
        return "no camera_to_world"
    try:
        check_calibration(view)
    except BadInput as error:
        return str(error)
    return ""
