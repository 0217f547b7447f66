"""Prompts drawn from truth, and their figures, against hand-made masks."""

import numpy as np
import pytest

from geoseg_core.evaluation.prompts import PromptScore, ask, bounding_box, deepest_pixel, random_points


def square(top, left, size, shape=(30, 40)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def test_deepest_pixel_is_the_centre_also_at_the_border():
    assert deepest_pixel(square(10, 20, 5)).tolist() == [22, 12]
    assert deepest_pixel(square(0, 0, 5)).tolist() == [2, 2]


def test_deepest_pixel_lies_inside_a_ring():
    ring = square(5, 5, 21) & ~square(9, 9, 13)
    u, v = deepest_pixel(ring).astype(int)
    assert ring[v, u]


def test_random_points_lie_where_they_say_and_repeat():
    mask = square(3, 4, 6)
    points, positive = random_points(mask, 10, 2, seed=7)
    assert points.shape == (12, 2) and positive.sum() == 10
    inside = mask[points[:, 1].astype(int), points[:, 0].astype(int)]
    assert (inside == positive).all()
    again, _ = random_points(mask, 10, 2, seed=7)
    other, _ = random_points(mask, 10, 2, seed=8)
    assert (again == points).all() and (other != points).any()


def test_bounding_box_has_the_outer_edges():
    assert bounding_box(square(3, 4, 6)).tolist() == [3.5, 2.5, 9.5, 8.5]


def test_three_clicks_correct_the_larger_error():
    truth = square(5, 5, 11)
    asked = []

    def answer(prompt):
        asked.append((prompt.points_px.tolist(), prompt.positive.tolist()))
        return [[square(5, 5, 11) | square(5, 20, 9)], [square(5, 5, 11) & ~square(5, 5, 7)], [truth]][len(asked) - 1]

    masks = ask("three_clicks", "ego", 0, truth, answer, 0)
    assert masks[0] is truth
    assert asked[1] == ([[10, 10], [24, 9]], [True, False])
    assert asked[2] == ([[10, 10], [24, 9], [8, 8]], [True, False, True])


def test_three_clicks_stop_when_nothing_is_wrong():
    truth = square(5, 5, 11)
    asked = []
    ask("three_clicks", "ego", 0, truth, lambda prompt: asked.append(prompt) or [truth], 0)
    assert len(asked) == 1


@pytest.mark.parametrize(("kind", "count"), [("points_10_2", 12), ("one_click", 1), ("box", 0)])
def test_kinds_ask_once(kind, count):
    asked = []
    ask(kind, "ego", 0, square(5, 5, 9), lambda prompt: asked.append(prompt) or [square(5, 5, 9)], 3)
    assert len(asked) == 1 and len(asked[0].points_px) == count
    assert (asked[0].box_px is not None) == (kind == "box")


def test_figures_by_hand():
    score = PromptScore(min_pixels=4)
    one = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0, 0]], bool)
    none = np.zeros((1, 10), bool)
    half = np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]], bool)
    score.add("box", [one, none], [half, half])
    score.add("box", [one, one], [one, half])
    report = score.report()
    assert report["box"]["miou"] == pytest.approx((0.5 + 0.75) / 2)  # the view without the object has no IoU
    assert report["box"]["macc"] == pytest.approx((16 / 20 + 18 / 20) / 2)
    assert report["box"]["prompts"] == 2
    assert report["one_click"] == {"miou": None, "macc": None, "prompts": 0}
