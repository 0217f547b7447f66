"""The figures of carried masks, against values computed by hand."""

import numpy as np
import pytest

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.masks import (
    Bin,
    Carried,
    MaskScore,
    calibration_error,
    centroid,
    contour,
    contour_accuracy,
    location_error,
    reliability,
)
from geoseg_core.evaluation.plots import write_reliability


def box(rows, columns, size=(30, 40)):
    mask = np.zeros(size, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


TRUTH = box((10, 20), (10, 20))
NOTHING = np.zeros((30, 40), bool)


def carried(truth, found, score=0.5, visible=None):
    return Carried(1, 0, 1, truth, found, bool(found.any()) if visible is None else visible, score)


def test_the_location_error_is_the_distance_of_the_centroids_over_the_diagonal():
    assert location_error(TRUTH, TRUTH) == 0
    # 3 down and 4 to the right of 30 x 40 pixels, whose diagonal is 50.
    assert location_error(box((13, 23), (14, 24)), TRUTH) == pytest.approx(5 / 50)
    assert location_error(NOTHING, TRUTH) == pytest.approx(np.hypot(14.5 - 14.5, 19.5 - 14.5) / 50)
    assert centroid(NOTHING).tolist() == [14.5, 19.5]


def test_contours_are_one_pixel_wide_and_open_at_the_edge():
    assert contour(TRUTH).sum() == 36
    assert contour(box((0, 10), (10, 20))).sum() == 10 + 2 * 9


def test_contours_agree_within_a_pixel_here():
    # 0.8 % of 50 pixels, rounded up, is 1 pixel.
    assert contour_accuracy(TRUTH, TRUTH) == 1
    assert contour_accuracy(box((9, 21), (9, 21)), TRUTH) == pytest.approx(2 * (40 / 44) / (40 / 44 + 1))
    assert contour_accuracy(box((24, 28), (30, 38)), TRUTH) == 0
    assert contour_accuracy(NOTHING, TRUTH) == 0
    assert contour_accuracy(NOTHING, NOTHING) == 1


def test_reliability_has_the_means_of_each_bin():
    bins = reliability([0.05, 0.72, 0.78, 1.0], [0.0, 0.5, 0.7, 0.8])
    assert [(each.low, each.high, each.count) for each in bins] == [(0, 0.1, 1), (0.7, 0.8, 2), (0.9, 1, 1)]
    assert [each.expected for each in bins] == pytest.approx([0.05, 0.75, 1])
    assert [each.reached for each in bins] == pytest.approx([0, 0.6, 0.8])
    assert calibration_error(bins) == pytest.approx((0.05 + 2 * 0.15 + 0.2) / 4)


def test_without_masks_there_is_no_reliability():
    assert reliability([], []) == []
    assert calibration_error([]) is None


def test_reliability_refuses_what_is_no_score():
    with pytest.raises(BadInput, match="from 0 to 1"):
        reliability([1.5], [0.5])
    with pytest.raises(BadInput, match="2 for 1"):
        reliability([0.5, 0.5], [0.5])


def test_a_score_counts_objects_of_both_views_and_asks_of_absent_ones_that_they_are_not_seen():
    score = MaskScore(least_px=64)
    half = box((10, 20), (15, 25))
    score.add("ego_to_exo", carried(TRUTH, half, 0.4))  # IoU 50 / 150
    score.add("ego_to_exo", carried(TRUTH, NOTHING, 0.0))
    score.add("ego_to_exo", carried(box((0, 3), (0, 3)), half, 0.9))  # too small to count
    score.add("ego_to_exo", carried(NOTHING, half, 0.6))
    score.add("ego_to_exo", carried(NOTHING, NOTHING, 0.0))
    score.add("ego_to_exo", carried(NOTHING, NOTHING, 0.0))
    score.add("exo_to_ego", carried(TRUTH, TRUTH, 1.0))
    score.seconds.append(0.5)
    report = score.report()
    there = report["ego_to_exo"]
    assert there["iou"] == pytest.approx((1 / 3 + 0) / 2)
    assert there["location_error"] == pytest.approx((5 / 50 + 5 / 50) / 2)
    assert there["present_accuracy"] == pytest.approx(1 / 2)
    assert there["absent_accuracy"] == pytest.approx(2 / 3)
    assert there["visibility_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (there["objects"], there["absent_objects"]) == (2, 3)
    back = report["exo_to_ego"]
    assert (back["iou"], back["contour_accuracy"], back["absent_accuracy"], back["visibility_accuracy"]) == (
        1, 1, None, None,
    )  # fmt: skip
    # Found masks: 0.4 expected and 1/3 reached, 0.6 and 0 of the absent object, 1 and 1.
    assert report["calibration_error"] == pytest.approx((0.4 - 1 / 3 + 0.6 + 0) / 3)
    assert [each["count"] for each in report["reliability"]] == [1, 1, 1]
    assert (report["sets"], report["refused"], report["seconds_median"]) == (1, 0, 0.5)


def test_a_score_of_nothing_is_refused():
    with pytest.raises(BadInput, match="at least one set"):
        MaskScore(64).report()


def test_the_curves_are_drawn_with_and_without_masks(tmp_path):
    path = write_reliability(tmp_path / "curve.png", {"one": [Bin(0.4, 0.5, 0.45, 0.4, 7)], "none": []})
    assert path.stat().st_size > 1000
