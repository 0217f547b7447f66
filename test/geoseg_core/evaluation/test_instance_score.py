"""AP, id switches, T-mIoU and T-SR against numbers worked out by hand."""

import numpy as np
import pytest

from geoseg_core.evaluation.instances import InstanceScore, average_precision, match, track_figures
from geoseg_core.evaluation.overlap import overlap

NAMES = {1: "mug", 2: "box"}


def strip(*runs):
    """A (1, N) label image of (id, length) runs."""
    return np.concatenate([np.full((1, length), each, np.uint16) for each, length in runs], 1)


def scored(sets, names=NAMES, min_pixels=2):
    """Report of sets given as (truth, predicted, scores) with one view each."""
    score = InstanceScore(names, min_pixels)
    for truth, predicted, scores in sets:
        score.add(overlap([truth], [predicted]), scores)
    return score.report()


def test_average_precision_by_hand():
    # Ranked: hit, miss, hit of 4 truths. Precision 1, 1/2, 2/3 -> monotone 1, 2/3, 2/3; recall 1/4, 1/4, 1/2.
    result = average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 4)
    assert result == pytest.approx(1 / 4 + 2 / 3 / 4)


def test_equal_scores_are_one_step_whatever_their_order():
    scores = np.array([0.5, 0.5])
    assert average_precision(scores, np.array([True, False]), 1) == 0.5
    assert average_precision(scores, np.array([False, True]), 1) == 0.5


def test_average_precision_without_truths_or_predictions():
    nothing = np.zeros(0)
    assert average_precision(nothing, nothing.astype(bool), 0) is None
    assert average_precision(nothing, nothing.astype(bool), 3) == 0.0


def test_match_gives_each_truth_to_the_best_score():
    iou = np.array([[0.6, 0.9], [0.4, 0.0]])
    assert match(iou, np.array([0.9, 0.1]), 0.5).tolist() == [0, -1]
    assert match(iou, np.array([0.1, 0.9]), 0.25).tolist() == [1, 0]
    assert match(iou, np.array([0.5, 0.5]), 0.5).tolist() == [-1, 0]


def test_the_threshold_itself_is_no_match():
    assert match(np.array([[0.5]]), np.array([1.0]), 0.5).tolist() == [-1]


def test_perfect_prediction():
    labels = strip((1, 4), (0, 2), (2, 4))
    report = scored([(labels, labels * 10, {10: 0.9, 20: 0.8})])
    assert (report["ap50"], report["ap25"]) == (1.0, 1.0)
    assert (report["id_switches"], report["t_miou"], report["t_sr"], report["truths"]) == (0, 1.0, 1.0, 2)


def test_a_poor_mask_counts_at_25_only():
    # IoU of the mug 4 / 10 = 0.4, of the box 1.
    report = scored([(strip((1, 4), (0, 6), (2, 4)), strip((5, 10), (6, 4)), {5: 0.9, 6: 0.8})])
    assert report["ap25"] == 1.0
    # At 0.5 the better-ranked prediction misses: precision 1/2 at recall 1/2.
    assert report["ap50"] == 0.25


def test_views_are_taken_jointly():
    score = InstanceScore({1: "mug"}, 2)
    score.add(overlap([strip((1, 9)), strip((1, 3))], [strip((7, 9)), strip((0, 3))]), {7: 1.0})
    report = score.report()
    assert report["ap50"] == 1.0  # 9 of 12 pixels
    assert report["t_miou"] == 0.5  # one view right, one empty
    assert report["t_sr"] == 0.5


def test_predictions_on_ignored_regions_are_left_out_and_on_unlabelled_ones_are_not():
    truth = strip((1, 4), (9, 6), (0, 6))  # 9 is a robot
    on_robot = scored([(truth, strip((5, 4), (6, 6), (0, 6)), {5: 0.5, 6: 0.9})])
    assert on_robot["ap50"] == 1.0
    on_floor = scored([(truth, strip((5, 4), (0, 6), (6, 6)), {5: 0.5, 6: 0.9})])
    assert on_floor["ap50"] == 0.5


def test_a_prediction_that_swallows_an_object_is_a_false_positive():
    truth = strip((1, 4), (9, 20))
    report = scored([(truth, strip((6, 24)), {6: 0.9})])
    assert report["ap50"] == 0.0
    beside = scored([(truth, strip((5, 3), (6, 21)), {5: 0.5, 6: 0.9})])
    assert beside["ap50"] == 1.0  # 6 took one of four pixels of the mug: a ragged edge, left out


def test_small_truths_are_ignored_regions_and_small_predictions_are_left_out():
    report = scored([(strip((1, 4), (2, 3)), strip((5, 4), (6, 2), (7, 1)), {5: 0.1, 6: 0.9, 7: 0.9})], min_pixels=4)
    assert report["ap50"] == 1.0 and report["truths"] == 1


def test_id_switches_count_changes_of_the_matched_id_also_over_gaps():
    mug = strip((1, 4))
    sets = [(mug, strip((each, 4)), {}) for each in (5, 5, 0, 5, 6, 6, 5)]
    report = scored(sets)
    assert report["id_switches"] == 2
    assert report["per_object"]["mug"]["id_switches"] == 2
    # The best single id is 5: right in 4 of 7 sets.
    assert report["t_miou"] == report["t_sr"] == 4 / 7


def test_one_predicted_id_serves_one_truth():
    figures = track_figures({(1, 5): [0.9, 0.9], (2, 5): [0.8, 0.8], (2, 6): [0.4]}, {1: 2, 2: 4, 3: 1})
    assert figures == {1: (0.9, 1.0), 2: (0.1, 0.0), 3: (0.0, 0.0)}


def test_nothing_to_measure_is_none():
    report = scored([(strip((9, 4)), strip((5, 4)), {})])
    assert [report[key] for key in ("ap50", "ap25", "id_switches", "t_miou", "t_sr")] == [None] * 5
