"""The picture of a labelled cloud and its PLY file."""

import numpy as np
import pytest

from geoseg_core.evaluation.cloud_picture import box_corners, choose_viewpoint, render_cloud
from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.ply import write_ply
from geoseg_core.results import Instance, LabelledCloud, OrientedBox

LOOKING_NORTH = np.array([[1, 0, 0, 0], [0, 0, 1, -3], [0, -1, 0, 0], [0, 0, 0, 1]], float)  # z up in the world


def cloud_of(*parts):
    """A cloud of (xyz (N, 3), instance id) parts, all black."""
    xyz = np.concatenate([part for part, _ in parts]).astype(np.float32)
    ids = np.concatenate([np.full(len(part), each, np.uint16) for part, each in parts])
    return LabelledCloud(xyz, np.zeros((len(xyz), 3), np.uint8), ids, np.ones(len(xyz), np.float32))


def plate(centre, half=0.2, count=60):
    """Points of an upright square that faces south."""
    x, z = np.meshgrid(np.linspace(-half, half, count), np.linspace(-half, half, count))
    return np.stack([x.ravel(), np.zeros(x.size), z.ravel()], 1) + centre


def instance(instance_id, centre, size, seen_by=("ego",)):
    box = OrientedBox(np.array(centre, float), np.eye(3), np.array(size, float))
    return Instance(instance_id, box.centre, np.eye(3), box, 1, 1.0, 0, 0, seen_by)


def hue_pixels(picture, object_id):
    """Pixels whose colour has the direction of an id's colour."""
    wanted = np.array(colour_of(object_id), float)
    wanted /= np.linalg.norm(wanted)
    pixels = picture.astype(float)
    return (pixels @ wanted > 0.985 * np.linalg.norm(pixels, axis=2)) & (pixels.max(2) > 30)


def test_the_view_is_upright_in_front_and_holds_the_subject():
    cloud = cloud_of((plate([0, 0, 0]), 1))
    viewpoint = choose_viewpoint(cloud, [LOOKING_NORTH], (640, 400))
    pixels, depth = viewpoint.project(cloud.xyz.astype(float))
    assert (depth > 0).all()
    assert (pixels > 0).all() and (pixels < [640, 400]).all()
    (_, left, right), _ = viewpoint.project(np.array([[0.0, 0, 0.1], [-0.1, 0, 0], [0.1, 0, 0]]))
    top, foot = viewpoint.project(np.array([[0, 0, 0.1], [0, 0, -0.1]]))[0]
    assert left[0] < right[0] and top[1] < foot[1]


def test_what_is_nearer_hides_what_is_behind():
    small, large = plate([0, 0, 0], half=0.1), plate([0, -0.3, 0.18], count=100)
    seen = render_cloud(cloud_of((small, 1)), [], [LOOKING_NORTH], size=(320, 200))
    hidden = render_cloud(cloud_of((small, 1), (large, 2)), [], [LOOKING_NORTH], size=(320, 200))
    assert hue_pixels(seen, 1).sum() > 1000 and hue_pixels(hidden, 2).sum() > 1000
    assert hue_pixels(hidden, 1).sum() == 0


def test_boxes_are_drawn_in_the_colour_of_their_id():
    cloud = cloud_of((plate([0, 0, 0]), 0), (plate([0, 0, 0], half=0.01, count=2), 3))
    without = render_cloud(cloud, [], [LOOKING_NORTH], size=(320, 200))
    drawn = render_cloud(cloud, [instance(5, (0, 0, 0), (0.02, 0.02, 0.02))], [LOOKING_NORTH], size=(320, 200))
    assert hue_pixels(drawn, 5).sum() > hue_pixels(without, 5).sum() + 30
    remembered = instance(5, (0, 0, 0), (0.02, 0.02, 0.02), seen_by=())
    assert (render_cloud(cloud, [remembered], [LOOKING_NORTH], size=(320, 200)) == without).all()


def test_an_empty_cloud_and_points_that_are_not_numbers():
    empty = cloud_of((np.zeros((0, 3)), 0))
    assert render_cloud(empty, [], [LOOKING_NORTH], size=(160, 100)).shape == (100, 160, 3)
    broken = cloud_of((plate([0, 0, 0]), 1), (np.full((5, 3), np.nan), 2))
    whole = cloud_of((plate([0, 0, 0]), 1))
    pictures = [render_cloud(each, [], [LOOKING_NORTH], size=(160, 100)) for each in (broken, whole)]
    assert (pictures[0] == pictures[1]).all()


def test_camera_that_looks_straight_down_gives_a_picture():
    down = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1]], float)
    picture = render_cloud(cloud_of((plate([0, 0, 0]), 1)), [], [down], size=(160, 100))
    assert hue_pixels(picture, 1).sum() > 100


def test_box_corners():
    corners = box_corners(OrientedBox(np.array([1.0, 2, 3]), np.eye(3), np.array([2.0, 4, 6])))
    assert corners[0].tolist() == [0, 0, 0] and corners[7].tolist() == [2, 4, 6]


def test_ply_opens_in_open3d(tmp_path):
    open3d = pytest.importorskip("open3d")
    cloud = cloud_of((plate([0, 0, 0], count=4), 7))
    write_ply(str(tmp_path / "cloud.ply"), cloud)
    table = open3d.t.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    np.testing.assert_array_equal(table.point.positions.numpy(), cloud.xyz)
    assert (table.point.instance_id.numpy() == 7).all()
    assert (table.point.colors.numpy() == 0).all()
