"""Voxels, clusters and shortest ways over a surface, on points placed by hand."""

import numpy as np

from geoseg_core.instances.clustering import cluster, spread
from geoseg_core.instances.lifting import oriented_box
from geoseg_core.instances.tracks import rigid_fit
from geoseg_core.instances.voxels import build_lattice


def test_points_of_one_cell_share_a_voxel_and_others_do_not() -> None:
    points = np.array([[0.001, 0.001, 0.001], [0.009, 0.009, 0.009], [0.011, 0, 0], [-0.001, 0, 0]], np.float32)
    lattice, voxel_of, count = build_lattice(points, 0.01)
    assert count == 3 and voxel_of[0] == voxel_of[1] and len(set(voxel_of.tolist())) == 3
    assert lattice.find(points).tolist() == voxel_of.tolist()


def test_a_place_without_points_has_no_voxel_however_far() -> None:
    lattice, _, _ = build_lattice(np.zeros((1, 3), np.float32), 0.01)
    assert lattice.find(np.array([[0.015, 0, 0], [50, 50, 50], [-50, 0, 0]], np.float32)).tolist() == [-1, -1, -1]


def test_a_lattice_without_points_finds_nothing() -> None:
    lattice, voxel_of, count = build_lattice(np.zeros((0, 3), np.float32), 0.01)
    assert count == 0 and len(voxel_of) == 0
    assert lattice.find(np.zeros((2, 3), np.float32)).tolist() == [-1, -1]


def test_voxels_that_touch_by_face_edge_or_corner_are_one_cluster() -> None:
    cells = np.array([[0, 0, 0], [1, 1, 1], [2, 0, 1], [2, 0, 3], [9, 9, 9], [9, 8, 9]], np.float32)
    found = cluster((cells + 0.5) * np.float32(0.01), 0.01)
    assert found[0] == found[1] == found[2] and found[4] == found[5]
    assert len(set(found.tolist())) == 3


def test_clusters_agree_with_a_search_in_space() -> None:
    random = np.random.default_rng(1)
    cells = np.unique(random.integers(0, 14, (260, 3)), axis=0)
    found = cluster((cells + 0.5).astype(np.float32), 1.0)
    touching = (np.abs(cells[:, None] - cells[None]).max(2) <= 1).astype(int)
    reachable = np.linalg.matrix_power(touching, 1) > 0
    for _ in range(9):
        reachable = (reachable.astype(int) @ reachable.astype(int)) > 0
    np.testing.assert_array_equal(found[:, None] == found[None], reachable)


def test_open_points_follow_the_shorter_way_and_stop_at_colour_steps() -> None:
    centres = np.stack([np.arange(10.0), np.zeros(10), np.zeros(10)], 1)
    seeds = np.full(10, -1)
    seeds[[0, 9]] = [3, 7]
    plain = spread(centres, np.zeros((10, 3)), seeds, 1.5, 1.0)
    assert plain.tolist() == [3] * 5 + [7] * 5
    colours = np.zeros((10, 3))
    colours[8:] = 50
    assert spread(centres, colours, seeds, 1.5, 1.0).tolist() == [3] * 8 + [7] * 2


def test_points_that_nothing_reaches_stay_open() -> None:
    centres = np.array([[0.0, 0, 0], [1, 0, 0], [50, 0, 0]])
    assert spread(centres, np.zeros((3, 3)), np.array([4, -1, -1]), 1.5, 1.0).tolist() == [4, 4, -1]


def test_the_box_of_a_turned_brick_has_its_edges() -> None:
    random = np.random.default_rng(0)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [0.1, 0.05, 0.02]
    points = np.concatenate([corners, random.uniform(-1, 1, (200, 3)) * [0.1, 0.05, 0.02]])
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    box = oriented_box(points @ turn.T + [1, 2, 3], np.array([0.0, 0, 1]))
    np.testing.assert_allclose(box.centre, [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(sorted(box.size), [0.04, 0.1, 0.2], atol=1e-5)
    np.testing.assert_allclose(box.rotation.T @ box.rotation, np.eye(3), atol=1e-9)
    assert np.linalg.det(box.rotation) > 0


def test_a_rigid_motion_is_found_exactly() -> None:
    start = np.random.default_rng(0).normal(size=(20, 3))
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    pose = rigid_fit(start, start @ turn.T + [1, 2, 3])
    np.testing.assert_allclose(pose[:3, :3], turn, atol=1e-9)
    np.testing.assert_allclose(pose[:3, 3], [1, 2, 3], atol=1e-9)
