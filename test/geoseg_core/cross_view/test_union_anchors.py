"""Anchors of masks, and the K-means that they stem from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_core.cross_view.union_head.anchors import mask_anchors, spread_points
from geoseg_core.cross_view.union_head.kmeans import kmeans
from geoseg_core.errors import BadInput


def test_well_parted_groups_give_their_means() -> None:
    square = np.array([[0, 0], [2, 0], [0, 2], [2, 2]])
    groups = [square + 100 * np.array(corner) for corner in ((0, 0), (3, 0), (0, 5))]
    found = kmeans(np.concatenate(groups), 3, seed=0)
    assert {tuple(each) for each in np.rint(found)} == {(1, 1), (301, 1), (1, 501)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 12), st.sampled_from([0.02, 0.3, 0.9]))
def test_anchors_lie_on_the_mask_and_differ_while_it_has_room(seed: int, count: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((17, 23)) < share
    points = mask_anchors(mask, count).points_px
    assert points.shape == (count, 2) and points.dtype == np.float32
    if not mask.any():
        assert not points.any()
        return
    columns, rows = points.astype(int).T
    assert mask[rows, columns].all()
    if mask.sum() <= count:
        assert len({tuple(each) for each in points}) == mask.sum()


def test_centres_beside_the_mask_are_moved_to_its_nearest_pixel() -> None:
    ring = np.zeros((9, 9), bool)
    ring[[0, -1]] = ring[:, [0, -1]] = True
    found = mask_anchors(ring, 1)
    assert found.corrected == 1 and found.centres_px is not None
    np.testing.assert_allclose(found.centres_px, [[4, 4]], atol=1e-5)
    assert tuple(found.points_px[0]) in {(4, 0), (0, 4), (8, 4), (4, 8)}


def test_a_small_mask_gives_all_its_pixels_and_the_first_one_again() -> None:
    mask = np.zeros((4, 5), np.uint8)
    mask[1, 2] = mask[3, 4] = 1
    assert mask_anchors(mask, 4).points_px.tolist() == [[2, 1], [4, 3], [2, 1], [2, 1]]
    assert mask_anchors(np.zeros((4, 5)), 2).points_px.tolist() == [[0, 0], [0, 0]]


def test_few_points_are_spread_as_they_are() -> None:
    points = np.array([[1.5, 2.5], [8.0, 9.0]])
    assert spread_points(points, 3).tolist() == [[1.5, 2.5], [8, 9], [1.5, 2.5]]
    assert sorted(spread_points(np.repeat(points, 3, axis=0), 2).tolist()) == points.tolist()


def test_masks_of_another_rank_and_counts_below_one_are_refused() -> None:
    with pytest.raises(BadInput, match="mask"):
        mask_anchors(np.zeros((2, 3, 4)), 5)
    with pytest.raises(BadInput, match="at least one anchor"):
        mask_anchors(np.ones((3, 4)), 0)
