"""ScenePipeline with a vocabulary: instances with classes, queries, text prompts. The model is small and random."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import iou, render_set, tabletop
from small_vocabulary import small_vocabulary_folder

from geoseg_core.config import build
from geoseg_core.errors import BadConfig, BadInput, GeosegError
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.results import SceneResult

FRAMES, LABELS = render_set(tabletop())
CLASSES = ("mug", "ball", "carton")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return small_vocabulary_folder(tmp_path_factory.mktemp("vocabulary"), "clip")


def made(folder: Path, **words: object) -> ScenePipeline:
    values = {"model": str(folder), "classes": CLASSES, "device": "cpu", "least_score": 0.0, "rivals": ()}
    values |= {"least_pixels": 1, "looks": 1, "instances_per_set": 4} | words
    values = {f"instances.vocabulary.{name}": value for name, value in values.items()}
    return ScenePipeline(build(PipelineConfig, values))


def run(pipeline: ScenePipeline, sets: int = 4) -> SceneResult:
    return [pipeline.process(FRAMES) for _ in range(sets)][-1]


def test_all_instances_get_classes_within_a_few_sets(folder: Path) -> None:
    pipeline = made(folder)
    first, result = run(pipeline, 1), run(pipeline, 3)
    assert sum(each.class_name != "" for each in first.instances.instances) == 4
    found = result.instances.instances
    assert len(found) >= 6 and all(each.class_name in CLASSES for each in found)
    assert all(1 / 3 <= each.class_score <= 1 for each in found), "the best of three probabilities"
    assert result.stage_ms["vocabulary"] > 0
    assert {number for number, _ in pipeline.query_instances("a red box")} == {each.instance_id for each in found}


def test_classes_are_set_at_run_time(folder: Path) -> None:
    pipeline = made(folder, classes=())
    assert {each.class_name for each in run(pipeline).instances.instances} == {""} and pipeline.classes == ()
    pipeline.set_classes(("cable",))
    assert {each.class_name for each in run(pipeline, 1).instances.instances} == {"cable"}
    assert pipeline.classes == ("cable",)
    pipeline.set_classes(())
    assert {each.class_name for each in run(pipeline, 1).instances.instances} == {""}


def test_a_text_prompt_gives_the_best_instance_in_every_view(folder: Path) -> None:
    pipeline = made(folder, rivals=("thing",))
    labels = run(pipeline).instances.labels
    best = pipeline.query_instances("screwdriver")[0][0]
    answer = pipeline.segment(Prompt("exo_left", text="screwdriver"))
    seen = [(view.masks[0].mask, mine == best) for view, mine in zip(answer.views, labels, strict=True) if view.masks]
    assert max(mine.sum() for _, mine in seen) > 0 and all(iou(*pair) > 0.95 for pair in seen)
    tracked = pipeline.track_object(Prompt("ego", text="screwdriver"), label="tool")
    assert tracked.object_id == best
    assert [(thing.object_id, thing.label) for thing in pipeline.objects()] == [(best, "tool")]


def test_a_text_prompt_that_nothing_answers_is_refused(folder: Path) -> None:
    pipeline = made(folder, least_score=1.0, rivals=("thing",))
    with pytest.raises(BadInput, match="none yet"):
        pipeline.segment(Prompt("ego", text="mug"))
    run(pipeline)
    with pytest.raises(BadInput, match="the best in view is"):
        pipeline.segment(Prompt("ego", text="mug"))
    for more in ({"box_px": np.array([10.0, 10, 50, 50])}, {"mask": LABELS[0] == 1},
                 {"points_px": np.array([[10.0, 10]]), "positive": np.ones(1, bool)}):  # fmt: skip
        with pytest.raises(BadInput, match="the text alone"):
            pipeline.segment(Prompt("ego", text="mug", **more))
    with pytest.raises(BadInput, match="expected a camera"):
        pipeline.segment(Prompt("nobody", text="mug"))
    blind = made(folder, least_pixels=1_000_000)
    run(blind)
    with pytest.raises(BadInput, match="in view that was looked at, found none"):
        blind.segment(Prompt("ego", text="mug"))


def test_how_instances_look_is_forgotten_with_the_memory(folder: Path, tmp_path: Path) -> None:
    pipeline, path = made(folder), str(tmp_path / "memory.safetensors")
    run(pipeline)
    pipeline.save_memory(path)
    assert len(pipeline.query_instances("mug")) >= 6
    pipeline.load_memory(path)
    assert pipeline.query_instances("mug") == () and pipeline.classes == CLASSES
    run(pipeline)
    pipeline.reset_memory()
    assert pipeline.query_instances("mug") == ()


def test_without_a_vocabulary_the_answer_names_setting_and_extra() -> None:
    pipeline = ScenePipeline()
    pipeline.process(FRAMES)
    assert pipeline.classes == ()
    for ask in (
        lambda: pipeline.segment(Prompt("ego", text="mug")),
        lambda: pipeline.query_instances("mug"),
        lambda: pipeline.set_classes(("mug",)),
    ):
        with pytest.raises(GeosegError, match=r"\[vocabulary\].*instances\.vocabulary\.model"):
            ask()


def test_a_vocabulary_without_instances_is_refused(folder: Path) -> None:
    values = {"tasks": ("cross_view",), "instances.vocabulary.model": str(folder)}
    with pytest.raises(BadConfig, match="add it to tasks"):
        ScenePipeline(build(PipelineConfig, values))
