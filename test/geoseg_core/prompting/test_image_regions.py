"""Prompts that become masks by colours alone, on pictures whose regions are known."""

import numpy as np
import pytest

from geoseg_core.errors import BadInput
from geoseg_core.prompting.image_regions import image_mask
from geoseg_core.prompts import Prompt

SIZE = (120, 160)


def picture() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey ground with a red disc and a blue box, with a little noise; the masks of both."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = (rows - 50) ** 2 + (columns - 50) ** 2 < 15**2
    box = (abs(rows - 70) < 12) & (abs(columns - 110) < 18)
    image = np.full((*SIZE, 3), 128, np.float32)
    image[disc], image[box] = (200, 40, 40), (40, 40, 200)
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8), disc, box


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def points(*places: tuple[float, float, bool]) -> dict:
    return {
        "points_px": np.array([place[:2] for place in places], float),
        "positive": np.array([place[2] for place in places]),
    }


def test_a_click_takes_the_thing_under_it_and_not_its_neighbour():
    image, disc, box = picture()
    assert iou(image_mask(image, Prompt.click("ego", 50, 50)), disc) > 0.95
    assert iou(image_mask(image, Prompt.click("ego", 110, 70)), box) > 0.95


def test_a_box_takes_what_stands_out_in_it():
    image, disc, _ = picture()
    found = image_mask(image, Prompt("ego", box_px=np.array([30.0, 30.0, 72.0, 72.0])))
    assert iou(found, disc) > 0.95


def test_a_mask_is_taken_as_it_is():
    image, disc, _ = picture()
    assert (image_mask(image, Prompt("ego", mask=disc)) == disc).all()


def test_a_negative_click_takes_a_part_of_the_known_mask_away():
    image, disc, box = picture()
    prompt = Prompt("ego", **points((110, 70, False)), mask=disc | box)
    assert iou(image_mask(image, prompt), disc) > 0.9


def test_a_positive_click_adds_a_part_to_the_known_mask():
    image, disc, box = picture()
    prompt = Prompt("ego", **points((110, 70, True)), mask=disc)
    assert iou(image_mask(image, prompt), disc | box) > 0.9


def test_a_box_round_the_whole_image_is_answered_too():
    image, _, _ = picture()
    assert image_mask(image, Prompt("ego", box_px=np.array([0.0, 0.0, 159.0, 119.0]))).shape == SIZE


def test_what_is_nowhere_is_refused():
    image, disc, _ = picture()
    with pytest.raises(BadInput, match="found nothing"):
        image_mask(image, Prompt("ego", **points((50, 50, False)), mask=disc & False))
