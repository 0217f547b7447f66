"""What image-text models are shown of an instance, pixel by pixel."""

import numpy as np
import pytest

from geoseg_core.instances.vocabulary.crops import instance_crop

GREY = np.array([10, 20, 30])
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def box_mask(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(IMAGE.shape[:2], bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_the_crop_is_the_square_round_the_mask() -> None:
    crop = instance_crop(IMAGE, box_mask(10, 20, 8, 8), 8, 0.0, "kept", GREY)
    np.testing.assert_array_equal(crop, IMAGE[10:18, 20:28])


def test_a_long_thing_is_whole_in_the_middle_of_the_square() -> None:
    crop = instance_crop(IMAGE, box_mask(10, 20, 4, 12), 12, 0.0, "grey", GREY)
    np.testing.assert_array_equal(crop[4:8], IMAGE[10:14, 20:32])
    assert (np.delete(crop, np.s_[4:8], axis=0) == GREY).all()


def test_the_margin_is_a_part_of_the_longer_side() -> None:
    crop = instance_crop(IMAGE, box_mask(10, 20, 5, 10), 14, 0.2, "kept", GREY)  # 10 + 2 * 2
    np.testing.assert_array_equal(crop, IMAGE[5:19, 18:32])


def test_beyond_the_image_is_grey() -> None:
    crop = instance_crop(IMAGE, box_mask(0, 56, 4, 4), 8, 0.5, "kept", GREY)
    np.testing.assert_array_equal(crop[2:, :6], IMAGE[:6, 54:])
    assert (crop[:2] == GREY).all() and (crop[:, 6:] == GREY).all()


@pytest.mark.parametrize("side", (6, 8, 30))
def test_with_grey_surroundings_nothing_outside_the_mask_matters(side: int) -> None:
    mask = box_mask(10, 20, 8, 5)
    other = np.where(mask[..., None], IMAGE, 255 - IMAGE)
    first, second = (instance_crop(image, mask, side, 0.3, "grey", GREY) for image in (IMAGE, other))
    np.testing.assert_array_equal(first, second)


def test_blurred_surroundings_show_rough_colours_and_the_thing_as_it_is() -> None:
    mask = box_mask(16, 26, 8, 8)
    board = np.indices(IMAGE.shape[:2]).sum(0) % 2
    boards = [np.repeat((120 + 60 * pattern)[..., None], 3, axis=2).astype(np.uint8) for pattern in (board, 1 - board)]
    first, second = (
        instance_crop(np.where(mask[..., None], IMAGE, each), mask, 24, 1.0, "blurred", GREY).astype(int)
        for each in boards
    )
    np.testing.assert_array_equal(first[8:16, 8:16], IMAGE[16:24, 26:34])
    outside = np.ones((24, 24), bool)
    outside[8:16, 8:16] = False
    corner = first[:4, :4]
    assert abs(corner - 150).max() <= 2, "a fine pattern is its mean"
    assert abs(first - second)[outside].max() <= 4, "which of two fine patterns it is makes no difference"


def test_what_is_outside_the_square_never_matters() -> None:
    mask = box_mask(16, 26, 8, 8)
    near = box_mask(14, 24, 12, 12)
    other = np.where(near[..., None], IMAGE, 0)
    for surroundings in ("blurred", "grey", "kept"):
        first, second = (instance_crop(image, mask, 16, 0.2, surroundings, GREY) for image in (IMAGE, other))
        np.testing.assert_array_equal(first, second)


def test_one_pixel_is_enough() -> None:
    crop = instance_crop(IMAGE, box_mask(39, 59, 1, 1), 16, 0.0, "blurred", GREY)
    assert crop.shape == (16, 16, 3) and (crop == IMAGE[39, 59]).all()
