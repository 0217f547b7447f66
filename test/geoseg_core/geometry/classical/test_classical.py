"""The classical encoder: its parts against exact geometry, and all of it on real pictures of the sample bag."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry import depth_errors, direction_error_deg, relative_pose, rotation_error_deg
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.geometry.classical.config import ClassicalConfig
from geoseg_core.geometry.classical.dense import spread_depth
from geoseg_core.geometry.classical.encoder import ClassicalEncoder
from geoseg_core.geometry.classical.matching import Features, find_features, match_features
from geoseg_core.geometry.classical.two_view import camera_matrix, connect, triangulate
from geoseg_core.views import FrameSet, View

BAG = Path(__file__).resolve().parents[4] / "bags" / "tabletop"
CONFIG = ClassicalConfig()
SIZE = (480, 640)


def turned(angle_deg, translation):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    pose = np.eye(4)
    pose[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    pose[:3, 3] = translation
    return pose


def project(points, camera, pose):
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = local @ camera.T
    return pixels[:, :2] / pixels[:, 2:]


def two_views(fields=(72.0, 50.0), count=200, outliers=0):
    """Matches of random points 2 to 5 m away; the second camera stands 1 m to the right and looks 20 degrees left."""
    random = np.random.default_rng(5)
    points = random.uniform((-1.2, -0.8, 2), (1.2, 0.8, 5), (count, 3))
    pose = turned(-20, (1.0, 0, 0))
    cameras = [camera_matrix(SIZE, field) for field in fields]
    first, second = (project(points, camera, at) for camera, at in zip(cameras, (np.eye(4), pose), strict=True))
    second[:outliers] = random.uniform((0, 0), (640, 480), (outliers, 2))
    return first, second, cameras, pose, points


def test_a_field_of_view_gives_a_focal_length():
    np.testing.assert_allclose(camera_matrix((480, 640), 90.0), [[320, 0, 319.5], [0, 320, 239.5], [0, 0, 1]])
    assert camera_matrix((640, 480), 90.0)[0, 0] == pytest.approx(320)


def test_rays_meet_half_way_between_where_they_come_nearest():
    # The second camera stands 2 to the right: rays to (1, 0, 1), and two that pass each other 0.2 apart.
    pose = turned(0, (2.0, 0, 0))
    first = np.array([[1.0, 0, 1], [1, 0.0, 1], [0, 0, 1], [1, 0, 1]])
    second = np.array([[-1.0, 0, 1], [-1, 0.2, 1], [0, 0, 1], [1.0, 0, 0.2]])
    points = triangulate(first, second, pose)
    np.testing.assert_allclose(points[0], [1, 0, 1], atol=1e-12)
    assert 0 < points[1, 1] < 0.2
    assert np.isnan(points[2]).all(), "parallel rays meet nowhere"
    assert np.isnan(points[3]).all(), "these meet behind a camera"


@pytest.mark.parametrize("outliers", [0, 60])
def test_the_pose_of_a_calibrated_pair_comes_out_exactly(outliers):
    first, second, cameras, pose, points = two_views(outliers=outliers)
    link = connect(first, second, ([cameras[0]], [cameras[1]]), tuple(cameras), CONFIG)
    assert rotation_error_deg(link.second_to_first, pose) < 0.05
    assert direction_error_deg(link.second_to_first, pose) < 0.1
    assert np.linalg.norm(link.second_to_first[:3, 3]) == pytest.approx(1)
    assert 200 - outliers <= len(link.first_px) <= 200 - outliers + 4
    # The true baseline is 1 too, so the points themselves come out.
    truth = points[[np.abs(first - each).sum(1).argmin() for each in link.first_px]]
    assert np.nanmedian(np.linalg.norm(link.points - truth, axis=1)) < 0.01


def test_focal_lengths_are_found_among_those_tried():
    first, second, cameras, pose, _ = two_views(fields=(75.0, 48.0))
    tried = [camera_matrix(SIZE, field) for field in CONFIG.fields_deg]
    usual = camera_matrix(SIZE, CONFIG.usual_field_deg)
    link = connect(first, second, (tried, tried), (usual, usual), CONFIG)
    assert rotation_error_deg(link.second_to_first, pose) < 3
    for found, camera in zip(link.intrinsics, cameras, strict=True):
        assert found[0, 0] == pytest.approx(camera[0, 0], rel=0.1)


def test_matches_that_do_not_agree_give_no_pose():
    random = np.random.default_rng(2)
    usual = camera_matrix(SIZE, 60.0)
    assert connect(np.zeros((4, 2)), np.zeros((4, 2)), ([usual], [usual]), (usual, usual), CONFIG) is None
    first, second = random.uniform(0, 480, (2, 30, 2))
    strict = replace(CONFIG, least_inliers=20)
    assert connect(first, second, ([usual], [usual]), (usual, usual), strict) is None


def test_features_are_matched_across_a_shift():
    random = np.random.default_rng(1)
    noise = np.kron(random.integers(0, 255, (60, 80)), np.ones((4, 4))).astype(np.uint8)
    image = np.repeat(noise[..., None], 3, axis=2)
    first, second = (find_features(each, CONFIG) for each in (image[:, :280], image[:, 24:304]))
    one, two = match_features(first, second, 0.8)
    assert len(one) > 100
    steps = one - two
    assert np.mean(np.abs(steps - (24, 0)).max(axis=1) < 1) > 0.95


def test_a_match_must_be_nearest_both_ways_and_clearly():
    def features(*rows):
        descriptors = np.array(rows, np.float32)
        return Features(np.arange(2.0 * len(rows)).reshape(-1, 2), descriptors)

    east, north, between = (1, 0), (0, 1), (0.8, 0.6)
    one, two = match_features(features(east, between), features(east, north), 0.8)
    assert one.tolist() == [[0, 1]] and two.tolist() == [[0, 1]]
    nothing = match_features(features(east), features(east, north), 0.8)
    assert len(nothing[0]) == 0


def test_an_image_without_features_has_none():
    blank = find_features(np.full((60, 80, 3), 128, np.uint8), CONFIG)
    assert blank.points_px.shape == (0, 2) and blank.descriptors.shape == (0, 128)


def test_depth_of_a_plane_spreads_over_the_whole_image():
    random = np.random.default_rng(4)
    points = random.uniform((0, 0), (639, 479), (300, 2))
    # Inverse depth 0.3 at the top, 0.9 at the bottom: a table seen from above its edge.
    depth = 1 / (0.3 + 0.6 * points[:, 1] / 479)
    found = spread_depth(points, depth, SIZE, 40.0)
    rows = np.array([5, 240, 470])
    np.testing.assert_allclose(found[rows, 320], 1 / (0.3 + 0.6 * rows / 479), rtol=0.03)


def test_a_thing_before_the_plane_stands_out_and_outliers_do_not_tilt_it():
    grid = np.stack(np.meshgrid(np.arange(8, 640, 16), np.arange(8, 480, 16)), -1).reshape(-1, 2).astype(float)
    depth = np.full(len(grid), 2.0)
    thing = np.abs(grid - (320, 240)).max(axis=1) < 60
    depth[thing] = 1.0
    found = spread_depth(grid, depth, SIZE, 20.0)
    assert found[240, 320] == pytest.approx(1.0, rel=0.1)
    assert found[60, 60] == pytest.approx(2.0, rel=0.05)
    assert (spread_depth(np.zeros((0, 2)), np.zeros(0), SIZE, 20.0) == 1).all()


@pytest.fixture(scope="module")
def first_set():
    return RosbagSamples(BAG, ReaderConfig(height=0, width=0, views=3), 1)[0]


@pytest.fixture(scope="module")
def scene(first_set):
    return ClassicalEncoder().encode(images_only(first_set))


def test_real_pictures_of_a_table_are_reconstructed(first_set, scene):
    truth = first_set.camera_to_world.double().numpy()
    right = first_set.cameras.index("exo_right")
    found = relative_pose(scene.views[0].camera_to_world, scene.views[right].camera_to_world)
    wanted = relative_pose(truth[0], truth[right])
    assert rotation_error_deg(found, wanted) < 5
    assert direction_error_deg(found, wanted) < 10
    for index in (0, right):
        focal = float(first_set.intrinsics[index, 0, 0])
        assert scene.views[index].intrinsics[0, 0] == pytest.approx(focal, rel=0.15)
    pair = [scene.views[index].depth_m for index in (0, right)]
    abs_rel, delta = depth_errors(pair, [first_set.depth[index].numpy() for index in (0, right)])
    assert abs_rel < 0.2 and delta > 0.7


def test_tracks_go_where_the_cameras_say(scene):
    points = np.array([[320.0, 300.0], [100.0, 200.0]])
    same = scene.track(points, 0, [0])
    np.testing.assert_allclose(same.points_px[0], points, atol=0.01)
    assert same.visible.all()
    there = scene.track(points, 0, [2])
    assert there.points_px.shape == (1, 2, 2)
    with pytest.raises(BadInput, match="points_px"):
        scene.track(np.zeros(2), 0, [1])
    with pytest.raises(BadInput, match="token features"):
        scene.features((0,))


def test_pictures_without_texture_stay_apart():
    views = tuple(View(name, np.full((60, 80, 3), 128, np.uint8)) for name in ("ego", "exo"))
    scene = ClassicalEncoder().encode(FrameSet(views))
    assert scene.connected == (True, False)
    np.testing.assert_array_equal(scene.views[1].camera_to_world, np.eye(4))
    assert (scene.views[0].confidence == 0).all() and (scene.views[1].depth_m == 1).all()
    tracks = scene.track(np.array([[10.0, 20.0]]), 0, [1])
    np.testing.assert_array_equal(tracks.points_px[0], [[10, 20]])
    assert tracks.confidence[0, 0] == 0


def test_a_known_first_pose_is_the_world():
    anchor = turned(30, (4.0, 5, 6))
    view = View("ego", np.full((60, 80, 3), 128, np.uint8), camera_to_world=anchor)
    scene = ClassicalEncoder().encode(FrameSet((view,)))
    np.testing.assert_allclose(scene.views[0].camera_to_world, anchor)
