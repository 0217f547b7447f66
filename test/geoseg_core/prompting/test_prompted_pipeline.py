"""MV-SAM behind the pipeline's prompts: networks of random weights, so what they draw is of no account."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import MV_SAM, TINY, small_mv_sam

from geoseg_core.config import build
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompting.budget import AnswerTimes
from geoseg_core.prompting.mv_sam.prompter import TinyPrompter
from geoseg_core.prompting.session import PromptSession
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

SIZE = (90, 120)
HEAD = UnionHeadConfig(
    width=24, map_stride=4, fusion_stride=4, fusion_width=32, fusion_inner=16, fusion_hidden=16, token_inner=16
)
RED, BLUE = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
RED[30:60, 20:50], BLUE[41:59, 76:94] = True, True


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    models = {
        "encoder": (TinyGeometry(TINY), TINY), "head": (UnionHead(HEAD), HEAD), "mv_sam": (small_mv_sam(), MV_SAM)
    }  # fmt: skip
    for name, (model, config) in models.items():
        words = config_metadata(config) | {"licence": "for tests only"}
        save_file(model.state_dict(), folder / f"{name}.safetensors", words)
    return {name: str(folder / f"{name}.safetensors") for name in models}


def pipeline_of(weights: dict[str, str], **values: object) -> ScenePipeline:
    settings = {
        "tasks": ["cross_view", "prompts"], "geometry.encoder": "tiny", "geometry.weights": weights["encoder"],
        "cross_view.weights": weights["head"], "cross_view.follow.least_score": 0.0, "prompts.method": "mv_sam",
        "prompts.weights": weights["mv_sam"],
    }  # fmt: skip
    return ScenePipeline(build(PipelineConfig, settings | values))


def frames(stamp_ns: int = 0, cameras: tuple[str, ...] = ("ego", "exo", "top")) -> FrameSet:
    """A red and a blue block on noise; the blocks are elsewhere in each view."""
    random, views = np.random.default_rng(stamp_ns), []
    for number, name in enumerate(cameras):
        image = random.integers(100, 140, (*SIZE, 3), np.uint8)
        image[RED], image[BLUE] = (220, 30, 30), (30, 30, 220)
        views.append(View(name, np.roll(image, 6 * number, axis=1), stamp_ns=stamp_ns))
    return FrameSet(tuple(views))


def masks_of(result: PromptResult) -> list[np.ndarray]:
    return [view.masks[0].mask for view in result.views]


@pytest.fixture
def pipeline(weights: dict[str, str]) -> ScenePipeline:
    made = pipeline_of(weights)
    made.process(frames())
    return made


def test_a_prompt_is_answered_as_in_a_session(pipeline: ScenePipeline, weights: dict[str, str]) -> None:
    assert (pipeline.prompts_by, pipeline.prompt_weights.name) == ("mv_sam", "mv_sam")
    session = PromptSession(
        TinyPrompter.from_weights(Path(weights["mv_sam"])), pipeline.loaded.encoder.encode(frames())
    )
    answer = pipeline.segment(Prompt.click("exo", 40, 45))
    told = session.add("exo", points=[(40, 45)])
    assert all((one == other).all() for one, other in zip(masks_of(answer), told.masks, strict=True))
    scores = [view.masks[0].score for view in answer.views]
    np.testing.assert_allclose(scores, told.scores, rtol=1e-5)
    assert answer.object_id == 0 and pipeline.objects() == ()


def test_a_set_is_embedded_at_its_first_prompt_and_once(
    weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded, embed = [], TinyPrompter.embed
    monkeypatch.setattr(
        TinyPrompter, "embed", lambda self, scene: embedded.append(scene.frames.stamp_ns) or embed(self, scene)
    )
    pipeline = pipeline_of(weights)
    pipeline.process(frames())
    assert embedded == []
    pipeline.segment(Prompt.click("ego", 30, 40))
    pipeline.track_object(Prompt.click("top", 60, 40))
    assert embedded == [0]
    pipeline.process(frames(1))
    assert embedded == [0]
    pipeline.segment(Prompt("exo", box_px=np.array([20.0, 20, 60, 60])))
    assert embedded == [0, 1]


def test_a_prompted_object_is_followed_into_the_next_set_by_one_call(pipeline: ScenePipeline) -> None:
    tracked = pipeline.track_object(Prompt.click("exo", 40, 45), label="block")
    segmented = pipeline.segment(Prompt.click("exo", 40, 45))
    assert all((one == other).all() for one, other in zip(masks_of(tracked), masks_of(segmented), strict=True))
    result = pipeline.process(frames(1))
    assert [[(each.object_id, each.label) for each in view.masks] for view in result.masks] == (
        [[(tracked.object_id, "block")]] * 3
    )
    assert pipeline.objects()[0].last_seen_ns == 1


def test_a_mask_stays_as_it_was_drawn_and_is_trusted_wholly(pipeline: ScenePipeline) -> None:
    drawn = pipeline.segment(Prompt("ego", mask=RED)).views[0].masks[0]
    assert (drawn.mask == RED).all() and drawn.score == 1


def test_a_negative_click_on_a_live_object_takes_its_place_away(pipeline: ScenePipeline) -> None:
    number = pipeline.track_object(Prompt("ego", mask=RED | BLUE), label="blocks").object_id
    corrected = pipeline.track_object(Prompt("ego", np.array([[85.0, 50.0]]), np.array([False])), number)
    assert corrected.object_id == number
    mask = masks_of(corrected)[0]
    assert not mask[50, 85] and (mask & RED).sum() == RED.sum() and (mask & BLUE).sum() < 0.1 * BLUE.sum()
    told = pipeline.segment(Prompt("ego", np.array([[85.0, 50.0]]), np.array([False]), mask=mask))
    assert all((one == other).all() for one, other in zip(masks_of(corrected), masks_of(told), strict=True))
    result = pipeline.process(frames(1))
    assert [(each.object_id, each.label) for each in result.masks[0].masks] == [(number, "blocks")]


def test_one_camera_alone_is_answered_too(weights: dict[str, str]) -> None:
    pipeline = pipeline_of(weights)
    pipeline.process(frames(cameras=("ego",)))
    tracked = pipeline.track_object(Prompt("ego", mask=RED))
    assert (masks_of(tracked)[0] == RED).all()
    assert len(pipeline.process(frames(1, ("ego",))).masks[0].masks) == 1


def test_the_whole_view_is_no_thing(pipeline: ScenePipeline) -> None:
    with pytest.raises(BadInput, match="found all of the view"):
        pipeline.segment(Prompt("ego", mask=np.ones(SIZE, bool)))


def test_answers_that_were_timed_say_in_how_many_views_a_prompt_is_answered() -> None:
    times = AnswerTimes()
    assert times.views_within(0.001, prompted=2, count=4) == (0, 1, 2, 3)
    times.took(0.2, views=2)
    assert times.views_within(0.35, prompted=2, count=4) == (0, 1, 2)
    assert times.views_within(0.25, prompted=0, count=4) == (0, 1)
    assert times.views_within(0.25, prompted=3, count=4) == (0, 3)
    assert times.views_within(-1.0, prompted=3, count=4) == (3,)
    assert times.views_within(float("inf"), prompted=3, count=4) == (0, 1, 2, 3)
    for _ in range(2):
        times.took(0.3, views=1)
    assert times.views_within(0.65, prompted=1, count=4) == (0, 1)


CAMERAS = ("ego", "exo", "top", "side")


def timed(pipeline: ScenePipeline) -> ScenePipeline:
    """As if its answers took 1,000 s for each view."""
    pipeline.answer_times = AnswerTimes()
    pipeline.answer_times.took(4000.0, views=4)
    return pipeline


@pytest.mark.parametrize("prompt", [Prompt.click("top", 40, 45), Prompt("top", box_px=np.array([20.0, 20, 60, 60]))])
def test_within_a_budget_the_prompted_view_and_the_first_others_are_answered_as_without_one(
    weights: dict[str, str], prompt: Prompt
) -> None:
    pipeline = pipeline_of(weights)
    pipeline.process(frames(cameras=CAMERAS))
    usual = pipeline.segment(prompt)
    assert usual.not_asked == () and usual.seconds > 0
    for budget_s, answered in ((1.0, (2,)), (2500.0, (0, 2)), (3500.0, (0, 1, 2)), (1e9, (0, 1, 2, 3))):
        told = timed(pipeline).segment(prompt, budget_s)
        cameras = tuple(CAMERAS[view] for view in answered)
        assert told.frames.cameras == tuple(view.camera for view in told.views) == cameras
        assert told.not_asked == told.frames.missing == tuple(each for each in CAMERAS if each not in cameras)
        for given, view in zip(told.views, answered, strict=True):
            (mask,), (expected,) = given.masks, usual.views[view].masks
            assert (mask.mask == expected.mask).all() and mask.score == pytest.approx(expected.score, abs=1e-5)


def test_an_object_that_was_found_in_some_views_goes_on_in_all(weights: dict[str, str]) -> None:
    pipeline = pipeline_of(weights, **{"cross_view.follow.least_score": 1e-6})
    pipeline.process(frames(cameras=CAMERAS))
    tracked = timed(pipeline).track_object(Prompt.click("exo", 40, 45), label="block", budget_s=1500.0)
    assert tracked.frames.cameras == ("exo",) and tracked.not_asked == ("ego", "top", "side")
    corrected = timed(pipeline).track_object(Prompt("ego", mask=RED), tracked.object_id, budget_s=2500.0)
    assert corrected.object_id == tracked.object_id and corrected.frames.cameras == ("ego", "exo")
    result = pipeline.process(frames(1, CAMERAS))
    assert [[each.object_id for each in view.masks] for view in result.masks] == [[tracked.object_id]] * 4
    assert all(view.masks[0].mask.any() for view in result.masks)


def test_a_first_answer_is_timed_and_in_all_views(pipeline: ScenePipeline) -> None:
    assert pipeline.segment(Prompt.click("ego", 30, 40), budget_s=1e-6).not_asked == ()
    assert pipeline.segment(Prompt.click("ego", 30, 40), budget_s=1e-6).not_asked == ("exo", "top")


@pytest.mark.parametrize("budget_s", [-1.0, float("nan")])
def test_a_budget_that_is_no_time_is_refused(pipeline: ScenePipeline, budget_s: float) -> None:
    with pytest.raises(BadInput, match="budget_s: expected seconds"):
        pipeline.segment(Prompt.click("ego", 30, 40), budget_s)


def test_regions_are_answered_in_all_views_whatever_the_budget(weights: dict[str, str]) -> None:
    pipeline = pipeline_of(weights, **{"prompts.method": "regions"})
    pipeline.process(frames())
    told = pipeline.segment(Prompt("ego", mask=RED), budget_s=1e-6)
    assert told.not_asked == () and len(told.views) == 3 and told.seconds > 1e-6


def method_of(weights: dict[str, str], **values: object) -> str:
    return pipeline_of(weights, **values).prompts_by


def test_auto_is_mv_sam_for_the_weights_that_it_was_trained_for_and_regions_elsewhere(weights: dict[str, str]) -> None:
    for method in ("auto", "regions"):  # other weights of the encoder
        pipeline = pipeline_of(weights, **{"prompts.method": method})
        assert pipeline.prompt_weights is None and pipeline.prompts_by == "union_head"
    assert ScenePipeline(PipelineConfig()).prompts_by == "rgbd"
    usual = {"tasks": ["cross_view", "prompts"], "geometry.encoder": "tiny"}
    assert ScenePipeline(build(PipelineConfig, usual)).prompts_by == "mv_sam"
    by_depth = usual | {"cross_view.method": "reprojection"}
    assert ScenePipeline(build(PipelineConfig, by_depth)).prompts_by == "tiny"


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"geometry.encoder": "rgbd", "cross_view.method": "auto"}, BadConfig, "prompts.method: for mv_sam, .* tiny"),
        ({"cross_view.method": "reprojection"}, BadConfig, "prompts.method: for mv_sam, .* got reprojection"),
        ({"prompts.weights": "none.safetensors"}, BadInput, "none.safetensors"),
        ({"prompts.weights": "nothing"}, BadInput, "nothing"),
    ],
)
def test_mv_sam_where_it_cannot_be_is_refused_by_name(
    weights: dict[str, str], values: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        pipeline_of(weights, **values)


def test_weights_of_another_network_are_refused(weights: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="head.safetensors"):
        pipeline_of(weights, **{"prompts.weights": weights["head"]})
