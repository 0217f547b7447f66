"""From the messages of one synchronised set to a FrameSet; a bad message costs its camera, not the set."""

import time
from typing import Any

import numpy as np

from geoseg_core.errors import BadInput, TransformError
from geoseg_core.imaging import to_depth_m, to_rgb
from geoseg_core.synchronizer import DEPTH, IMAGE, SyncedSet
from geoseg_core.views import FrameSet, View
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.diagnostics import Statistics
from geoseg_ros.parameters import NodeConfig
from geoseg_ros.sensor_messages import image_from_msg, time_from_msg


class FrameBuilder:
    """Decodes the sets of one node."""

    def __init__(self, rig: CameraRig, config: NodeConfig, statistics: Statistics) -> None:
        self._rig = rig
        self._config = config
        self._statistics = statistics

    def build(self, synced: SyncedSet) -> FrameSet | None:
        """The views that can be decoded, the others named as missing; None where none can."""
        deadline_s = time.monotonic() + self._config.tf_wait_s
        views = [self._view(camera, kinds, deadline_s) for camera, kinds in synced.items.items()]
        good = tuple(view for view in views if view is not None)
        names = {view.camera for view in good}
        missing = tuple(camera for camera in self._config.cameras if camera not in names)
        return FrameSet(good, missing) if good else None

    def _view(self, camera: str, kinds: dict[str, Any], deadline_s: float) -> View | None:
        try:
            image = to_rgb(image_from_msg(kinds[IMAGE], self._config.max_image_pixels))
        except BadInput as error:
            self._statistics.refuse(camera, IMAGE, error)
            return None
        header = kinds[IMAGE].header
        stamp_ns, frame_id = time_from_msg(header.stamp), header.frame_id.lstrip("/")
        calibration = self._rig.calibration(camera)
        frame_id = frame_id or (calibration.frame_id if calibration else "")
        return View(
            camera,
            image,
            stamp_ns,
            self._intrinsics(camera, image),
            self._pose(camera, frame_id, stamp_ns, deadline_s),
            self._depth_m(camera, kinds.get(DEPTH), image),
            frame_id,
        )

    def _pose(self, camera: str, frame_id: str, stamp_ns: int, deadline_s: float) -> np.ndarray | None:
        try:
            return self._rig.camera_to_world(frame_id, stamp_ns, deadline_s)
        except TransformError as error:
            late = BadInput(f"no transform in time: waited {self._config.tf_wait_s:g} s: {error}")
            self._statistics.refuse(camera, IMAGE, late)
            return None

    def _intrinsics(self, camera: str, image: np.ndarray) -> np.ndarray | None:
        calibration = self._rig.calibration(camera)
        if calibration is None:
            return None
        if any(calibration.size) and calibration.size != image.shape[:2]:
            error = BadInput(f"camera_info size: expected the image's {image.shape[:2]}, got {calibration.size}")
            self._statistics.refuse(camera, "camera_info", error)
            return None
        return calibration.intrinsics

    def _depth_m(self, camera: str, message: Any, image: np.ndarray) -> np.ndarray | None:
        if message is None:
            return None
        try:
            depth_m = to_depth_m(image_from_msg(message, self._config.max_image_pixels))
            if depth_m.shape != image.shape[:2]:
                raise BadInput(f"depth size: expected the image's {image.shape[:2]}, got {depth_m.shape}")
        except BadInput as error:
            self._statistics.refuse(camera, DEPTH, error)
            return None
        return depth_m
