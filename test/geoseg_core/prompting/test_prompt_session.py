"""Prompts one after the other on one frame set: a decoder with random weights, so what it draws is of no account."""

import numpy as np
import pytest
import torch
from small_models import TINY, small_mv_sam

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.geometry.inference import TinyEncoderConfig
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.geometry.tiny.encoder import TinyEncoder
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.prompting.mv_sam.asking import spread_points, without_sprinkles
from geoseg_core.prompting.mv_sam.prompter import TinyPrompter
from geoseg_core.prompting.session import PromptSession
from geoseg_core.prompts import MAX_POINTS, Prompt
from geoseg_core.views import FrameSet, View

SIZE = (60, 80)


@pytest.fixture(scope="module")
def prompter():
    torch.manual_seed(3)
    return TinyPrompter(small_mv_sam())


@pytest.fixture(scope="module")
def frames():
    random = np.random.default_rng(0)
    return FrameSet(tuple(View(name, random.integers(0, 255, (*SIZE, 3), np.uint8)) for name in ("ego", "exo", "top")))


@pytest.fixture(scope="module")
def scene(frames):
    torch.manual_seed(0)
    return TinyEncoder(TinyGeometry(TINY), TinyEncoderConfig(precision="fp32", pixels=64 * 96)).encode(frames)


@pytest.fixture
def session(prompter, scene):
    return PromptSession(prompter, scene)


def same(one, other):
    return all(np.array_equal(*pair) for pair in zip(one.masks, other.masks, strict=True)) and np.array_equal(
        one.scores, other.scores
    )


def test_an_answer_has_a_mask_and_a_score_for_each_view(session):
    answer = session.add("exo", points=[(40, 30), (10, 50)])
    assert [mask.shape for mask in answer.masks] == [SIZE] * 3 and answer.masks[0].dtype == bool
    assert answer.scores.shape == (3,)
    for mask, score in zip(answer.masks, answer.scores, strict=True):
        assert score == 0 if not mask.any() else 0.5 < score <= 1


def test_what_is_said_in_steps_is_what_is_said_at_once_and_undo_takes_it_back(session, prompter, scene):
    first = session.add("ego", points=[(20, 20)])
    second = session.add("exo", points=[(60, 40)], labels=[False])
    third = session.add("ego", points=[(30, 25)])
    at_once = PromptSession(prompter, scene)
    at_once.add("ego", points=[(20, 20), (30, 25)])
    assert same(third, at_once.add("exo", points=[(60, 40)], labels=[False]))
    assert session.undo() == 1 and same(session.answers[1], second)
    assert session.undo() == 1 and same(session.answers[1], first)
    assert session.undo() == 1 and session.answers == {}
    assert session.undo() is None


def test_objects_do_not_mix(session):
    first = session.add("ego", points=[(20, 20)], object_id=4)
    session.add("top", points=[(70, 10)], object_id=9)
    assert set(session.answers) == {4, 9} and same(session.answers[4], first)
    session.clear(9)
    session.clear(77)
    assert set(session.answers) == {4}
    assert session.undo() == 4 and session.answers == {}
    session.add("ego", points=[(20, 20)])
    session.clear()
    assert session.answers == {} and session.undo() is None


def test_a_mask_stays_as_it_was_drawn_in_its_view_and_the_last_one_counts(session):
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 10:30, 20:50], masks[1, 35:50, 5:25] = True, True
    assert np.array_equal(session.add("exo", mask=masks[0]).masks[1], masks[0])
    answer = session.add("exo", mask=masks[1])
    assert np.array_equal(answer.masks[1], masks[1])
    session.clear()
    assert same(answer, session.add("exo", mask=masks[1]))


def test_a_box_is_answered_in_all_views(session):
    answer = session.add("top", box=(10, 10, 50, 40))
    assert [mask.shape for mask in answer.masks] == [SIZE] * 3
    assert not same(answer, session.add("top", box=(30, 20, 70, 55)))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"view": "wrist", "points": [(1, 1)]}, "one of \\['ego', 'exo', 'top'\\]"),
        ({"view": "ego", "points": [(80, 10)]}, "inside 80x60 of 'ego'"),
        ({"view": "ego", "points": [(float("nan"), 10)]}, "inside 80x60"),
        ({"view": "ego", "box": (50, 10, 20, 30)}, "u_min < u_max"),
        ({"view": "ego", "mask": np.zeros((3, 4), bool)}, "the image's size"),
        ({"view": "ego", "points": [(20.2, 19.8)], "labels": [False]}, r"\[\(20, 20\)\] as both"),
        ({"view": "ego", "points": np.ones((10**6, 2))}, f"at most {MAX_POINTS}, got 1000000"),
        ({"view": "ego", "points": np.ones((MAX_POINTS, 2))}, f"at most {MAX_POINTS}, got {MAX_POINTS + 1}"),
        ({"view": "ego", "points": [("a", "b")]}, "expected points"),
        ({"view": "ego", "points": [(1, 1)], "labels": [True, False]}, "prompt point labels"),
        ({"view": "ego"}, "got none"),
        ({"view": "ego", "text": " "}, "text prompt: expected words alone, got ' '"),
        ({"view": "ego", "text": ""}, "text prompt: expected words alone, got ''"),
        ({"view": "ego", "text": "a cup", "points": [(1, 1)]}, "expected words alone, got points"),
        ({"view": "ego", "points": [(1, 1)], "labels": [False], "object_id": 2}, "object 2: expected a positive"),
    ],
)
def test_what_is_refused_leaves_the_session_as_it_was(session, said, words):
    answer = session.add("ego", points=[(20, 20)])
    with pytest.raises(BadInput, match=words):
        session.add(**said)
    assert set(session.answers) == {1} and same(session.answers[1], answer)
    assert session.undo() == 1 and session.answers == {}


def test_text_needs_a_vocabulary(session):
    with pytest.raises(GeosegError, match="vocabulary"):
        session.add("ego", text="the red cup")
    assert session.answers == {}


def test_a_text_means_what_it_points_at_and_points_correct_it(prompter, scene):
    mask = np.zeros(SIZE, bool)
    mask[10:30, 20:50] = True
    asked = []

    def pointed(prompt):
        asked.append((prompt.camera, prompt.text))
        if prompt.text == "a unicorn":
            raise BadInput("none in view")
        return Prompt("exo", mask=mask)

    session, told = PromptSession(prompter, scene, pointed), PromptSession(prompter, scene)
    assert same(session.add("ego", text="the red cup"), told.add("exo", mask=mask))
    click = {"view": "top", "points": [(40, 30)], "labels": [False]}
    assert same(session.add(**click), told.add(**click))
    with pytest.raises(BadInput, match="none in view"):
        session.add("ego", text="a unicorn")
    with pytest.raises(BadInput, match="one of"):
        session.add("wrist", text="the red cup")
    assert asked == [("ego", "the red cup"), ("ego", "a unicorn")] and same(session.answers[1], told.answers[1])
    assert session.undo() == 1 and session.undo() == 1 and session.answers == {}


def test_a_scene_of_another_encoder_is_refused(prompter):
    depth = np.ones(SIZE, np.float32)
    intrinsics = np.array([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]])
    view = View("ego", np.zeros((*SIZE, 3), np.uint8), depth_m=depth, intrinsics=intrinsics, camera_to_world=np.eye(4))
    with pytest.raises(BadInput, match="encoder tiny"):
        PromptSession(prompter, RgbdEncoder().encode(FrameSet((view,))))


def test_points_that_stand_for_a_mask_by_hand():
    mask = np.zeros((20, 40), bool)
    mask[5:14, 3:36] = True  # 9 rows and 33 columns, its middle row 9
    points = spread_points(mask, 3)
    assert (points[:, 1] == 9).all() or abs(points[:, 1] - 9).max() <= 2
    assert mask[points[:, 1], points[:, 0]].all()
    assert np.ptp(points[:, 0]) > 16
    assert len(spread_points(np.eye(2, dtype=bool), 8)) == 2


def test_sprinkles_are_taken_away():
    mask = np.zeros((100, 100), bool)
    mask[10:20, 10:20] = True
    mask[50, 50:59] = True  # 9 of 10,000 pixels: less than a thousandth
    mask[70, 70:80] = True  # 10: not less
    cleaned = without_sprinkles(mask)
    assert cleaned[10:20, 10:20].all() and cleaned[70, 70:80].all() and not cleaned[50].any()
    assert not without_sprinkles(np.zeros((5, 5), bool)).any()
