"""What is known of the cameras: intrinsics from camera_info, poses from tf. Safe to use from several threads."""

import time
from threading import Condition

import numpy as np
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from geoseg_core.errors import BadInput, TransformError
from geoseg_core.geometry.transforms import TransformTree
from geoseg_ros.sensor_messages import Calibration, calibration_from_msg, poses_from_msg

SAME_POSE = 1e-6  # metres and parts of a rotation matrix


class CameraRig:
    """Latest calibration of each camera, and all transforms."""

    def __init__(self, cameras: tuple[str, ...], world_frame: str) -> None:
        self.world_frame = world_frame
        self._calibrations: dict[str, Calibration | None] = dict.fromkeys(cameras)
        self._fixed_poses: dict[str, np.ndarray] = {}
        self._tree = TransformTree()
        self._changed = Condition()

    def take_info(self, camera: str, info: CameraInfo) -> bool:
        """Remember a calibration; return whether it replaced a different one.

        Raises:
            BadInput: the numbers are no calibration; the last good one stays.
        """
        new = calibration_from_msg(info)
        with self._changed:
            old = self._calibrations[camera]
            self._calibrations[camera] = new
        return old is not None and (old.size != new.size or not np.array_equal(old.intrinsics, new.intrinsics))

    def calibration(self, camera: str) -> Calibration | None:
        with self._changed:
            return self._calibrations[camera]

    def take_transforms(self, message: TFMessage, static: bool) -> tuple[str, ...]:
        """Remember transforms; return the cameras that do not move, yet stand elsewhere than before.

        Raises:
            BadInput: a transform that is none; those before it are remembered.
        """
        with self._changed:
            for each in poses_from_msg(message):
                self._tree.insert(each.parent, each.child, each.stamp_ns, each.child_to_parent, static)
            self._changed.notify_all()
            return self._moved_fixtures() if static else ()

    def camera_to_world(self, frame_id: str, stamp_ns: int, deadline_s: float) -> np.ndarray | None:
        """(4, 4) pose of an optical frame at a stamp; None where tf does not connect it to the world.

        Transforms may come after their images: waits for them until `deadline_s` (time.monotonic).

        Raises:
            TransformError: the frames are connected, but not at that time.
        """
        with self._changed:
            while self._is_connected(frame_id):
                try:
                    return self._tree.lookup(self.world_frame, frame_id, stamp_ns)
                except TransformError:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0:
                        raise
                self._changed.wait(left_s)
        return None

    def in_world(self, point: np.ndarray, frame_id: str, stamp_ns: int) -> np.ndarray:
        """A point (3,) of a tf frame in the world at a stamp.

        Raises:
            BadInput: no frame is named.
            TransformError: the frame is not connected to the world, or not at that time.
        """
        if not frame_id:
            raise BadInput("point: expected the name of a tf frame in its header, got none; say what it is measured in")
        with self._changed:
            to_world = self._tree.lookup(self.world_frame, frame_id, stamp_ns)
        return to_world[:3, :3] @ point + to_world[:3, 3]

    def forget_after(self, stamp_ns: int) -> None:
        """After a jump of time: no pose of the time before is used."""
        with self._changed:
            self._tree.forget_after(stamp_ns)

    def _is_connected(self, frame_id: str) -> bool:
        try:
            self._tree.is_static(self.world_frame, frame_id)
        except TransformError:
            return False
        return True

    def _moved_fixtures(self) -> tuple[str, ...]:
        moved = []
        for camera, calibration in self._calibrations.items():
            frame_id = calibration.frame_id if calibration else ""
            if not self._is_connected(frame_id) or not self._tree.is_static(self.world_frame, frame_id):
                continue
            new = self._tree.lookup(self.world_frame, frame_id, 0)
            old = self._fixed_poses.get(camera, new)
            self._fixed_poses[camera] = new
            if not np.allclose(old, new, atol=SAME_POSE):
                moved.append(camera)
        return tuple(moved)
