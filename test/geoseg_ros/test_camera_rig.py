"""Calibrations and transforms: what is refused, what counts as a change, and waiting for tf."""

import time
from threading import Timer

import numpy as np
import pytest
from live import transforms_to_msg
from std_msgs.msg import Header

from geoseg_core.errors import BadInput, TransformError
from geoseg_core.views import View
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.sensor_messages import calibration_to_msg

K = np.array([[50.0, 0, 4], [0, 50, 3], [0, 0, 1]])


def info(intrinsics=K, size=(6, 8)):
    return calibration_to_msg(intrinsics, size, Header(frame_id="ego_optical_frame"))


def pose(x: float, stamp_ns: int = 0):
    matrix = np.eye(4)
    matrix[0, 3] = x
    view = View("ego", np.zeros((6, 8, 3), np.uint8), camera_to_world=matrix, frame_id="ego_optical_frame")
    return transforms_to_msg(view, stamp_ns)


@pytest.fixture
def rig():
    return CameraRig(("ego",), "world")


def test_a_change_of_calibration_is_noticed_once(rig):
    assert rig.calibration("ego") is None
    assert [rig.take_info("ego", info()) for _ in range(2)] == [False, False]
    assert [rig.take_info("ego", info(K + np.diag([1, 1, 0]))) for _ in range(2)] == [True, False]
    assert [rig.take_info("ego", info(K + np.diag([1, 1, 0]), (12, 16))) for _ in range(2)] == [True, False]


def test_a_bad_calibration_leaves_the_good_one(rig):
    rig.take_info("ego", info())
    with pytest.raises(BadInput):
        rig.take_info("ego", info(K * np.nan))
    np.testing.assert_array_equal(rig.calibration("ego").intrinsics, K)


def test_a_fixed_camera_that_stands_elsewhere_is_named(rig):
    rig.take_info("ego", info())
    assert [rig.take_transforms(pose(x), static=True) for x in (1, 1, 2, 2)] == [(), (), ("ego",), ()]
    assert rig.camera_to_world("ego_optical_frame", 5, 0)[0, 3] == 2


def test_a_camera_that_moves_has_not_changed(rig):
    rig.take_info("ego", info())
    assert [rig.take_transforms(pose(x, x * 100), static=False) for x in (1, 2)] == [(), ()]
    assert rig.camera_to_world("ego_optical_frame", 150, 0)[0, 3] == 1.5


def test_a_transform_that_comes_after_its_image_is_waited_for(rig):
    rig.take_transforms(pose(1, 100), static=False)
    Timer(0.05, rig.take_transforms, [pose(2, 200), False]).start()
    assert rig.camera_to_world("ego_optical_frame", 150, time.monotonic() + 5)[0, 3] == 1.5


def test_frames_that_are_not_connected_are_not_waited_for(rig):
    begun = time.monotonic()
    assert rig.camera_to_world("ego_optical_frame", 150, begun + 30) is None
    assert time.monotonic() < begun + 10


def test_a_transform_that_never_comes_is_named(rig):
    rig.take_transforms(pose(1, 100), static=False)
    with pytest.raises(TransformError, match="at 150 ns, got poses from 100 to 100"):
        rig.camera_to_world("ego_optical_frame", 150, time.monotonic() + 0.02)


def test_poses_of_the_time_before_a_jump_are_not_used(rig):
    for stamp_ns in (100, 1000):
        rig.take_transforms(pose(1, stamp_ns), static=False)
    rig.forget_after(200)
    with pytest.raises(TransformError, match="at 500 ns"):
        rig.camera_to_world("ego_optical_frame", 500, 0)
    assert rig.camera_to_world("ego_optical_frame", 100, 0) is not None


def test_a_transform_of_nan_is_refused(rig):
    message = pose(1)
    message.transforms[0].transform.translation.x = float("nan")
    with pytest.raises(BadInput, match="finite"):
        rig.take_transforms(message, static=True)


def test_points_of_any_frame_are_brought_to_the_world(rig):
    rig.take_transforms(pose(2), static=True)
    assert rig.in_world(np.array([1.0, 2, 3]), "ego_optical_frame", 5).tolist() == [3, 2, 3]
    assert rig.in_world(np.array([1.0, 2, 3]), "world", 5).tolist() == [1, 2, 3]
    with pytest.raises(TransformError, match="nowhere"):
        rig.in_world(np.zeros(3), "nowhere", 5)
    with pytest.raises(BadInput, match="name of a tf frame"):
        rig.in_world(np.zeros(3), "", 5)
