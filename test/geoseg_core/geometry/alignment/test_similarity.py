"""Similarities and the fits of poses, against numbers by hand and random motions with noise and outliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.poses import PoseFit, fit_poses
from geoseg_core.geometry.alignment.similarity import Similarity, angle_deg, fit_points
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift

QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
seeds = st.integers(0, 2**32 - 1)


def random_similarity(random: np.random.Generator) -> Similarity:
    rotation = Rotation.random(rng=random).as_matrix()
    return Similarity(float(np.exp(random.uniform(-3, 3))), rotation, random.normal(size=3) * 5)


def random_poses(count: int, random: np.random.Generator) -> np.ndarray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=random).as_matrix()
    poses[:, :3, 3] = random.normal(size=(count, 3))
    return poses


def pose_at(x: float, y: float = 0.0, z: float = 0.0, turn: np.ndarray | None = None) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) if turn is None else turn
    pose[:3, 3] = x, y, z
    return pose


def test_a_triangle_doubled_turned_and_shifted_by_hand() -> None:
    start = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    goal = np.array([[5.0, 0, 1], [5, 2, 1], [3, 0, 1]])
    found = fit_points(start, goal)
    assert found.scale == pytest.approx(2.0)
    np.testing.assert_allclose(found.rotation, QUARTER, atol=1e-12)
    np.testing.assert_allclose(found.translation, (5, 0, 1), atol=1e-12)
    rigid = fit_points(start, goal, with_scale=False)
    assert rigid.scale == 1.0
    np.testing.assert_allclose(rigid.apply(start.mean(0)), goal.mean(0))


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_any_similarity_is_recovered_and_never_a_reflection(seed: int) -> None:
    random = np.random.default_rng(seed)
    true, points = random_similarity(random), random.normal(size=(6, 3))
    found = fit_points(points, true.apply(points))
    assert found.scale == pytest.approx(true.scale) and np.linalg.det(found.rotation) > 0
    np.testing.assert_allclose(found.apply(points), true.apply(points), atol=1e-8 * (1 + true.scale))
    mirrored = fit_points(points, points * (1, 1, -1))
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1.0)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_there_and_back_and_one_after_the_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second, points = random_similarity(random), random_similarity(random), random.normal(size=(4, 3))
    np.testing.assert_allclose(first.inverse().apply(first.apply(points)), points, atol=1e-9)
    both = second.after(first).apply(points)
    np.testing.assert_allclose(both, second.apply(first.apply(points)), rtol=1e-9, atol=1e-9)


def test_points_on_a_line_leave_the_rotation_open() -> None:
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    with pytest.raises(BadInput, match="span a plane"):
        fit_points(line, line)
    with pytest.raises(BadInput, match="expected shape"):
        fit_points(line, line[:2])


def test_a_moved_view_is_the_geometry_of_its_moved_points() -> None:
    intrinsics = np.array([[4.0, 0, 1], [0, 4, 1], [0, 0, 1]])
    depth_m = np.array([[1.0, 2, 0], [3, 4, 5]], np.float32)
    pose = pose_at(1, 2, 3)
    view = ViewGeometry(depth_m, depth_m * 0 + 1, intrinsics, pose, lift(depth_m, intrinsics, pose))
    move = Similarity(2.0, QUARTER, np.array([0.0, 0, 1]))
    moved = move.view(view)
    np.testing.assert_allclose(moved.points, move.apply(view.points), atol=1e-5)
    np.testing.assert_array_equal(moved.depth_m, 2 * depth_m)
    np.testing.assert_allclose(moved.camera_to_world[:3, 3], (-4, 2, 7))
    np.testing.assert_allclose(moved.camera_to_world[:3, :3], QUARTER)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.5, 90.0, 179.9, 180.0])
def test_angles(angle: float) -> None:
    assert angle_deg(Rotation.from_euler("z", angle, degrees=True).as_matrix()) == pytest.approx(angle, abs=1e-9)


def test_two_cameras_one_metre_apart_that_were_predicted_a_quarter_apart() -> None:
    predicted = np.stack([pose_at(0), pose_at(0.25)])
    known = np.stack([pose_at(3, 0, 1, QUARTER), pose_at(3, 1, 1, QUARTER)])
    fit = fit_poses(predicted, known, noise=0.005)
    assert fit.similarity.scale == pytest.approx(4.0) and fit.inliers.all()
    np.testing.assert_allclose(fit.similarity.rotation, QUARTER, atol=1e-12)
    np.testing.assert_allclose(fit.similarity.pose(predicted), known, atol=1e-12)
    # A place known to 0.005 units along each axis: the distance of two to 0.005 * sqrt(2), of 0.25.
    assert fit.deviation == pytest.approx(0.005 * np.sqrt(2) / 0.25)


def test_one_camera_fixes_the_world_but_not_the_scale() -> None:
    fit = fit_poses(pose_at(1)[None], pose_at(0, 5, 0, QUARTER)[None])
    assert np.isinf(fit.deviation)
    np.testing.assert_allclose(fit.at_scale(2.0).pose(pose_at(1)), pose_at(0, 5, 0, QUARTER), atol=1e-12)
    np.testing.assert_allclose(fit.at_scale(2.0).apply(np.array([1.0, 0, 1])), (0, 5, 2), atol=1e-12)


@given(seeds, st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_any_similarity_of_cameras_is_recovered(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    true, predicted = random_similarity(random), random_poses(count, random)
    fit = fit_poses(predicted, true.pose(predicted))
    assert fit.similarity.scale == pytest.approx(true.scale) and fit.inliers.all()
    np.testing.assert_allclose(fit.similarity.rotation, true.rotation, atol=1e-9)
    assert fit.rotation_deg.max() < 1e-6 and fit.offset.max() < 1e-9


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_wrong_cameras_are_left_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    true, predicted = random_similarity(random), random_poses(7, random)
    known = true.pose(predicted)
    known[2, :3, 3] += true.scale * np.array([4.0, 0, 0])
    known[5, :3, :3] = known[5, :3, :3] @ Rotation.from_euler("x", 60, degrees=True).as_matrix()
    fit = fit_poses(predicted, known)
    assert fit.inliers.tolist() == [True, True, False, True, True, False, True]
    assert fit.similarity.scale == pytest.approx(true.scale)
    assert fit.offset[2] > 1 and fit.rotation_deg[5] == pytest.approx(60.0)


def test_among_many_cameras_as_well() -> None:
    random = np.random.default_rng(5)
    true, predicted = random_similarity(random), random_poses(40, random)
    known = true.pose(predicted)
    known[:10, :3, 3] += true.scale * random.normal(size=(10, 3)) * 5
    fit = fit_poses(predicted, known)
    assert fit.inliers.tolist() == [False] * 10 + [True] * 30
    assert fit.similarity.scale == pytest.approx(true.scale)


def scatter(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Fitted scales and their claimed deviations over random draws of noise of 0.01 along each axis."""
    random = np.random.default_rng(0)
    truth = random_poses(count, random)
    fits: list[PoseFit] = []
    for _ in range(300):
        predicted = truth.copy()
        predicted[:, :3, 3] += random.normal(size=(count, 3)) * 0.01
        fits.append(fit_poses(predicted, truth, noise=0.01))
    return np.array([fit.similarity.scale for fit in fits]), np.array([fit.deviation for fit in fits])


@pytest.mark.parametrize("count", [2, 4])
def test_the_claimed_deviation_is_about_that_of_the_scale(count: int) -> None:
    scales, deviations = scatter(count)
    assert scales.mean() == pytest.approx(1.0, abs=0.005)
    assert 0.8 * scales.std() < np.median(deviations) < 1.8 * scales.std()


def test_two_cameras_that_agree_on_nothing_give_no_scale() -> None:
    predicted = np.stack([pose_at(0), pose_at(1)])
    known = np.stack([pose_at(0), pose_at(0, 1, 0, QUARTER)])
    fit = fit_poses(predicted, known)
    assert np.isinf(fit.deviation) and not fit.inliers.any() and fit.rotation_deg.max() > 20


def test_cameras_at_one_place_give_no_scale() -> None:
    fit = fit_poses(np.stack([pose_at(0), pose_at(0.2)]), np.stack([pose_at(1), pose_at(1)]))
    assert np.isinf(fit.deviation) and np.isfinite(fit.similarity.apply(np.ones(3))).all()


def test_without_scale_and_with_nothing_but_scale() -> None:
    predicted = np.stack([pose_at(0), pose_at(1), pose_at(0, 1)])
    shifted = np.stack([pose_at(2, turn=QUARTER), pose_at(2, 1, turn=QUARTER), pose_at(1, turn=QUARTER)])
    rigid = fit_poses(predicted, shifted, "rigid")
    assert rigid.similarity.scale == 1.0 and rigid.deviation == 0.0
    np.testing.assert_allclose(rigid.similarity.pose(predicted), shifted, atol=1e-12)
    grown = np.stack([pose_at(0), pose_at(3), pose_at(0, 3)])
    alone = fit_poses(predicted, grown, "scale").similarity
    assert alone.scale == pytest.approx(3.0)
    np.testing.assert_array_equal(alone.rotation, np.eye(3))


def test_poses_that_cannot_be_fitted_are_refused() -> None:
    pose = np.eye(4)[None]
    for predicted, known, mode in [(pose[:0], pose[:0], "rigid"), (pose * np.nan, pose, "rigid"), (pose, pose, "x")]:
        with pytest.raises(BadInput, match="expected finite poses"):
            fit_poses(predicted, known, mode)
