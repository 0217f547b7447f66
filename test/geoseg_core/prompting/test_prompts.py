"""Prompts of every kind, in every view, on scenes with known masks."""

import numpy as np
import pytest
from scenes import Solid, box, iou, render_set, tabletop

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult
from geoseg_core.views import FrameSet

FRAMES, LABELS = render_set(tabletop())
PIPELINE = ScenePipeline(PipelineConfig())
PIPELINE.process(FRAMES)


def centre_of(mask: np.ndarray) -> np.ndarray:
    """A pixel (u, v) of a mask close to its middle."""
    rows, columns = np.nonzero(mask)
    closest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return np.array([columns[closest], rows[closest]], float)


def clicks(camera: str, positive: list[np.ndarray], negative: list[np.ndarray] | None = None) -> Prompt:
    points = [*positive, *(negative or [])]
    return Prompt(camera, np.stack(points), np.arange(len(points)) < len(positive))


def box_of(mask: np.ndarray, margin: int = 2) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.min() - margin, rows.min() - margin, columns.max() + margin, rows.max() + margin], float)


def overlaps(result: PromptResult, labels: tuple[np.ndarray, ...], number: int) -> list[float]:
    return [iou(view.masks[0].mask, truth == number) for view, truth in zip(result.views, labels, strict=True)]


@pytest.mark.parametrize("kind", ["click", "box", "mask", "box and click"])
@pytest.mark.parametrize("source", [0, 1, 2])
def test_a_prompt_in_any_view_gives_the_object_in_all(source: int, kind: str) -> None:
    camera = FRAMES.cameras[source]
    for number in (2, 3, 4):
        truth = LABELS[source] == number
        prompt = {
            "click": clicks(camera, [centre_of(truth)]),
            "box": Prompt(camera, box_px=box_of(truth)),
            "mask": Prompt(camera, mask=truth),
            "box and click": Prompt(camera, centre_of(truth)[None], np.array([True]), box_of(truth)),
        }[kind]
        assert min(overlaps(PIPELINE.segment(prompt), LABELS, number)) > 0.9


def test_the_answer_has_points_and_box_in_the_world() -> None:
    result = PIPELINE.segment(clicks("ego", [centre_of(LABELS[0] == 3)]))
    assert result.object_id == 0 and result.instance is not None
    distance = np.linalg.norm(result.cloud.xyz - [0.2, -0.08, 0.045], axis=1)
    assert np.abs(distance - 0.045).max() < 0.003
    np.testing.assert_allclose(result.instance.box.centre, [0.2, -0.08, 0.045], atol=0.01)
    assert result.instance.point_count == len(result.cloud.xyz)
    assert not PIPELINE.objects()


def test_a_negative_click_takes_a_second_object_away() -> None:
    both = Prompt("ego", mask=(LABELS[0] == 2) | (LABELS[0] == 3))
    assert min(overlaps(PIPELINE.segment(both), LABELS, 3)) < 0.7
    less = Prompt("ego", centre_of(LABELS[0] == 2)[None], np.array([False]), mask=both.mask)
    assert min(overlaps(PIPELINE.segment(less), LABELS, 3)) > 0.9


def test_positive_clicks_on_two_objects_give_both() -> None:
    result = PIPELINE.segment(clicks("ego", [centre_of(LABELS[0] == 2), centre_of(LABELS[0] == 3)]))
    for view, truth in zip(result.views, LABELS, strict=True):
        assert iou(view.masks[0].mask, np.isin(truth, (2, 3))) > 0.9


def test_clicks_part_two_boxes_that_touch() -> None:
    frames, labels = render_set([box(1, -0.03, 0.0, (0.06, 0.06, 0.08)), box(2, 0.03, 0.0, (0.06, 0.06, 0.06))])
    pipeline = ScenePipeline(PipelineConfig())
    pipeline.process(frames)
    prompt = clicks("ego", [centre_of(labels[0] == 1)], [centre_of(labels[0] == 2)])
    result = pipeline.segment(prompt)
    assert min(overlaps(result, labels, 1)) > 0.6
    assert not result.views[0].masks[0].mask[tuple(prompt.points_px[1].astype(int)[::-1])]


def sheet_set() -> tuple[FrameSet, tuple[np.ndarray, ...]]:
    sheet = Solid(1, (0.0, 0.0, 0.0002), (0.1, 0.07, 0.0002), 0.3, colour=(240, 240, 240))
    return render_set([sheet])


def test_a_click_or_a_box_finds_a_sheet_that_lies_flat_on_the_table() -> None:
    frames, labels = sheet_set()
    pipeline = ScenePipeline(PipelineConfig(tasks=("prompts",)))
    pipeline.process(frames)
    truth = labels[0] == 1
    assert min(overlaps(pipeline.segment(Prompt("ego", box_px=box_of(truth, 6))), labels, 1)) > 0.7
    assert overlaps(pipeline.segment(clicks("ego", [centre_of(truth)])), labels, 1)[0] > 0.3


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt("ego"), "got none"),
        (Prompt("wrist", np.array([[1.0, 1]]), np.array([True])), "wrist"),
        (Prompt("ego", np.array([[400.0, 1]]), np.array([True])), "inside"),
        (Prompt("ego", np.array([[np.nan, 1]]), np.array([True])), "inside"),
        (Prompt("ego", box_px=np.array([9.0, 9, 3, 3])), "u_min"),
        (Prompt("ego", mask=np.ones((3, 3), bool)), "size"),
        (Prompt("ego", np.array([[5.0, 5]]), np.array([False])), "got none"),
        (Prompt("ego", text="  "), "a mask or a text, got none"),
        (Prompt("ego", np.array([[5.2, 5], [9, 9], [4.9, 5.1]]), np.array([True, True, False])), r"\(5, 5\)\] as both"),
        (Prompt("ego", np.ones((1_000_000, 2)), np.ones(1_000_000, bool)), "at most 1024, got 1000000"),
    ],
)
def test_wrong_prompts_are_refused(prompt: Prompt, message: str) -> None:
    for ask in (PIPELINE.segment, PIPELINE.track_object):
        with pytest.raises(BadInput, match=message):
            ask(prompt)
    assert PIPELINE.objects() == ()


def test_a_prompt_where_no_depth_was_measured_is_refused_and_the_object_stays() -> None:
    frames, labels = render_set(tabletop())
    blind = np.zeros(labels[0].shape, bool)
    blind[5:30, 5:50] = True
    frames.views[0].depth_m[blind], frames.views[0].image[blind] = 0, (20, 240, 240)
    pipeline = ScenePipeline(PipelineConfig())
    pipeline.process(frames)
    number = pipeline.track_object(clicks("ego", [centre_of(labels[0] == 3)])).object_id
    for prompt, corrected in (
        (clicks("ego", [centre_of(blind)]), 0), (Prompt("ego", mask=blind), 0), (Prompt("ego", mask=blind), number)
    ):  # fmt: skip
        with pytest.raises(BadInput, match="depth is known"):
            pipeline.track_object(prompt, corrected)
    assert [thing.object_id for thing in pipeline.objects()] == [number]
    later = pipeline.process(frames).masks
    assert min(iou(view.masks[0].mask, truth == 3) for view, truth in zip(later, labels, strict=True)) > 0.9


def test_a_text_prompt_names_what_it_needs() -> None:
    with pytest.raises(GeosegError, match="vocabulary"):
        PIPELINE.segment(Prompt("ego", text="mug"))


def test_a_negative_click_alone_on_a_masked_thing_takes_part_of_it_away() -> None:
    truth = LABELS[0] == 2
    click = centre_of(truth & (np.arange(320) < np.nonzero(truth)[1].mean() - 5))
    mask = PIPELINE.segment(Prompt("ego", click[None], np.array([False]), box_px=box_of(truth))).views[0].masks[0].mask
    assert not mask[int(click[1]), int(click[0])] and 0.2 < iou(mask, truth) < 0.9
