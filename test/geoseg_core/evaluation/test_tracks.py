"""The figures of followed objects, against values computed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from geoseg_core.evaluation.plots import write_tracks
from geoseg_core.evaluation.report import compare
from geoseg_core.evaluation.tracks import Track, TracksConfig, curve, figures, hidden_runs, occlusions, over_time

CONFIG = TracksConfig(least_px=64, occluded_s=0.3)


def track(ego_px, exo_px, source=0, **values) -> Track:
    """One object in an ego and an exo view, a set each 0.1 s; values of views that are not given are 0."""
    pixels = np.stack((ego_px, exo_px), axis=1)[..., None]
    made = {name: np.zeros(pixels.shape) for name in ("followed", "strayed", "single")}
    for name, (ego, exo) in values.items():
        made[name] = np.stack((ego, exo), axis=1)[..., None]
    return Track(source, 100 * np.arange(len(pixels)), pixels, found=np.array(made["followed"] > 0), **made)


def test_the_first_set_and_small_truths_do_not_count():
    report = figures([track([100, 100, 63], [100, 64, 200], followed=([1, 0.5, 0.9], [1, 0.3, 0.6]))], CONFIG)
    assert report["iou"] == pytest.approx(
        {"all": 1.4 / 3, "ego": 0.5, "exo": 0.45, "source": 0.5, "others": 0.45},
    )
    assert report["masks"] == {"all": 3, "ego": 1, "exo": 2, "source": 1, "others": 2}


def test_source_and_others_follow_the_prompt_and_all_masks_weigh_the_same():
    one = track([100, 100], [100, 100], followed=([1, 0.8], [1, 0.4]))
    two = track([100, 100, 100], [100, 100, 100], source=1, followed=([1, 0.2, 0.6], [1, 1, 0]))
    report = figures([one, two], CONFIG)
    assert report["iou"]["source"] == pytest.approx((0.8 + 1 + 0) / 3)
    assert report["iou"]["others"] == pytest.approx((0.4 + 0.2 + 0.6) / 3)
    assert report["iou"]["ego"] == pytest.approx((0.8 + 0.2 + 0.6) / 3)


def test_the_gain_is_that_of_the_other_views():
    values = {"followed": ([1, 0.9, 0.9], [1, 0.7, 0.6]), "single": ([1, 0, 0], [1, 0.5, 0.8])}
    report = figures([track([100] * 3, [100] * 3, **values)], CONFIG)
    assert report["overall"] == pytest.approx({"iou": 0.65, "single_frame_iou": 0.65, "gain": 0.0, "masks": 2})


def test_with_occlusion_either_view_has_less_than_half_of_the_usual_pixels():
    ego = [200, 200, 200, 99, 0, 200, 200]  # usual: 200, the median of those from 64 on
    exo = [300, 300, 300, 300, 300, 149, 150]  # usual: 300
    values = {
        "followed": ([0] * 7, [1, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5]),
        "single": ([0] * 7, [1, 0.9, 0.9, 0.2, 0, 0.1, 0]),
    }
    report = figures([track(ego, exo, **values)], CONFIG)
    assert report["overall"]["masks"] == 6
    assert report["with_occlusion"] == pytest.approx(
        {"iou": 0.7, "single_frame_iou": 0.1, "gain": 0.6, "masks": 3},
    )


def test_absent_objects_shall_have_no_mask():
    report = figures(
        [track([100, 0, 0, 0, 100], [0, 100, 100, 100, 100], followed=([0, 0, 0.1, 0, 0], [0] * 5))], CONFIG
    )
    assert (report["absent_accuracy"], report["absent_masks"]) == (pytest.approx(2 / 3), 3)


def test_without_masks_there_are_no_figures():
    report = figures([track([100, 10], [100, 10])], CONFIG)
    assert report["iou"] == dict.fromkeys(("all", "ego", "exo", "source", "others"))
    assert report["overall"] == {"iou": None, "single_frame_iou": None, "gain": None, "masks": 0}
    assert report["identity"] == {"kept": None, "taken_over": None, "occlusions": 0}
    assert report["absent_accuracy"] is None
    empty = Track(0, np.array([0, 100]), *np.zeros((5, 2, 2, 0)))
    assert figures([empty], CONFIG)["masks"]["all"] == 0


def test_runs_of_sets_without_a_pixel_are_found():
    assert hidden_runs(np.array([0, 0, 5, 0, 9, 0])) == [(0, 2), (3, 4), (5, 6)]
    assert hidden_runs(np.array([1, 2])) == []


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        ([100, 0, 0, 0, 100, 100], [(1, 4, (4, 5))]),
        ([100, 0, 0, 100, 100, 100], []),  # 0.2 s
        ([0, 0, 0, 0, 100, 100], []),  # never shown before
        ([100, 0, 0, 0, 0, 0], []),  # not shown again
        ([63, 0, 0, 0, 100, 100], []),  # too little shown before
        ([100, 0, 0, 0, 9, 100], [(1, 4, (5,))]),  # first seen with too few pixels
        ([100, 0, 0, 0, 9, 0, 0, 0, 100], [(5, 8, (8,))]),  # hidden again before it is shown
        ([100, 0, 0, 0, 100, 0, 100], [(1, 4, (4,))]),  # looked at until it is hidden again
        ([100, 0, 0, 0, *[100] * 7], [(1, 4, (4, 5, 6, 7, 8))]),  # five sets at most
    ],
)
def test_occlusions_are_long_runs_between_sets_that_show_the_object(pixels, found):
    made = track([100] * len(pixels), pixels)
    assert [(each.view, each.first, each.end, each.back) for each in occlusions(made, CONFIG)] == [
        (1, *each) for each in found
    ]


def identity_of(followed, strayed):
    hidden = [100, 0, 0, 0, 100, 100, 100]
    nothing = [0] * 7
    made = track([100] * 7, hidden, followed=(nothing, [0] * 4 + followed), strayed=(nothing, [0] * 4 + strayed))
    return figures([made], CONFIG)["identity"]


def test_identity_is_kept_if_the_mask_comes_back_to_the_object_and_to_nothing_else():
    assert identity_of([0, 0.4, 0.5], [0.4, 0, 0]) == {"kept": 1, "taken_over": 0, "occlusions": 1}
    assert identity_of([0, 0.4, 0.4], [0.4, 0, 0]) == {"kept": 0, "taken_over": 0, "occlusions": 1}
    assert identity_of([0, 0.4, 0.9], [0.5, 0, 0]) == {"kept": 0, "taken_over": 1, "occlusions": 1}


def test_the_share_is_of_all_occlusions_of_all_views_objects_and_clips():
    one = track([100, 0, 0, 0, 100], [100, 0, 0, 0, 100], followed=([1, 0, 0, 0, 0.6], [1, 0, 0, 0, 0.2]))
    two = track([100, 0, 0, 0, 100], [100] * 5, strayed=([0, 0, 0, 0, 0.7], [0] * 5))
    identity = figures([one, two], CONFIG)["identity"]
    assert identity == pytest.approx({"kept": 1 / 3, "taken_over": 1 / 3, "occlusions": 3})


def test_curves_are_means_over_tracks_at_each_time_with_gaps_where_nothing_counts():
    one = track([100, 100, 0], [100] * 3, followed=([1, 0.8, 0], [1, 0.4, 0.2]))
    two = track([100, 100, 0], [100] * 3, followed=([1, 0.6, 0], [1, 0.2, 0.4]))
    other = replace(one, source=1)
    seconds, values = zip(*curve([one, two, other], "followed", 64, ("ego", "source")), strict=True)
    assert seconds == (0, 0.1, 0.2)
    assert values == pytest.approx((np.nan, 0.7, np.nan), nan_ok=True)
    curves = over_time([one, two, other], CONFIG, "exo")
    assert curves["followed, prompted elsewhere"][1:] == [(0.1, pytest.approx(0.3)), (0.2, pytest.approx(0.3))]
    assert curves["followed, prompted here"][1] == (0.1, pytest.approx(0.4))


@pytest.mark.parametrize("blackout_s", [None, (0.1, 0.2)])
def test_the_curves_are_drawn(blackout_s, tmp_path):
    curves = {"ego views": {"followed": [(0.1, 0.5), (0.2, np.nan)], "single frame": []}}
    assert write_tracks(tmp_path / "tracks.png", curves, blackout_s).stat().st_size > 1000


@pytest.mark.parametrize("key", ["gain", "kept", "taken_over"])
def test_compare_knows_which_way_each_figure_is_better(key):
    better = 0.4 if key == "taken_over" else 0.6
    found = compare({"tracks": {"both": {key: 0.5}}}, {"tracks": {"both": {key: better}}})
    assert [each.verdict for each in found] == [1]
