"""The transform tree: directions, interpolation, and errors that name what is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from geoseg_core.errors import BadInput, TransformError
from geoseg_core.geometry.transforms import TransformTree, pose_matrix, pose_parts

finite = st.floats(-10, 10)
quaternions = st.tuples(finite, finite, finite, finite).filter(lambda q: np.linalg.norm(q) > 0.1)


def shift(x: float, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    return pose_matrix((x, y, z), (0, 0, 0, 1))


@given(st.tuples(finite, finite, finite), quaternions)
def test_pose_matrix_agrees_with_scipy_and_pose_parts_undoes_it(translation, quaternion):
    matrix = pose_matrix(translation, quaternion)
    np.testing.assert_allclose(matrix[:3, :3], Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)
    back, unit = pose_parts(matrix)
    np.testing.assert_allclose(back, translation)
    assert unit[3] >= 0
    np.testing.assert_allclose(pose_matrix(back, unit), matrix, atol=1e-12)


def test_lookup_goes_up_and_down_the_tree_in_the_named_direction():
    tree = TransformTree()
    tree.insert("world", "base", 0, shift(1), static=True)
    tree.insert("base", "camera", 0, pose_matrix((0, 2, 0), (0, 0, np.sqrt(0.5), np.sqrt(0.5))), static=True)
    tree.insert("/world", "/table", 0, shift(0, 0, 5), static=True)
    # camera x axis points along world y: (1, 0, 0) in the camera is (1, 3, 0) in the world, (1, 3, -5) on the table
    np.testing.assert_allclose(tree.lookup("world", "camera", 7) @ [1, 0, 0, 1], [1, 3, 0, 1], atol=1e-12)
    np.testing.assert_allclose(tree.lookup("table", "camera", 7) @ [1, 0, 0, 1], [1, 3, -5, 1], atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "world", 7) @ [1, 3, 0, 1], [1, 0, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(tree.lookup("camera", "camera", 7), np.eye(4))


@given(quaternions, quaternions, st.integers(0, 100))
def test_interpolation_is_linear_and_slerp(first, second, stamp_ns):
    tree = TransformTree()
    tree.insert("world", "camera", 100, pose_matrix((4, 0, -2), second))
    tree.insert("world", "camera", 0, pose_matrix((0, 2, 0), first))
    matrix = tree.lookup("world", "camera", stamp_ns)
    share = stamp_ns / 100
    np.testing.assert_allclose(matrix[:3, 3], [4 * share, 2 - 2 * share, -2 * share], atol=1e-9)
    rotations = Rotation.from_quat([first, second])
    if (rotations[0].inv() * rotations[1]).magnitude() < 3.1:  # opposite rotations have two shortest ways
        np.testing.assert_allclose(matrix[:3, :3], Slerp([0, 1], rotations)(share).as_matrix(), atol=1e-5)


def test_errors_name_the_link_and_the_time():
    tree = TransformTree()
    tree.insert("world", "camera", 10, shift(0))
    tree.insert("map", "robot", 0, shift(0), static=True)
    with pytest.raises(TransformError, match="from 'robot' to 'camera', got robot -> map and camera -> world"):
        tree.lookup("camera", "robot", 10)
    with pytest.raises(TransformError, match="pose of 'camera' in 'world' at 11 ns, got poses from 10 to 10"):
        tree.lookup("world", "camera", 11)
    with pytest.raises(TransformError, match="at 9 ns"):
        tree.lookup("world", "camera", 9)
    with pytest.raises(TransformError, match="from 'nowhere'"):
        tree.lookup("world", "nowhere", 9)


def test_a_loop_of_frames_is_named():
    tree = TransformTree()
    tree.insert("a", "b", 0, shift(1), static=True)
    tree.insert("b", "a", 0, shift(1), static=True)
    with pytest.raises(TransformError, match="loop a -> b -> a"):
        tree.lookup("world", "a", 0)


def test_history_is_bounded_and_equal_stamps_replace():
    tree = TransformTree(history_ns=100)
    for stamp_ns in range(0, 1001, 10):
        tree.insert("world", "camera", stamp_ns, shift(stamp_ns))
    tree.insert("world", "camera", 1000, shift(-1))
    with pytest.raises(TransformError, match="from 900 to 1000"):
        tree.lookup("world", "camera", 899)
    assert tree.lookup("world", "camera", 905)[0, 3] == 905
    assert tree.lookup("world", "camera", 1000)[0, 3] == -1


def test_clear_forgets_what_moves_and_keeps_what_does_not():
    tree = TransformTree()
    tree.insert("world", "base", 0, shift(3), static=True)
    tree.insert("base", "camera", 10, shift(1))
    assert tree.is_static("world", "base") and not tree.is_static("world", "camera")
    tree.clear()
    assert tree.lookup("world", "base", 10**12)[0, 3] == 3
    with pytest.raises(TransformError):
        tree.lookup("world", "camera", 10)


def test_time_that_goes_back_begins_an_edge_anew():
    tree = TransformTree(history_ns=100)
    tree.insert("world", "camera", 1000, shift(1))
    tree.insert("world", "camera", 500, shift(2))
    assert tree.lookup("world", "camera", 500)[0, 3] == 2
    with pytest.raises(TransformError, match="from 500 to 500"):
        tree.lookup("world", "camera", 1000)


def test_forget_after_drops_what_a_jump_back_made_future():
    tree = TransformTree()
    tree.insert("world", "base", 0, shift(3), static=True)
    for stamp_ns in (100, 200, 300):
        tree.insert("world", "camera", stamp_ns, shift(stamp_ns))
    tree.forget_after(200)
    assert tree.lookup("base", "camera", 200)[0, 3] == 197
    with pytest.raises(TransformError, match="from 100 to 200"):
        tree.lookup("world", "camera", 300)
    tree.forget_after(50)
    with pytest.raises(TransformError, match="expected a chain"):
        tree.lookup("world", "camera", 100)


@pytest.mark.parametrize(
    "insert",
    [
        lambda tree: tree.insert("a", "a", 0, np.eye(4)),
        lambda tree: tree.insert("", "a", 0, np.eye(4)),
        lambda tree: tree.insert("a", "b", 0, np.full((4, 4), np.nan)),
        lambda tree: tree.insert("a", "b", 0, np.diag([1.0, 1, -1, 1])),
        lambda tree: tree.insert("a", "b", 0, 2 * np.eye(4)),
        lambda tree: pose_matrix((0, 0, np.inf), (0, 0, 0, 1)),
        lambda tree: pose_matrix((0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_what_is_no_pose_is_refused(insert):
    with pytest.raises(BadInput, match="expected"):
        insert(TransformTree())
