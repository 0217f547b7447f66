"""Geometry figures against values computed by hand."""

import numpy as np
import pytest

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry import (
    area_under_curve,
    depth_errors,
    depth_scale,
    direction_error_deg,
    relative_pose,
    rotation_error_deg,
    track_shares,
)


def pose(angle_deg=0.0, translation=(0, 0, 0)):
    """A turn about y, then a move."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    matrix = np.eye(4)
    matrix[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    matrix[:3, 3] = translation
    return matrix


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.5, 30.0, 90.0, 179.0, 180.0])
def test_the_rotation_error_is_the_angle_between_two_turns(angle):
    assert rotation_error_deg(pose(20 + angle), pose(20)) == pytest.approx(angle, rel=1e-9, abs=1e-10)


def test_a_relative_pose_says_where_the_second_camera_is_in_the_first():
    # The first looks along +x of the world (a turn of 90 degrees about y); 2 m ahead of it stands the second.
    first = pose(90, (1, 0, 0))
    second = pose(90, (3, 0, 0))
    np.testing.assert_allclose(relative_pose(first, second), pose(0, (0, 0, 2)), atol=1e-12)


def test_the_world_of_the_prediction_plays_no_part():
    moved = pose(77, (5, -3, 2))
    truth = relative_pose(pose(10, (1, 2, 3)), pose(40, (0, 1, 0)))
    found = relative_pose(moved @ pose(10, (1, 2, 3)), moved @ pose(40, (0, 1, 0)))
    assert rotation_error_deg(found, truth) < 1e-6
    assert direction_error_deg(found, truth) < 1e-6


def test_direction_errors_ignore_lengths_and_fold_only_when_asked():
    truth = pose(0, (0, 0, 2))
    assert direction_error_deg(pose(0, (0, 0, 0.1)), truth) == 0
    assert direction_error_deg(pose(0, (3, 0, 0)), truth) == pytest.approx(90)
    assert direction_error_deg(pose(0, (0, 0, -1)), truth) == pytest.approx(180)
    assert direction_error_deg(pose(0, (0, 0, -1)), truth, folded=True) == pytest.approx(0)
    assert direction_error_deg(pose(0, (1, 0, -1)), truth, folded=True) == pytest.approx(45)
    assert direction_error_deg(pose(), truth) == 90


def test_a_camera_that_does_not_move_has_no_direction():
    assert direction_error_deg(pose(0, (1, 0, 0)), pose(0, (0, 0, 1e-5))) == 0


def test_auc_is_the_area_below_the_curve():
    # 0 deg gives 1, 15 deg gives 1/2, 30 and more give 0.
    assert area_under_curve([0, 15, 30, 170]) == pytest.approx((1 + 0.5) / 4)
    # Against the area of the curve itself, sampled.
    errors = np.random.default_rng(3).uniform(0, 60, 50)
    sampled = np.mean([(errors <= x).mean() for x in np.linspace(0, 30, 30001)])
    assert area_under_curve(errors) == pytest.approx(sampled, abs=1e-4)
    with pytest.raises(BadInput, match="at least one error"):
        area_under_curve([])


def test_depth_is_compared_after_one_median_scale_for_the_set():
    truth = [np.array([[2.0, 4.0]]), np.array([[6.0, 0.0]])]
    predicted = [np.array([[1.0, 2.0]]), np.array([[2.0, 9.0]])]
    # Ratios 2, 2, 3: scale 2. Errors |2-2|/2, |4-4|/4, |4-6|/6; the last pixel has no truth.
    assert depth_scale(predicted, truth) == 2
    abs_rel, delta = depth_errors(predicted, truth)
    assert abs_rel == pytest.approx((2 / 6) / 3)
    assert delta == pytest.approx(2 / 3)


def test_unknown_depth_counts_as_wrong_and_does_not_touch_the_scale():
    truth = [np.array([[1.0, 2.0, 3.0, 4.0]])]
    predicted = [np.array([[0.5, 1.0, 0.0, np.nan]])]
    assert depth_scale(predicted, truth) == 2
    assert depth_errors(predicted, truth) == (pytest.approx(0.5), pytest.approx(0.5))


def test_delta_is_less_than_a_quarter_in_both_directions():
    truth = [np.array([[1.0, 1.0, 1.0, 1.0, 1.0]])]
    predicted = [np.array([[1.0, 1.0, 1.0, 1.26, 0.79]])]
    assert depth_errors(predicted, truth)[1] == pytest.approx(3 / 5)


def test_depth_without_any_truth_is_refused():
    with pytest.raises(BadInput, match="true depth"):
        depth_errors([np.ones((2, 2))], [np.zeros((2, 2))])


def test_tracks_count_the_visible_points_within_a_share_of_the_width():
    truth = np.zeros((5, 2))
    predicted = np.array([[0, 0], [2, 0], [0, 4], [3, 4], [90, 0]], float)
    visible = np.array([True, True, True, True, False])
    # Width 100: 1 % is 1 px, 4 % is 4 px; distances 0, 2, 4, 5; the fifth point is hidden.
    assert track_shares(predicted, truth, visible, 100, (1, 2, 4)) == [0.25, 0.5, 0.75]
    with pytest.raises(BadInput, match="visible"):
        track_shares(predicted, truth, np.zeros(5, bool), 100, (4,))
