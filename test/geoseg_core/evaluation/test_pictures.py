"""Pictures: what is drawn where, by pixel values."""

import numpy as np
import pytest

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.pictures import contact_sheet, label_image, overlay
from geoseg_core.results import ObjectMask, Visibility


def test_colours_are_fixed_and_differ():
    assert colour_of(7) == colour_of(7)
    assert len({colour_of(each) for each in range(1, 41)}) == 40
    near = [np.abs(np.subtract(colour_of(each), colour_of(each + 1))).max() for each in range(1, 40)]
    assert min(near) > 60


def test_overlay_tints_the_mask_outlines_it_and_leaves_the_rest_alone():
    image = np.full((60, 80, 3), 100, np.uint8)
    labels = np.zeros((60, 80), np.uint16)
    labels[10:50, 10:70] = 300
    picture = overlay(image, labels)
    assert (picture[labels == 0] == 100).all()
    assert picture[10, 10].tolist() == list(colour_of(300))
    tint = 0.55 * 100 + 0.45 * np.array(colour_of(300))
    np.testing.assert_allclose(picture[15, 15], tint, atol=1)
    assert (image == 100).all()


def test_overlay_writes_a_caption_in_white():
    image = np.zeros((60, 80, 3), np.uint8)
    labels = np.full((60, 80), 2, np.uint16)
    picture = overlay(image, labels, {2: "mug"})
    assert (picture[20:40, 20:60] == 255).all(2).any()


def test_captions_do_not_stand_on_each_other():
    labels = np.zeros((60, 80), np.uint16)
    labels[10:50, 20:40], labels[10:50, 40:60] = 1, 2
    picture = overlay(np.zeros((60, 80, 3), np.uint8), labels, {1: "mug", 2: "mug"})
    written = np.flatnonzero((picture == 255).all(2).any(1))
    assert np.flatnonzero(np.diff(written) > 1).tolist() == [4]  # two lines of five rows each


def test_overlay_without_labels_is_a_copy():
    image = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)
    picture = overlay(image, np.zeros((60, 80), np.uint16))
    assert (picture == image).all() and picture is not image


def test_overlay_refuses_another_size():
    with pytest.raises(BadInput, match=r"\(60, 80\), got \(30, 80\)"):
        overlay(np.zeros((60, 80, 3), np.uint8), np.zeros((30, 80), np.uint16))


def test_label_image_lets_the_higher_score_win():
    left, all_of_it = np.zeros((2, 4), bool), np.ones((2, 4), bool)
    left[:, :2] = True
    masks = [ObjectMask(5, left, 0.9, Visibility.VISIBLE), ObjectMask(6, all_of_it, 0.3, Visibility.VISIBLE)]
    assert label_image(masks, (2, 4)).tolist() == [[5, 5, 6, 6]] * 2


def test_contact_sheet_keeps_pictures_whole():
    red = np.full((40, 60, 3), (200, 0, 0), np.uint8)
    small = np.full((20, 30, 3), (0, 200, 0), np.uint8)
    sheet = contact_sheet([[red, small], [red]], ["t = 0 s", "t = 1 s"])
    assert sheet.shape[1] == 60 + 6 + 60
    assert np.count_nonzero((sheet == (200, 0, 0)).all(2)) == 2 * 40 * 60
    assert np.count_nonzero((sheet == (0, 200, 0)).all(2)) == 40 * 60


def test_contact_sheet_refuses_nothing():
    with pytest.raises(BadInput, match="at least one picture"):
        contact_sheet([], [])
