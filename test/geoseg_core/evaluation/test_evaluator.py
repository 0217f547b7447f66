"""The evaluator on a sequence whose right figures are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from oracle import OBJECTS, OraclePipeline, sequence

from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.config import EvaluationConfig
from geoseg_core.evaluation.evaluator import Evaluator, evaluate_sequence, unique_names
from geoseg_core.evaluation.prompts import PROMPT_KINDS

CONFIG = EvaluationConfig(prompt_every=2)


def evaluated(sets, pipeline=None, config=CONFIG, objects=OBJECTS):
    evaluator = Evaluator(pipeline or OraclePipeline(sets), "ego", objects, config)
    evaluate_sequence(sets, evaluator)
    return evaluator


def test_the_truth_scores_one_everywhere():
    report = evaluated(sequence()).report("rgbd")
    for way in ("ego_to_exo", "exo_to_ego"):
        assert report["cross_view"]["rgbd"][way]["iou"] == 1.0
        assert report["cross_view"]["rgbd"][way]["pairs"] == 8
        assert set(report["cross_view"]["rgbd"][way]["per_object"]) == {"mug", "box"}
    instances = report["instances"]["rgbd"]
    assert [instances[key] for key in ("ap50", "ap25", "id_switches", "t_miou", "t_sr")] == [1, 1, 0, 1, 1]
    for kind in PROMPT_KINDS:
        assert report["prompts"]["rgbd"][kind] == {"miou": 1.0, "macc": 1.0, "prompts": 4}


def test_half_a_mask_scores_half_in_the_other_view_only():
    report = evaluated(sequence(), OraclePipeline(sequence(), cut_px=10)).report("rgbd")
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] == 0.5
    assert report["prompts"]["rgbd"]["one_click"]["miou"] == 0.75
    # 200 of the 2 * 48 * 64 pixels are wrong.
    assert report["prompts"]["rgbd"]["one_click"]["macc"] == pytest.approx(1 - 200 / 6144)


def test_a_refused_prompt_counts_as_an_empty_mask():
    report = evaluated(sequence(), OraclePipeline(sequence(), refuse="exo")).report("rgbd")
    assert report["cross_view"]["rgbd"]["exo_to_ego"]["iou"] == 0.0
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] == 1.0


def test_prompts_take_turns_over_the_views():
    pipeline = OraclePipeline(sequence())
    evaluated(sequence(), pipeline, replace(CONFIG, tasks=("prompts",)))
    assert [each.camera for each in pipeline.prompts] == ["ego"] * 8 + ["exo"] * 8


def test_only_what_is_asked_for_is_measured_and_reported():
    evaluator = evaluated(sequence(), config=replace(CONFIG, tasks=("instances",), max_sets=3))
    assert list(evaluator.report("rgbd")) == ["instances"]
    assert len(evaluator.history) == 3
    assert evaluator.stage_samples() == {"encode": [2.0] * 3, "total": [5.0] * 3, "segment": []}


def test_history_names_ids_and_ious_of_every_set():
    history = evaluated(sequence()).history
    assert [each.stamp_ns for each in history] == [10**9 + number * 10**8 for number in range(4)]
    assert history[2].ids == {"mug": 10, "box": 20}
    assert history[2].iou["exo_to_ego"] == {"mug": 1.0, "box": 1.0}


def test_without_truth_all_figures_are_none_and_nothing_fails():
    bare = [LabelledSet(each.frames, {}) for each in sequence()]
    report = evaluated(bare, OraclePipeline(sequence()), objects=()).report("rgbd")
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] is None
    assert report["instances"]["rgbd"]["ap50"] is None
    assert report["prompts"]["rgbd"]["box"]["miou"] is None


def test_the_same_run_gives_the_same_report():
    reports = [evaluated(sequence(), OraclePipeline(sequence(), cut_px=3)).report("rgbd") for _ in range(2)]
    assert json.dumps(reports[0]) == json.dumps(reports[1])


def test_a_view_that_the_encoder_left_out_counts_as_empty():
    sets = sequence()

    class EgoOnly(OraclePipeline):
        def process(self, frames):
            result = super().process(frames)
            instances = replace(result.instances, labels=result.instances.labels[:1])
            return replace(result, frames=replace(frames, views=frames.views[:1]), instances=instances)

    report = evaluated(sets, EgoOnly(sets)).report("rgbd")["instances"]["rgbd"]
    assert report["t_sr"] == report["t_miou"] == 0.5
    assert (report["ap50"], report["ap25"]) == (0.0, 1.0)


class Refusing(OraclePipeline):
    """Refuses the sets with the given numbers."""

    def __init__(self, sets, numbers):
        super().__init__(sets)
        self.refused = {sets[number].frames.stamp_ns for number in numbers}

    def process(self, frames):
        if frames.stamp_ns in self.refused:
            raise BadInput(f"no depth at {frames.stamp_ns}")
        return super().process(frames)


def test_sets_that_the_pipeline_refuses_are_left_out_and_counted():
    sets, seen = sequence(), []
    evaluator = Evaluator(Refusing(sets, [1, 2]), "ego", OBJECTS, CONFIG)
    assert evaluate_sequence(sets, evaluator, lambda labelled, _: seen.append(labelled)) == 2
    assert seen == [sets[0], sets[3]] and len(evaluator.history) == 2


def test_a_sequence_that_is_refused_as_a_whole_says_why():
    sets = sequence(2)
    with pytest.raises(BadInput, match=f"no depth at {sets[1].frames.stamp_ns}"):
        evaluate_sequence(sets, Evaluator(Refusing(sets, [0, 1]), "ego", OBJECTS, CONFIG))


def test_names_are_unique_and_only_objects_are_evaluated():
    objects = (*OBJECTS, TruthObject(3, "mug", "mug"))
    assert unique_names(objects) == {1: "mug_1", 2: "box", 3: "mug_3"}


def test_labels_of_one_camera_only():
    sets = [LabelledSet(each.frames, {"ego": each.labels["ego"]}) for each in sequence()]
    report = evaluated(sets, OraclePipeline(sequence())).report("rgbd")
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] is None
    assert report["instances"]["rgbd"]["ap50"] == 1.0
    assert np.isclose(report["prompts"]["rgbd"]["box"]["miou"], 1.0)
