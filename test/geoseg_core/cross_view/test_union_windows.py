"""What the union head is shown of a frame, and the exact way back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_core.cross_view.union_head.config import EgoExoConfig
from geoseg_core.cross_view.union_head.ego_exo import (
    exo_square,
    exo_target,
    source_window,
    whole,
    window_side,
    without_outliers,
)
from geoseg_core.cross_view.union_head.windows import UNSEEN, Letterbox, Window, nearest
from geoseg_core.errors import BadInput


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9), st.integers(1, 80))
def test_points_return_to_where_they_came_from(width: int, height: int, left: int, top: int, side: int) -> None:
    window = Window((60, 70), left, top, width, height, (side, side + 3))
    points = np.array([[0.0, 0.0], [33.3, 12.7], [69.0, 59.0], [-4.0, 90.0]])
    np.testing.assert_allclose(window.to_frame(window.to_window(points)), points, atol=1e-9)
    low, high = window.to_window(np.array([[left, top], [left + width, top + height]]))
    np.testing.assert_allclose([low, high], [[0, 0], [side + 3, side]], atol=1e-9)


def test_a_mask_comes_back_to_its_pixels_through_a_window() -> None:
    mask = np.zeros((30, 50), bool)
    mask[8:15, 20:31] = True
    window = Window((30, 50), 14, 4, 20, 20, (60, 60))
    logits = torch.from_numpy(np.where(window.mask(mask), 8.0, -8.0))[None]
    back = window.logits_to_frame(logits)[0]
    assert torch.equal(back > 0, torch.from_numpy(mask))
    assert (back[0] == UNSEEN).all() and (back[:, 40:] == UNSEEN).all()


def test_images_are_cut_and_averaged() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[1:3, 2:4] = np.array([[0, 100], [200, 60]])[..., None]
    assert Window((4, 6), 2, 1, 2, 2, (1, 1)).image(image).tolist() == [[[90, 90, 90]]]
    with pytest.raises(BadInput, match="frame of 6x4"):
        Window((4, 6), 2, 1, 2, 2, (1, 1)).image(image[1:])


def test_nearest_takes_the_pixel_up_and_left() -> None:
    row = np.arange(7)[None]
    assert nearest(row, (1, 4)).tolist() == [[0, 1, 3, 5]]
    assert nearest(row, (2, 14))[1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


@pytest.mark.parametrize("frame", [(540, 960), (960, 540)])
def test_a_letterbox_returns_points_by_one_scale_or_exactly(frame: tuple[int, int]) -> None:
    box = Letterbox(frame, 518)
    assert sorted(box.resized) == [294, 518]
    shown = box.image(np.full((*frame, 3), 7, np.uint8))
    assert (shown == 7).all(axis=2).sum() == 294 * 518 and set(np.unique(shown)) == {7, 114}
    assert box.mask(np.ones(frame, bool)).sum() == 294 * 518
    corner = np.array(box.resized[::-1], float)
    exact = Letterbox(frame, 518, one_scale=False).to_frame(corner)
    np.testing.assert_allclose(exact, frame[::-1])
    np.testing.assert_allclose(np.abs(box.to_frame(corner) - exact).max(), 960 / 518 * 294 - 540, atol=1e-9)


@pytest.mark.parametrize(("box", "context", "side"), [
    (49.9, 3.0, 180), (50, 3.0, 180), (111.9, 3.0, 328), (200, 3.0, 540), (201, 3.0, 540), (79, 2.0, 270),
    (140, 2.0, 405), (99, 1.5, 360), (150, 1.5, 450), (10, 1.0, 540),
])  # fmt: skip
def test_windows_grow_with_the_object(box: float, context: float, side: int) -> None:
    assert window_side(box, 540, context) == side
    # Another camera: everything in proportion.
    assert window_side(box * 2, 1080, context) == pytest.approx(2 * side, abs=2)


def test_an_exo_target_ignores_outliers_and_stays_inside_the_frame() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate((rng.uniform(-5, 20, (40, 2)), rng.uniform(300, 900, (10, 2))))
    target = exo_target(rng.permutation(points), (540, 960), EgoExoConfig())
    assert target.window.box == (0, 0, 180, 180)
    assert target.kept_px.max() < 20 and len(target.kept_px) == 40
    assert target.points_px.shape == (5, 2) and target.points_px.min() >= 0
    assert len(without_outliers(points[:3], 10)) == 1


def test_a_source_is_enlarged_around_its_mask_and_wholly_in_view() -> None:
    mask = np.zeros((100, 100), bool)
    mask[90:99, 3:9] = True
    window = source_window(mask, 2.0)
    assert window.box == (0, 50, 50, 100) and window.mask(mask).sum() == 4 * mask.sum()
    mask[10:99] = True
    assert source_window(mask, 2.0).width == 100
    assert source_window(np.zeros((100, 100)), 2.0).box == (0, 0, 100, 100)


def test_the_exo_square_follows_the_mask_along_the_longer_side() -> None:
    mask = np.zeros((54, 96), bool)
    mask[:, 80] = True
    assert exo_square(mask, 518).box == (42, 0, 96, 54)
    assert exo_square(mask.T, 518).box == (0, 42, 54, 96)
    with pytest.raises(BadInput, match="empty"):
        exo_square(np.zeros((54, 96), bool), 518)


def test_windows_outside_their_frame_are_refused() -> None:
    with pytest.raises(BadInput, match="inside a frame of 60x40"):
        Window((40, 60), 30, 0, 31, 40, (5, 5))
    assert whole((40, 60), 5).box == (0, 0, 60, 40)
