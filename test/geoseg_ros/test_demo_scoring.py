"""The demo's figures from messages that are written here, against numbers worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from oracle import CAMERAS, OBJECTS, sequence

from geoseg_core.evaluation.prompts import click
from geoseg_core.prompts import Prompt
from geoseg_core.results import LabelledCloud, ObjectMask, PromptResult, ScaleState, SceneResult, ViewMasks, Visibility
from geoseg_ros.conversions import masks_to_msg, prompt_result_to_msg
from geoseg_ros.demo.label_runs import LabelRuns
from geoseg_ros.demo.scoring import Followed, Scores
from geoseg_ros.demo.script import Request

MUG, FOLLOWED_AS = 1, 7


def views_of(labelled, cut_px):
    """The mug's true masks, in the exo view without its first `cut_px` rows."""
    views = []
    for camera in CAMERAS:
        mask = labelled.labels[camera] == MUG
        if camera == "exo":
            mask[np.flatnonzero(mask.any(1))[:cut_px]] = False
        views.append(ViewMasks(camera, (ObjectMask(FOLLOWED_AS, mask, 1.0, Visibility.VISIBLE),)))
    return tuple(views)


def collected(sets, published):
    """A follower that heard masks and perfect labels of the sets `published`; the mask is halved in the last one."""
    follower = SimpleNamespace(masks={}, labels={}, scores={}, clouds={})
    for number in published:
        frames = sets[number].frames
        # The prompt is answered on the first set: its message came before the object was followed.
        views = () if number == 0 else views_of(sets[number], cut_px=10 if number == 2 else 0)
        follower.masks[frames.stamp_ns] = masks_to_msg(SceneResult(frames, views, None), "world", "rgbd")
        for view in frames.views:
            follower.labels[view.camera, view.stamp_ns] = LabelRuns.of(sets[number].labels[view.camera] * 10)
        follower.scores[frames.stamp_ns] = {}
    return follower


def followed_from(labelled, camera):
    request = Request(MUG, "mug", click(camera, [np.array([10.0, 10.0])], [True]))
    answer = PromptResult(labelled.frames, FOLLOWED_AS, views_of(labelled, 5), _no_points(), None, ScaleState())
    return Followed(request, FOLLOWED_AS, prompt_result_to_msg(answer, "world", "rgbd"))


def _no_points():
    return LabelledCloud(
        np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.uint16), np.zeros(0, np.float32)
    )


@pytest.fixture
def sets():
    return sequence(4)


def test_figures_by_hand(sets):
    scores = Scores(OBJECTS)
    follower = collected(sets, (0, 1, 2))
    followed = [followed_from(sets[0], "ego"), followed_from(sets[0], "exo")]
    instants = [scores.add(each, follower, followed, "ego") for each in sets]
    report = scores.report("rgbd")
    assert [each.iou["ego_to_exo"] for each in scores.history] == [{"mug": 0.75}, {"mug": 1.0}, {"mug": 0.5}]
    # The answer lacks 5 of 20 rows in the exo view, the second set none, the third 10; the fourth was not published.
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["per_object"] == {"mug": (0.75 + 1 + 0.5) / 3}
    assert report["cross_view"]["rgbd"]["exo_to_ego"]["per_object"] == {"mug": 1.0}
    assert report["prompts"]["rgbd"]["one_click"] == {"miou": 0.875, "macc": 1 - 100 / 6144, "prompts": 2}
    assert report["instances"]["rgbd"]["ap50"] == 1.0 and report["instances"]["rgbd"]["id_switches"] == 0
    assert (scores.received, scores.processed) == (4, 3)
    assert instants[3] is None
    assert [np.count_nonzero(each.labels[1] == FOLLOWED_AS) for each in instants[:3]] == [300, 400, 200]


def test_labels_of_followed_objects_alone_are_no_instances(sets):
    scores, follower = Scores(OBJECTS), collected(sets, (0, 1, 2))
    follower.scores.clear()
    for each in sets:
        scores.add(each, follower, [], "ego")
    assert scores.report("tiny")["instances"]["tiny"]["ap50"] is None
    assert not any(each.ids for each in scores.history)


def test_an_answer_counts_under_the_kind_of_its_prompt(sets):
    asked = followed_from(sets[0], "ego")
    boxed = replace(asked, request=replace(asked.request, prompt=Prompt("ego", box_px=np.array([0.0, 0.0, 9.0, 9.0]))))
    scores = Scores(OBJECTS)
    scores.add(sets[0], collected(sets, (0,)), [boxed], "ego")
    report = scores.report("tiny")["prompts"]["tiny"]
    assert (report["box"]["prompts"], report["one_click"]["prompts"]) == (1, 0)


@pytest.mark.parametrize("rows", [[[0, 0, 5], [5, 5, 0]], [[7]], [[1, 2], [3, 4]]])
def test_label_runs_give_the_image_back(rows):
    image = np.array(rows, np.uint16)
    again = LabelRuns.of(image).image()
    assert again.tolist() == rows and again.dtype == np.uint16


def test_sets_before_the_answer_do_not_count(sets):
    scores = Scores(OBJECTS)
    for each in sets[:3]:
        scores.add(each, collected(sets, (0, 1, 2)), [followed_from(sets[2], "ego")], "ego")
    assert scores.report("rgbd")["cross_view"]["rgbd"]["ego_to_exo"]["pairs"] == 1


def test_an_object_that_is_hidden_where_it_was_prompted_does_not_count(sets):
    sets[1].labels["ego"][sets[1].labels["ego"] == MUG] = 0
    scores = Scores(OBJECTS)
    scores.add(sets[1], collected(sets, (0, 1, 2)), [followed_from(sets[0], "ego")], "ego")
    assert scores.report("rgbd")["cross_view"]["rgbd"]["ego_to_exo"]["pairs"] == 0
