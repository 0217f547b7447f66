"""Average precision by class on strips of points, by hand."""

import numpy as np
import pytest

from geoseg_core.evaluation.instance_classes import ClassPredictions
from geoseg_core.evaluation.overlap import overlap


def strip(*runs):
    """A (1, N) label image of (id, length) runs."""
    return np.concatenate([np.full((1, length), each, np.uint16) for each, length in runs], 1)


def precisions(*sets, threshold=0.5):
    """AP of each class after sets of (truth, true classes, predicted, scores, their classes)."""
    classes = ClassPredictions((threshold,), 2)
    for truth, true, predicted, scores, found in sets:
        classes.add(overlap([truth], [predicted]), true, scores, found)
    return {number: ranked.average_precision(threshold) for number, ranked in classes.ranked.items()}


def test_the_predictions_of_a_class_are_ranked_over_all_scenes():
    both = strip((1, 4), (2, 4))
    named_alike = (both, {1: 5, 2: 7}, both, {1: 0.9, 2: 0.8}, {1: 5, 2: 5})
    another = (strip((3, 4)), {3: 5}, strip((1, 4)), {1: 0.5}, {1: 5})
    # Class 5: hit, a miss on the thing of class 7, hit, of two truths.
    assert precisions(named_alike, another) == pytest.approx({5: 1 / 2 + 2 / 3 / 2, 7: 0.0})


def test_a_class_without_truths_has_no_figure():
    both = strip((1, 4), (2, 4))
    assert precisions((both, {1: 5, 2: 7}, both, {1: 0.9, 2: 0.8}, {1: 5, 2: 9})) == {5: 1.0, 7: 0.0, 9: None}


@pytest.mark.parametrize("void", [0, 2])
@pytest.mark.parametrize(("threshold", "expected"), [(0.5, 1.0), (0.7, 0.5)])
def test_what_is_on_void_by_more_than_the_threshold_is_left_out(void, threshold, expected):
    truth = strip((1, 4), (void, 6), (3, 4))
    predicted = strip((1, 4), (2, 10))
    # Of prediction 2, which is ranked first, 6 of 10 points have no label (or a thing of no class), 4 are of class 7.
    found = precisions((truth, {1: 5, 3: 7}, predicted, {1: 0.5, 2: 0.9}, {1: 5, 2: 5}), threshold=threshold)
    assert found == {5: expected, 7: 0.0}


def test_a_thing_that_is_too_small_excuses_its_own_class_alone():
    truth, predicted = strip((1, 4), (2, 1), (0, 1)), strip((1, 4), (2, 2))
    for number, expected in ((5, 1.0), (7, 0.5)):
        # Half of prediction 2 is void; the thing of one point makes it more, if it has its class.
        found = precisions((truth, {1: 5, 2: number}, predicted, {1: 0.5, 2: 0.9}, {1: 5, 2: 5}))
        assert found[5] == expected


def test_a_second_prediction_of_a_truth_is_a_miss():
    truth, predicted = strip((1, 8)), strip((1, 3), (2, 5))
    found = precisions((truth, {1: 5}, predicted, {1: 0.9, 2: 0.8}, {1: 5, 2: 5}), threshold=0.25)
    assert found == {5: 1.0}
    found = precisions((truth, {1: 5}, predicted, {1: 0.9, 2: 0.8}, {1: 5, 2: 5}))
    assert found == {5: 0.5}


def test_predictions_without_a_class_count_nowhere():
    both = strip((1, 4), (2, 4))
    assert precisions((both, {1: 5}, both, {1: 0.5, 2: 0.9}, {1: 5, 2: 0})) == {5: 1.0}
