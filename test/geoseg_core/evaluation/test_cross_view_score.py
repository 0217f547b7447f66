"""Cross-view IoU against numbers worked out by hand."""

import numpy as np

from geoseg_core.evaluation.cross_view import CrossViewScore, direction


def strip(start, stop, width=20):
    mask = np.zeros((1, width), bool)
    mask[0, start:stop] = True
    return mask


def test_directions():
    assert direction("ego", "exo", "ego") == "ego_to_exo"
    assert direction("exo", "ego", "ego") == "exo_to_ego"
    assert direction("exo_left", "exo_right", "ego") is None
    assert direction("ego", "ego", "ego") is None


def test_mean_over_objects_of_mean_over_sets():
    score = CrossViewScore(min_pixels=4)
    assert score.add("ego_to_exo", "mug", strip(0, 4), strip(0, 4)) == 1.0
    assert score.add("ego_to_exo", "mug", strip(0, 4), strip(2, 6)) == 2 / 6
    score.add("ego_to_exo", "mug", strip(0, 4), strip(10, 12))
    score.add("ego_to_exo", "box", strip(0, 8), strip(0, 4))
    report = score.report()
    mug = (1 + 1 / 3 + 0) / 3
    assert report["ego_to_exo"]["per_object"] == {"box": 0.5, "mug": mug}
    assert report["ego_to_exo"]["iou"] == (mug + 0.5) / 2
    assert report["ego_to_exo"]["pairs"] == 4
    assert report["exo_to_ego"]["iou"] is None


def test_small_truths_do_not_count_and_absent_ones_count_as_false_positives():
    score = CrossViewScore(min_pixels=4)
    assert score.add("exo_to_ego", "mug", strip(0, 3), strip(0, 10)) is None
    score.add("exo_to_ego", "mug", strip(0, 0), strip(0, 4))
    score.add("exo_to_ego", "mug", strip(0, 0), strip(0, 3))
    report = score.report()["exo_to_ego"]
    assert report["iou"] is None and report["pairs"] == 0
    assert report["absent_pairs"] == 2
    assert report["false_positive_rate"] == 0.5
