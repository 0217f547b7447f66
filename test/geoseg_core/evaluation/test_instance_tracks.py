"""T-mIoU, T-SR and mean IoU against numbers worked out by hand."""

import numpy as np
import pytest

from geoseg_core.evaluation.instance_tracks import assigned, assigned_ious, object_tracks
from geoseg_core.evaluation.overlap import overlap


def strip(*runs):
    """A (1, N) label image of (id, length) runs."""
    return np.concatenate([np.full((1, length), each, np.uint16) for each, length in runs], 1)


def tracks(truth, found, least_px=2):
    counts = overlap(truth, found)
    return object_tracks(counts, np.ones(len(counts.truth_ids), bool), least_px)


def test_each_view_weighs_the_same_and_success_asks_for_a_pixel_in_every_view():
    truth = [strip((1, 4), (0, 4)), strip((1, 8))]
    (track,) = tracks(truth, [strip((7, 4), (0, 4)), strip((7, 2), (0, 6))])
    assert (track.object_id, track.found_id) == (1, 7)
    assert (track.t_miou, track.t_sr, track.half_share) == ((1 + 0.25) / 2, 1.0, 0.5)
    (track,) = tracks(truth, [strip((7, 4), (0, 4)), strip((0, 8))])
    assert (track.t_miou, track.t_sr, track.half_share) == (0.5, 0.0, 0.5)


def test_success_does_not_ask_where_the_mask_lies():
    (track,) = tracks([strip((1, 4), (0, 4))] * 2, [strip((7, 4), (0, 4)), strip((0, 4), (7, 4))])
    assert (track.t_miou, track.t_sr) == (0.5, 1.0)


def test_views_that_hardly_show_the_object_do_not_count():
    truth = [strip((1, 4), (0, 4)), strip((1, 1), (0, 7)), strip((0, 8))]
    (track,) = tracks(truth, [strip((7, 4), (0, 4)), strip((0, 8)), strip((0, 8))])
    assert (track.t_miou, track.t_sr, track.half_share) == (1.0, 1.0, 1.0)
    assert tracks(truth, [strip((7, 4), (0, 4))] * 3, least_px=5) == []


def test_one_found_thing_stands_for_one_object_and_none_for_what_it_does_not_meet():
    first, second, third = tracks([strip((1, 4), (2, 4), (3, 4))], [strip((7, 8), (0, 4))])
    assert {first.found_id, second.found_id} == {0, 7} and third.found_id == 0
    assert (third.t_miou, third.t_sr, third.half_share) == (0.0, 0.0, 0.0)


def test_assignment_takes_the_highest_sum():
    assert assigned(np.array([[0.9, 0.8], [0.8, 0.1]])).tolist() == [1, 0]
    assert assigned(np.array([[0.5, 0.0], [0.0, 0.0]])).tolist() == [0, -1]
    assert assigned(np.zeros((2, 0))).tolist() == [-1, -1]


def test_mean_overlap_takes_all_views_jointly():
    counts = overlap([strip((1, 4), (2, 4)), strip((1, 8))], [strip((7, 4), (0, 4)), strip((0, 8))])
    assert assigned_ious(counts, np.array([True, True])).tolist() == pytest.approx([4 / 12, 0.0])
    nothing = overlap([strip((1, 4))], [strip((0, 4))])
    assert assigned_ious(nothing, np.array([True])).tolist() == [0.0]
