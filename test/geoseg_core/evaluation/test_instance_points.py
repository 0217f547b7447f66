"""The cloud of a wall, what label images say of its points, and pieces that vote."""

import numpy as np
import pytest
from wall import TWO_THINGS, labels_of, wall

from geoseg_core.config import build
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.instance_points import scene_points, thinned
from geoseg_core.evaluation.superpoints import SuperpointConfig, superpoints, voted


def columns_of(cloud, chosen):
    """Which columns of the wall the chosen points are in, with how many points each has."""
    columns, counts = np.unique(np.rint(cloud.points[chosen, 0] * 10 + 0.5).astype(int), return_counts=True)
    return dict(zip(columns.tolist(), counts.tolist(), strict=True))


def test_the_cloud_has_a_point_for_each_place_that_a_view_sees():
    cloud = scene_points(wall(), 0.1)
    assert len(cloud.points) == 40 and cloud.points[:, 2] == pytest.approx(1.0)
    assert columns_of(cloud, cloud.ids == 0) == dict.fromkeys((3, 4, 8, 9), 4)
    for number, columns in TWO_THINGS.items():
        assert columns_of(cloud, cloud.ids == number) == dict.fromkeys(columns, 4)
    assert len(scene_points(wall(), 0.1, views=1).points) == 32
    # Rows 0 and 3 and the outermost columns have no neighbours on both sides in any view.
    known = np.isfinite(cloud.normals[:, 0])
    assert columns_of(cloud, known) == dict.fromkeys(range(1, 9), 2)
    assert np.abs(cloud.normals[known]) == pytest.approx(np.tile([0, 0, 1], (16, 1)))


def test_a_voxel_has_its_most_frequent_id_and_of_equal_ones_the_lowest():
    places = np.array([[0.1, 0, 0], [0.2, 0, 0], [0.6, 0, 0], [3.5, 0, 0], [3.6, 0, 0]])
    flat = np.concatenate((places, np.ones((5, 3))), axis=1)
    colours = np.arange(15.0).reshape(5, 3)
    points, ids, normals, colour = thinned(flat, np.array([5, 5, 2, 9, 4]), colours, 1.0)
    assert ids.tolist() == [5, 4]
    assert points[:, 0] == pytest.approx([0.15, 3.6])
    assert normals == pytest.approx(np.full((2, 3), 3**-0.5))
    assert colour.tolist() == [[1.5, 2.5, 3.5], [12, 13, 14]]


def test_a_point_is_of_a_thing_where_half_of_the_views_that_see_it_say_so():
    cloud = scene_points(wall(), 0.1)
    first, second = labels_of({1: (0, 1, 2, 3), 2: (5,)}, 0), labels_of({1: (3, 8), 2: (4, 5, 6)}, 1)
    labels = cloud.labelled([first, second])
    # Column 2 is seen by both views, and one says 1; in column 4 one says 2; column 8 is seen by one, which says 1.
    assert columns_of(cloud, labels == 1) == dict.fromkeys((0, 1, 2, 3, 8), 4)
    assert columns_of(cloud, labels == 2) == dict.fromkeys((4, 5, 6), 4)
    disputed = cloud.labelled([labels_of({2: (5,)}, 0), labels_of({1: (5,)}, 1)])
    assert columns_of(cloud, disputed == 1) == {5: 4} and not (disputed == 2).any()
    assert not cloud.labelled([np.zeros((4, 8), np.uint16)] * 2).any()


def test_one_of_three_views_is_too_few():
    cloud = scene_points(wall(views=(0, 0, 0)), 0.1)
    empty, one = np.zeros((4, 8), np.uint16), labels_of({1: (5,)}, 0)
    assert not cloud.labelled([one, empty, empty]).any()
    assert (cloud.labelled([one, one, empty]) == 1).sum() == 4


def test_a_view_does_not_see_what_is_behind_something():
    sample = wall()
    sample.depth[1, :, 4] = 0.5  # something stands before column 6 in view 1
    cloud = scene_points(sample, 0.1)
    labels = cloud.labelled([np.zeros((4, 8), np.uint16), labels_of({1: (6,)}, 1)])
    behind = (cloud.points[:, 2] > 0.9) & (np.abs(cloud.points[:, 0] - 0.55) < 0.01)
    assert behind.sum() == 4 and not labels[behind].any()
    assert (labels[cloud.points[:, 2] < 0.6] == 1).all()


def test_truth_is_needed():
    sample = wall()
    with pytest.raises(BadInput, match="wall: expected true depth"):
        scene_points(type(sample)(sample.images, source="wall"), 0.1)


def test_pieces_end_at_colours_and_cubes_and_where_no_normal_is_known():
    cloud = scene_points(wall(), 0.1)
    wide = superpoints(cloud, build(SuperpointConfig, {"cube": 100.0}))
    inner = np.isfinite(cloud.normals[:, 0]) & (cloud.points[:, 0] > 0)
    # Rows 1 and 2 of columns 1 and 2, 3 and 4, 5 to 7, and 8; the other 24 points are alone.
    sizes = np.bincount(wide[inner])
    assert sorted(sizes[sizes > 0].tolist()) == [2, 4, 4, 6]
    assert len(np.unique(wide)) == 4 + 24
    narrow = superpoints(cloud, build(SuperpointConfig, {"cube": 1.0, "reach": 1.0}))
    assert len(np.unique(narrow)) == 40


def test_a_piece_takes_its_most_frequent_label_and_of_equal_ones_a_thing():
    labels = np.array([1, 1, 2, 0, 3, 0, 5, 4, 7])
    assert voted(labels, np.array([0, 0, 0, 1, 1, 2, 3, 3, 4])).tolist() == [1, 1, 1, 3, 3, 0, 4, 4, 7]
    assert voted(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []
