"""Masks carried by matched features: known motions, nothing to match, and what is refused."""

import cv2
import numpy as np
import pytest

from geoseg_core.cross_view.classical import (
    ClassicalTransfer,
    ClassicalTransferConfig,
    Unencoded,
    Warp,
    carried,
    fitted,
    keeps_side,
)
from geoseg_core.errors import BadInput
from geoseg_core.geometry.classical.config import ClassicalConfig
from geoseg_core.geometry.classical.matching import unit_bits
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet, View

SIZE = (120, 160)
SHIFT = (23, -11)  # px to the right and up


def textured(seed=0):
    """An image whose every corner differs."""
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def moved(image, shift):
    matrix = np.array([[1.0, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(image, matrix, SIZE[::-1], flags=cv2.INTER_NEAREST)


def scene(*images):
    return Unencoded(FrameSet(tuple(View(f"view_{number}", image) for number, image in enumerate(images))))


def marked():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 40:80, 30:70] = True
    masks[1, 60:100, 80:120] = True
    return masks


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_masks_move_with_the_image(detector):
    image, masks = textured(), marked()
    transfer = ClassicalTransfer(ClassicalTransferConfig(ClassicalConfig(detector=detector)))
    found = transfer(scene(image, moved(image, SHIFT), textured(1)), 0, masks)
    assert (found.masks[0] == masks).all()
    for mask, there in zip(masks, found.masks[1], strict=True):
        wanted = moved(mask.astype(np.uint8), SHIFT) > 0
        assert (there & wanted).sum() / (there | wanted).sum() > 0.93
    assert (found.visibility[:2] == Visibility.VISIBLE).all() and (found.scores[1] > 0.9).all()
    assert not found.masks[2].any() and (found.visibility[2] == Visibility.OCCLUDED).all()
    assert (found.scores[[0, 2]] == [[1], [0]]).all()


def test_the_source_may_be_any_view():
    image, masks = textured(), marked()[:1]
    found = ClassicalTransfer()(scene(moved(image, SHIFT), image), 1, masks)
    wanted = moved(masks[0].astype(np.uint8), SHIFT) > 0
    assert (found.masks[0][0] & wanted).sum() / (found.masks[0][0] | wanted).sum() > 0.93
    assert (found.masks[1] == masks).all()


def test_without_texture_the_mask_is_empty():
    grey = np.full((*SIZE, 3), 128, np.uint8)
    found = ClassicalTransfer()(scene(grey, grey), 0, marked())
    assert not found.masks[1].any() and (found.scores[1] == 0).all()
    assert (found.visibility[1] == Visibility.OCCLUDED).all()


def test_few_matches_give_an_affine_map_fewer_none():
    start = np.array([[10.0, 10], [50, 10], [50, 50], [10, 50], [30, 20]])
    there = start @ np.array([[1.2, 0.1], [-0.1, 0.9]]).T + (5, 7)
    mask = np.zeros(SIZE, bool)
    mask[10:50, 10:50] = True
    config = ClassicalTransferConfig()
    warp = fitted(start, there, mask, config)
    assert warp.agreeing == 1
    np.testing.assert_allclose(warp.matrix, [[1.2, 0.1, 5], [-0.1, 0.9, 7], [0, 0, 1]], atol=1e-6)
    assert fitted(start[:3], there[:3], mask, config) is None
    assert fitted(start, there * (1, -1), mask, config) is None  # a mirror


def test_a_map_that_tears_or_mirrors_is_none():
    corners = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    assert keeps_side(np.eye(3), corners) and keeps_side(-np.eye(3), corners)
    assert not keeps_side(np.diag([-1.0, 1, 1]), corners)
    assert not keeps_side(np.array([[1.0, 0, 0], [0, 1, 0], [-0.2, 0, 1]]), corners)


def test_an_object_that_leaves_the_image_is_out_of_view():
    mask = marked()[0]
    away = Warp(np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]]), 0.8)
    there, state, score = carried(mask, away, SIZE)
    assert not there.any() and state == Visibility.OUT_OF_VIEW and score == 0


def test_bits_that_differ_are_a_distance():
    one, two = unit_bits(np.array([[0b11110000] * 4, [0b11110001] * 4], np.uint8))
    assert np.linalg.norm(one) == pytest.approx(1)
    assert ((one - two) ** 2).sum() == pytest.approx(4 / 32 * 4)


def test_no_masks_and_bad_masks():
    views = scene(textured(), textured())
    assert [each.shape for each in ClassicalTransfer()(views, 0, np.zeros((0, *SIZE), bool)).masks] == [(0, *SIZE)] * 2
    with pytest.raises(BadInput, match="is empty"):
        ClassicalTransfer()(views, 0, np.zeros((1, *SIZE), bool))
    with pytest.raises(BadInput, match="source view"):
        ClassicalTransfer()(views, 2, marked())
    with pytest.raises(BadInput, match="two views"):
        ClassicalTransfer()(scene(textured()), 0, marked())
