"""Prompts against the truth: what is asked, and figures computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg_core.datasets.marked import MarkedSample
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.prompt_regions import united
from geoseg_core.evaluation.prompts_evaluator import (
    ALL_VIEWS,
    KINDS,
    Answered,
    Group,
    PromptsEvaluationConfig,
    PromptsScore,
    ask,
    drawn_points,
    evaluate_prompts,
    true_masks,
)
from geoseg_core.prompts import Prompt

CONFIG = PromptsEvaluationConfig(least_px=10)


class Scene:
    """What an encoder would give, for methods that look at nothing else."""

    def __init__(self, sample):
        self.frames, self.sample = images_only(sample), sample


def sample():
    """Two views: thing 1 in both, thing 2 in the second, thing 3 too small, an arm that is no thing."""
    ids = torch.zeros(2, 20, 30, dtype=torch.int64)
    ids[0, 2:8, 2:8], ids[1, 4:14, 4:14] = 1, 1
    ids[1, 15:19, 20:28] = 2
    ids[0, 19, 0:3] = 3
    ids[:, 0, 20:30] = 7
    return Sample(torch.zeros(2, 3, 20, 30), instance_ids=ids, object_to_world=torch.zeros(2, 5, 4, 4), source="made")


def knowing(scene):
    """The things on which the positive points, boxes or masks lie, wholly."""
    labels = scene.sample.instance_ids.numpy()

    def answer(prompts):
        found = set()
        for prompt in prompts:
            view = labels[scene.frames.index(prompt.camera)]
            columns, rows = prompt.points_px[prompt.positive].astype(int).T
            found |= set(view[rows, columns].tolist())
            if prompt.box_px is not None:
                found.add(view[round(prompt.box_px[1] + 0.5), round(prompt.box_px[0] + 0.5)])
            if prompt.mask is not None:
                found |= set(view[prompt.mask].tolist())
        return list(np.isin(labels, [each for each in found if each]))

    return answer


def nothing(scene):
    return lambda prompts: [np.zeros((20, 30), bool)] * 2


def refusing(scene):
    def answer(prompts):
        raise BadInput("no such thing")

    return answer


def test_what_knows_the_truth_gets_all_and_what_finds_nothing_gets_none():
    methods = {"knowing": knowing, "nothing": nothing, "refusing": refusing}
    drawn = []
    scores = evaluate_prompts([Group(Scene, methods)], [sample()], CONFIG, on_set=lambda *facts: drawn.append(facts))
    reports = {name: score.report() for name, score in scores.items()}
    for kind in KINDS:
        assert reports["knowing"][kind]["miou"] == reports["knowing"][kind]["macc"] == 1
        assert reports["nothing"][kind]["miou"] == reports["refusing"][kind]["miou"] == 0
        assert reports["knowing"][kind]["prompts"] == 2
    # Thing 2 is in one view alone: other views than the prompted one count for thing 1 only.
    assert reports["knowing"]["one_click"]["others_miou"] == 1
    assert reports["knowing"]["points_10_2"]["others_miou"] is None
    assert reports["refusing"]["refused"] == 10 and reports["knowing"]["refused"] == 0
    assert reports["knowing"]["click_s_median"] >= 0
    assert [(name, len(answers)) for name, _, answers in drawn] == [(name, 10) for name in methods]


def test_only_the_kinds_are_given_that_are_asked_for():
    config = replace(CONFIG, kinds=("mask", "one_click"))
    report = evaluate_prompts([Group(Scene, {"knowing": knowing})], [sample()], config)["knowing"].report()
    assert set(KINDS) & set(report) == {"mask", "one_click"}


def test_a_set_that_an_encoder_or_a_method_refuses_counts_as_nothing_found_by_it_alone():
    def refused(given):
        raise BadInput("no depth")

    groups = [Group(Scene, {"knowing": knowing, "unready": refused}), Group(refused, {"blind": knowing})]
    scores = evaluate_prompts(groups, [sample()], CONFIG)
    reports = {name: score.report() for name, score in scores.items()}
    assert reports["knowing"]["refused"] == 0 and reports["knowing"]["box"]["miou"] == 1
    for name in ("unready", "blind"):
        assert reports[name]["refused"] == 10 and reports[name]["box"]["miou"] == 0
        assert "made, thing 1, points_10_2: no depth" in scores[name].refusals


def test_answers_in_several_views_are_united():
    corner, edge = np.zeros((2, 2, 4, 4), bool)
    corner[:, 0, 0], edge[:, :, 3] = True, True
    asked = []

    def one(prompt):
        asked.append(prompt.camera)
        if prompt.camera == "refused":
            raise BadInput("nothing there")
        return list(corner if prompt.camera == "first" else edge)

    on = [Prompt.click(camera, 1, 1) for camera in ("first", "refused", "second")]
    beside = Prompt("third", np.ones((1, 2)), np.zeros(1, bool))
    masks = united(one)([*on, beside])
    assert np.array_equal(np.stack(masks), corner | edge) and asked == ["first", "refused", "second"]
    with pytest.raises(BadInput, match="nothing there"):
        united(one)([on[1], beside])
    with pytest.raises(BadInput, match="expected a positive point"):
        united(one)([beside])


def test_figures_by_hand():
    truth = np.zeros((2, 10, 10), bool)
    truth[0, :4, :5], truth[1, :2, :5] = True, True
    found = np.zeros_like(truth)
    found[0, :4, :4] = True  # 16 of 20 pixels, none beside
    found[1, :4, :5] = True  # all 10 pixels, and 10 beside
    score = PromptsScore(least_px=10)
    score.add(Answered("one_click", 1, 0, truth, found))
    figures = score.report()["one_click"]
    assert figures["miou"] == pytest.approx((0.8 + 0.5) / 2) and figures["macc"] == pytest.approx((0.8 + 1.0) / 2)
    assert figures["others_miou"] == pytest.approx(0.5)
    assert figures["pixel_accuracy"] == pytest.approx(1 - 14 / 200)
    score = PromptsScore(least_px=15)
    score.add(Answered("points_10_2", 1, ALL_VIEWS, truth, found))
    assert score.report()["points_10_2"]["miou"] == pytest.approx(0.8)
    assert "box" not in score.report() and "scenes" not in score.report()


def test_marked_samples_are_asked_by_their_marks_and_scored_where_the_truth_is_known():
    ids = torch.zeros(3, 20, 30, dtype=torch.int64)
    ids[1, 4:14, 4:14] = 1
    marks = torch.zeros(20, 30, dtype=torch.int64)
    marks[3, 5:25], marks[18, 2:4] = 1, -1
    made = MarkedSample(torch.zeros(3, 3, 20, 30), instance_ids=ids, source="s", marks=marks, scored=(1,), scene="fern")
    asked = []

    def all_found(scene):
        def answer(prompts):
            asked.extend(prompts)
            masks = np.ones((3, 20, 30), bool)
            masks[1, :, 9:] = False  # half of the thing, and 180 - 50 pixels beside it
            return list(masks)

        return answer

    report = evaluate_prompts([Group(Scene, {"all": all_found})], [made], CONFIG)["all"].report()
    (prompt,) = asked
    assert prompt.camera == "view_0" and prompt.positive.tolist() == [True] * 8 + [False] * 2
    columns, rows = prompt.points_px.astype(int).T
    assert (marks[rows, columns].numpy() == np.where(prompt.positive, 1, -1)).all()
    figures = report["points_8_2"]
    assert figures["miou"] == pytest.approx(50 / 230) and figures["macc"] == pytest.approx(0.5)
    assert figures["pixel_accuracy"] == pytest.approx(1 - 180 / 600) and figures["prompts"] == 1
    assert report["scenes"]["fern"]["miou"] == figures["miou"] and set(report) & {"one_click", "box"} == set()


def test_things_that_are_prompted():
    assert list(true_masks(sample(), CONFIG, frozenset())) == [1, 2]
    assert list(true_masks(sample(), CONFIG, frozenset({1}))) == [2]
    assert list(true_masks(sample(), PromptsEvaluationConfig(least_px=10, things=1), frozenset())) == [1]
    with pytest.raises(BadInput, match="instance ids"):
        true_masks(Sample(torch.zeros(1, 3, 4, 4), source="bare"), CONFIG, frozenset())


def test_points_of_all_views_lie_where_they_should_and_are_always_the_same():
    scene, truth = Scene(sample()), sample().instance_ids.numpy() == 1
    prompts = drawn_points(scene.frames, truth, seed=1)
    positive = negative = 0
    for prompt in prompts:
        columns, rows = prompt.points_px.astype(int).T
        on = truth[scene.frames.index(prompt.camera)][rows, columns]
        assert (on == prompt.positive).all()
        positive, negative = positive + int(on.sum()), negative + int((~on).sum())
    assert (positive, negative) == (10, 2)
    again = drawn_points(scene.frames, truth, seed=1)
    assert all(np.array_equal(*pair) for pair in zip(
        (each.points_px for each in prompts), (each.points_px for each in again), strict=True
    ))


def test_later_clicks_correct_the_larger_error_of_the_prompted_view():
    scene, truth = Scene(sample()), sample().instance_ids.numpy() == 1
    asked = []

    def half_right(prompts):
        """Too little after one click, too much after two."""
        asked.append(prompts[0])
        masks = truth.copy()
        if len(prompts[0].points_px) == 1:
            masks[1, :, 8:] = False
        else:
            masks[1, 15:20, :10] = True
        return list(masks)

    source, _ = ask("three_clicks", scene.frames, truth, half_right, seed=0)
    assert source == 1 and [each.camera for each in asked] == [scene.frames.cameras[1]] * 3
    first, second, third = asked[-1].points_px.tolist()
    assert asked[-1].positive.tolist() == [True, True, False]
    assert truth[1, int(first[1]), int(first[0])] and 8 <= second[0] < 14 and third[1] >= 15
