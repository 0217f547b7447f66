"""Pinhole geometry against numbers worked out by hand."""

import numpy as np
import pytest

from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import check_calibration, inside, project, ray_grid
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import HIDDEN, NEAR, OUTSIDE, SEEN_THROUGH, clean_depth, lift, normals, occlusion
from geoseg_core.views import View

MATRIX = np.array([[100.0, 0, 2], [0, 50, 1], [0, 0, 1]])
POSE = np.array([[0.0, 0, 1, 10], [-1, 0, 0, 20], [0, -1, 0, 30], [0, 0, 0, 1]])  # looks along world x


def test_a_pixel_is_lifted_to_the_point_worked_out_by_hand() -> None:
    depth_m = np.zeros((3, 5), np.float32)
    depth_m[2, 4] = 2.0
    points = lift(depth_m, MATRIX, POSE)
    # local: x = (4 - 2) / 100 * 2 = 0.04, y = (2 - 1) / 50 * 2 = 0.04, z = 2
    np.testing.assert_allclose(points[2, 4], [12, 20 - 0.04, 30 - 0.04], atol=1e-5)
    assert np.isnan(points[0, 0]).all()


def test_lifting_and_projecting_gives_the_pixels_back() -> None:
    depth_m = np.random.default_rng(0).uniform(0.5, 3, (3, 5)).astype(np.float32)
    pixels, back_m = project(lift(depth_m, MATRIX, POSE).reshape(-1, 3), MATRIX, POSE)
    v, u = np.mgrid[:3, :5]
    np.testing.assert_allclose(pixels, np.stack([u, v], -1).reshape(-1, 2), atol=1e-2)
    np.testing.assert_allclose(back_m, depth_m.ravel(), atol=1e-4)


def test_image_borders_lie_half_a_pixel_outside_the_outer_centres() -> None:
    pixels = np.array([[-0.4, 0], [-0.6, 0], [4.4, 2.4], [4.6, 0], [1, 1]])
    assert inside(pixels, np.array([1, 1, 1, 1, -1.0]), (3, 5)).tolist() == [True, False, True, False, False]


def test_ray_grids_are_cached_and_can_not_be_spoilt() -> None:
    grid, _ = ray_grid(MATRIX, (3, 5))
    assert ray_grid(MATRIX, (3, 5))[0] is grid
    with pytest.raises(ValueError):
        grid[0, 0] = 1


def test_normals_of_a_level_floor_point_along_its_axis() -> None:
    x, y = np.meshgrid(np.arange(5.0), np.arange(4.0))
    result = normals(np.stack([x, y, 0 * x], -1).astype(np.float32))
    np.testing.assert_allclose(np.abs(result[1:-1, 1:-1, 2]), 1)
    assert np.isnan(result[0]).all()


def test_depth_that_is_no_distance_becomes_unknown() -> None:
    depth = np.array([[np.nan, np.inf, -np.inf, -1, 0.01, 20, 1.5]])
    assert clean_depth(depth, 0.05, 10).tolist() == [[0, 0, 0, 0, 0, 0, 1.5]]


def test_occlusion_states_of_points_before_on_behind_and_beside_a_wall() -> None:
    wall = np.full((3, 5), 2.0, np.float32)
    view = ViewGeometry(wall, wall, MATRIX, np.eye(4), lift(wall, MATRIX, np.eye(4)))
    points = np.array([[0, 0, 1.0], [0, 0, 2.004], [0, 0, 3], [9, 0, 1], [0, 0, -1]], np.float32)
    assert occlusion(points, view, 0.01, 0).tolist() == [SEEN_THROUGH, NEAR, HIDDEN, OUTSIDE, OUTSIDE]


@pytest.mark.parametrize(
    ("matrix", "pose"),
    [
        (np.diag([0.0, 50, 1]), np.eye(4)),
        (np.diag([np.nan, 50, 1]), np.eye(4)),
        (np.diag([100.0, 50, 2]), np.eye(4)),
        (MATRIX, np.diag([2.0, 1, 1, 1])),
        (MATRIX, np.diag([-1.0, 1, 1, 1])),
        (MATRIX, np.full((4, 4), np.nan)),
        (None, np.eye(4)),
    ],
)
def test_calibration_that_no_camera_has_is_refused_by_name(matrix: np.ndarray | None, pose: np.ndarray) -> None:
    with pytest.raises(BadInput, match="'ego'"):
        check_calibration(View("ego", np.zeros((3, 5, 3), np.uint8), 0, matrix, pose))
