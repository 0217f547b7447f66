"""ScenePipeline as its callers use it: tasks, tracking, correction, memory, faults."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scenes import Solid, box, iou, render_set, tabletop

from geoseg_core.config import build
from geoseg_core.errors import BadConfig, BadInput, GeosegError, UnknownObject
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.results import EventKind, ScaleStatus, SceneResult, Visibility
from geoseg_core.views import FrameSet

STEP_NS = 100_000_000
FRAMES, LABELS = render_set(tabletop())


def started(tasks: tuple[str, ...] = ("cross_view", "instances", "prompts")) -> ScenePipeline:
    pipeline = ScenePipeline(PipelineConfig(tasks=tasks))
    pipeline.process(FRAMES)
    return pipeline


def masks_of(result: SceneResult, object_id: int) -> list[np.ndarray]:
    return [mask.mask for view in result.masks for mask in view.masks if mask.object_id == object_id]


def test_a_tracked_object_is_followed_through_motion_in_every_view() -> None:
    pipeline = started()
    asked = pipeline.track_object(Prompt("exo_left", mask=LABELS[1] == 4), label="carton")
    for number in range(1, 6):
        solids = [solid.moved(0.01 * number) if solid.label == 4 else solid for solid in tabletop()]
        frames, labels = render_set(solids, number * STEP_NS, 0.02 * number)
        result = pipeline.process(frames)
    found = masks_of(result, asked.object_id)
    assert min(iou(mask, truth == 4) for mask, truth in zip(found, labels, strict=True)) > 0.9
    assert {mask.label for view in result.masks for mask in view.masks} == {"carton"}
    assert [thing.object_id for thing in pipeline.objects()] == [asked.object_id]
    assert pipeline.objects()[0].last_seen_ns == 5 * STEP_NS


def test_a_tracked_object_is_the_instance_of_the_same_id() -> None:
    pipeline = started()
    asked = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2))
    result = pipeline.process(FRAMES)
    for mask, labels in zip(masks_of(result, asked.object_id), result.instances.labels, strict=True):
        np.testing.assert_array_equal(mask, labels == asked.object_id)


def test_two_prompts_on_one_thing_give_one_object_that_keeps_its_label() -> None:
    pipeline = started()
    first = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 5), label="ball")
    second = pipeline.track_object(Prompt("exo_right", mask=LABELS[2] == 5))
    assert first.object_id == second.object_id
    assert [(thing.object_id, thing.label) for thing in pipeline.objects()] == [(first.object_id, "ball")]


def test_what_nobody_sees_any_more_is_out_of_view_or_occluded_and_scores_nothing() -> None:
    pipeline = started()
    object_id = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 1)).object_id
    screen = [Solid(9, (-0.25, -0.2, 0.15), (0.2, 0.004, 0.15), colour=(9, 9, 9))]
    frames, labels = render_set([*tabletop(), *screen], STEP_NS)
    assert not (labels[0] == 1).any()
    result = pipeline.process(frames)
    ego = next(mask for mask in result.masks[0].masks if mask.object_id == object_id)
    assert ego.visibility is Visibility.OCCLUDED and ego.score == 0 and not ego.mask.any()


def test_a_correction_by_a_negative_click_splits_two_boxes_for_good() -> None:
    pair = [box(1, -0.03, 0.0, (0.06, 0.06, 0.08)), box(2, 0.03, 0.0, (0.06, 0.06, 0.06))]
    frames, labels = render_set(pair)
    pipeline = ScenePipeline(PipelineConfig())
    pipeline.process(frames)
    both = pipeline.track_object(Prompt("ego", mask=(labels[0] == 1) | (labels[0] == 2)), label="pair")
    rows, columns = np.nonzero(labels[0] == 2)
    wrong = np.array([[np.median(columns), np.median(rows)]])
    fixed = pipeline.track_object(Prompt("ego", wrong, np.array([False])), both.object_id)
    assert fixed.object_id == both.object_id and fixed.views[0].masks[0].label == "pair"
    result = pipeline.process(render_set(pair, STEP_NS)[0])
    assert [event.kind for event in result.events].count(EventKind.SPLIT) == 1
    mask = masks_of(result, both.object_id)[0]
    assert (mask & (labels[0] == 1)).sum() > 0.6 * (labels[0] == 1).sum()
    assert not mask[int(wrong[0, 1]), int(wrong[0, 0])]


def test_a_correction_by_a_mask_joins_two_things_and_says_so() -> None:
    pipeline = started()
    first = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2))
    both = (LABELS[0] == 2) | (LABELS[0] == 3)
    pipeline.track_object(Prompt("ego", mask=both), first.object_id)
    result = pipeline.process(render_set(tabletop(), STEP_NS)[0])
    assert [event.kind for event in result.events] == [EventKind.MERGED]
    assert iou(masks_of(result, first.object_id)[1], np.isin(LABELS[1], (2, 3))) > 0.9


def test_a_flat_sheet_is_followed_where_it_lies_until_it_is_forgotten() -> None:
    sheet = Solid(1, (0.0, 0.0, 0.0002), (0.1, 0.07, 0.0002), 0.3, colour=(240, 240, 240))
    frames, labels = render_set([sheet])
    pipeline = ScenePipeline(PipelineConfig())
    pipeline.process(frames)
    object_id = pipeline.track_object(Prompt("ego", mask=labels[0] == 1), label="note").object_id
    frames, labels = render_set([sheet], STEP_NS, sway=0.1)
    result = pipeline.process(frames)
    assert min(iou(mask, truth == 1) for mask, truth in zip(masks_of(result, object_id), labels, strict=True)) > 0.85
    assert pipeline.objects()[0].last_seen_ns == STEP_NS
    corrected = pipeline.track_object(Prompt("exo_left", mask=labels[1] == 1), object_id)
    assert corrected.object_id == object_id and pipeline.objects()[0].label == "note"
    pipeline.forget_object(object_id)
    assert not pipeline.objects() and not masks_of(pipeline.process(frames), object_id)


def test_an_id_that_nobody_follows_is_named_with_those_that_are() -> None:
    pipeline = started()
    object_id = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2)).object_id
    pipeline.forget_object(object_id)
    with pytest.raises(UnknownObject, match=str(object_id)):
        pipeline.forget_object(object_id)
    with pytest.raises(UnknownObject):
        pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2), 999)


def test_tasks_that_are_off_do_not_run() -> None:
    result = ScenePipeline(PipelineConfig(tasks=("instances",))).process(FRAMES)
    assert result.masks == () and result.instances is not None and "cross_view" not in result.stage_ms
    result = ScenePipeline(PipelineConfig(tasks=("cross_view",))).process(FRAMES)
    assert result.instances is None and "instances" not in result.stage_ms
    assert [view.camera for view in result.masks] == list(FRAMES.cameras)
    with pytest.raises(GeosegError, match="task"):
        started(("instances",)).segment(Prompt("ego", mask=LABELS[0] == 2))


def test_stage_times_and_scale_come_with_every_result() -> None:
    result = ScenePipeline(PipelineConfig()).process(FRAMES)
    assert set(result.stage_ms) == {"encode", "instances", "cross_view", "total"}
    assert result.stage_ms["total"] >= sum(value for name, value in result.stage_ms.items() if name != "total") * 0.99
    assert result.scale.status is ScaleStatus.LOCKED


def test_prompts_before_the_first_set_and_after_a_reset_are_refused() -> None:
    pipeline = ScenePipeline(PipelineConfig())
    prompt = Prompt("ego", mask=LABELS[0] == 2)
    with pytest.raises(BadInput, match="none yet"):
        pipeline.segment(prompt)
    pipeline.process(FRAMES)
    pipeline.track_object(prompt)
    pipeline.reset_memory()
    assert pipeline.objects() == ()
    with pytest.raises(BadInput, match="none yet"):
        pipeline.segment(prompt)


def test_ids_are_not_used_again_after_a_reset() -> None:
    pipeline = started()
    before = {thing.instance_id for thing in pipeline.process(FRAMES).instances.instances}
    pipeline.reset_memory()
    after = {thing.instance_id for thing in pipeline.process(FRAMES).instances.instances}
    assert before and after and not before & after


def test_a_camera_without_depth_is_left_out_and_the_others_go_on() -> None:
    pipeline = started()
    object_id = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2)).object_id
    views = (FRAMES.views[0], replace(FRAMES.views[1], depth_m=None), FRAMES.views[2])
    result = pipeline.process(FrameSet(views))
    assert result.frames.cameras == ("ego", "exo_right") and result.frames.missing == ("exo_left",)
    assert [view.camera for view in result.masks] == ["ego", "exo_right"]
    assert iou(masks_of(result, object_id)[1], LABELS[2] == 2) > 0.9


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_depth_without_any_measurement_gives_an_empty_result(value: float) -> None:
    views = tuple(replace(view, depth_m=np.full((240, 320), value, np.float32)) for view in FRAMES.views)
    result = ScenePipeline(PipelineConfig()).process(FrameSet(views))
    assert result.instances.instances == () and len(result.instances.cloud.xyz) == 0
    assert not any(labels.any() for labels in result.instances.labels)


def test_an_image_of_odd_size_is_taken_like_any_other() -> None:
    frames, labels = render_set(tabletop(), size=(241, 323))
    pipeline = ScenePipeline(PipelineConfig())
    pipeline.process(frames)
    result = pipeline.segment(Prompt("ego", mask=labels[0] == 2))
    assert min(iou(view.masks[0].mask, truth == 2) for view, truth in zip(result.views, labels, strict=True)) > 0.9


def test_one_camera_alone_gives_instances_and_answers_prompts() -> None:
    view = replace(FRAMES.views[0], camera_to_world=None)
    pipeline = ScenePipeline(PipelineConfig())
    result = pipeline.process(FrameSet((view,)))
    found = {int(np.bincount(result.instances.labels[0][LABELS[0] == number]).argmax()) for number in range(1, 7)}
    assert len(found) == 6 and 0 not in found
    assert iou(pipeline.segment(Prompt("ego", mask=LABELS[0] == 3)).views[0].masks[0].mask, LABELS[0] == 3) == 1


def test_a_flushed_camera_waits_for_its_next_set_and_others_remember() -> None:
    pipeline = started()
    object_id = pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2)).object_id
    pipeline.flush_camera("exo_left")
    with pytest.raises(BadInput, match="none yet"):
        pipeline.segment(Prompt("ego", mask=LABELS[0] == 2))
    result = pipeline.process(FRAMES)
    assert iou(masks_of(result, object_id)[0], LABELS[0] == 2) > 0.9


def test_saved_memory_brings_ids_labels_and_flat_things_back(tmp_path: Path) -> None:
    sheet = Solid(7, (0.0, 0.3, 0.0002), (0.1, 0.07, 0.0002), 0.0, colour=(240, 240, 240))
    frames, labels = render_set([*tabletop(), sheet])
    pipeline = ScenePipeline(PipelineConfig())
    ids = {thing.instance_id for thing in pipeline.process(frames).instances.instances}
    solid = pipeline.track_object(Prompt("ego", mask=labels[0] == 2), label="cube").object_id
    flat = pipeline.track_object(Prompt("exo_left", mask=labels[1] == 7), label="note").object_id
    path = str(tmp_path / "memory.safetensors")
    assert set(pipeline.save_memory(path)) == ids | {flat}
    other = ScenePipeline(PipelineConfig())
    assert set(other.load_memory(path)) == ids | {flat}
    result = other.process(render_set([*tabletop(), sheet], STEP_NS)[0])
    assert {thing.instance_id for thing in result.instances.instances} == ids
    assert [(thing.object_id, thing.label) for thing in other.objects()] == [(solid, "cube"), (flat, "note")]
    assert iou(masks_of(result, solid)[2], labels[2] == 2) > 0.9
    assert iou(masks_of(result, flat)[1], labels[1] == 7) > 0.85
    new = other.track_object(Prompt("ego", mask=(labels[0] == 202) & (np.arange(320) < 60)))
    assert new.object_id > max(ids | {flat})


def test_files_that_are_no_memory_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    pipeline = started()
    pipeline.track_object(Prompt("ego", mask=LABELS[0] == 2), label="cube")
    good = tmp_path / "good.safetensors"
    pipeline.save_memory(str(good))
    known = pipeline.objects()
    whole = good.read_bytes()
    bad = {
        "missing": None,
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "noise": b"\xff" * 4096,
        "lying header": (2**62).to_bytes(8, "little") + whole[8:],
        "ids": whole.replace(b'\\"id\\": 1,', b'\\"id\\": 0,'),
        "facts": whole.replace(b'\\"next_id\\"', b'\\"next_xx\\"'),
        "format": whole.replace(b"geoseg-memory-3", b"geoseg-memory-9"),
    }
    for name, content in bad.items():
        path = tmp_path / f"{name}.safetensors"
        if content is not None:
            assert content != whole, name
            path.write_bytes(content)
        with pytest.raises(BadInput, match="memory file"):
            pipeline.load_memory(str(path))
    assert pipeline.objects() == known


def test_arrays_of_wrong_shape_in_a_memory_file_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "shapes.safetensors")
    track = {"id": 1, "label": "", "followed": True, "first_seen_ns": 0, "last_seen_ns": 0}
    facts = json.dumps({"next_id": 5, "followed": {"flat": []}, "tracks": [track]})
    arrays = {"track.0.points": np.zeros((4, 2), np.float32), "track.0.colours": np.zeros((4, 3), np.float32)}
    for points in (np.zeros((4, 2), np.float32), np.full((4, 3), np.nan, np.float32), np.zeros((0, 3), np.float32)):
        save_file(arrays | {"track.0.points": points}, path, metadata={"format": "geoseg-memory-3", "facts": facts})
        with pytest.raises(BadInput, match="track.0"):
            ScenePipeline(PipelineConfig()).load_memory(path)


def test_memory_that_can_not_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="written"):
        started().save_memory(str(tmp_path / "no" / "such" / "folder"))


def test_settings_have_dotted_names_and_refuse_what_they_do_not_know() -> None:
    config = build(PipelineConfig, {"instances.clusters.voxel_m": 0.01, "tasks": ["cross_view"]})
    assert config.instances.clusters.voxel_m == 0.01 and config.tasks == ("cross_view",)
    with pytest.raises(BadConfig, match=r"rivals: expected a list of str, got \['cup', 1\]"):
        build(PipelineConfig, {"instances.vocabulary.rivals": ["cup", 1]})
    with pytest.raises(BadConfig, match="cross_view.method"):
        build(PipelineConfig, {"cross_view.method": "magic"})
