"""A mask of one view in another, on planes where the answer is known by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from geoseg_core.cross_view.reprojected import reprojected_mask
from geoseg_core.cross_view.reprojected_transfer import ReprojectedTransfer
from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet, View

SIZE = (48, 64)
INTRINSICS = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])


def view(depth_m: float | np.ndarray = 2.0, right_m: float = 0.0) -> ViewGeometry:
    """A camera, moved to the right, that looks along z at a surface."""
    pose = np.eye(4)
    pose[0, 3] = right_m
    depth = np.broadcast_to(np.float32(depth_m), SIZE).copy()
    return ViewGeometry(depth, np.ones(SIZE, np.float32), INTRINSICS, pose, lift(depth, INTRINSICS, pose))


def block(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_on_a_plane_a_mask_moves_by_focal_length_times_baseline_over_depth() -> None:
    goal = view(right_m=0.2)  # 50 px * 0.2 m / 2 m = 5 px
    np.testing.assert_array_equal(reprojected_mask(goal, view(), block(10, 20, 30, 45), 0.05), block(10, 20, 25, 40))
    np.testing.assert_array_equal(reprojected_mask(goal, view(), block(10, 20, 2, 12), 0.05), block(10, 20, 0, 7))
    np.testing.assert_array_equal(reprojected_mask(view(), goal, block(10, 20, 25, 40), 0.05), block(10, 20, 30, 45))


def test_what_is_not_in_the_image_or_behind_it_is_empty() -> None:
    assert not reprojected_mask(view(right_m=2.0), view(), block(10, 20, 30, 45), 0.05).any()
    behind = view()
    behind.camera_to_world[2, 3] = 3.0
    assert not reprojected_mask(behind, view(), block(10, 20, 30, 45), 0.05).any()
    assert not reprojected_mask(view(), view(), block(0, 0, 0, 0), 0.05).any()


def test_a_surface_before_it_hides_it_in_either_view() -> None:
    screened = np.full(SIZE, 2.0)
    screened[:, 30:35] = 1.0
    goal = view(screened, right_m=0.2)
    expected = block(10, 20, 25, 40)
    expected[:, 30:35] = False
    np.testing.assert_array_equal(reprojected_mask(goal, view(), block(10, 20, 30, 45), 0.05), expected)
    # Seen from the other side of the baseline, the screen stands 5 px to the right of what it covers in the goal.
    start = view(screened)
    found = reprojected_mask(view(right_m=0.2), start, block(10, 20, 25, 45), 0.05)
    expected = block(10, 20, 20, 40)
    expected[:, 25:30] = False
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_the_tolerance_is_a_part_of_the_depth_in_whatever_unit(unit: float) -> None:
    start, goal, mask = view(2.0 * unit), view(2.08 * unit), block(10, 20, 30, 45)
    np.testing.assert_array_equal(reprojected_mask(goal, start, mask, 0.05), mask)
    assert not reprojected_mask(goal, start, mask, 0.03).any()
    np.testing.assert_array_equal(reprojected_mask(goal, start, mask, 0.03, tolerance_m=0.03 * unit), mask)


def test_without_depth_there_is_nothing() -> None:
    holed = np.full(SIZE, 2.0)
    holed[12:14, 33:36] = 0.0
    mask = block(10, 20, 30, 45)
    expected = mask & (holed > 0)
    np.testing.assert_array_equal(reprojected_mask(view(holed), view(), mask, 0.05), expected)
    np.testing.assert_array_equal(reprojected_mask(view(), view(holed), mask, 0.05), expected)
    assert not reprojected_mask(view(0.0), view(), mask, 0.05).any()
    assert not reprojected_mask(view(), view(0.0), mask, 0.05).any()


def test_only_candidates_are_chosen() -> None:
    candidates, mask = block(0, 15, 0, 64), block(10, 20, 30, 45)
    np.testing.assert_array_equal(
        reprojected_mask(view(), view(), mask, 0.05, candidates=candidates), block(10, 15, 30, 45)
    )


def test_views_of_different_sizes() -> None:
    half = INTRINSICS * [[0.5], [0.5], [1]]
    half[:2, 2] = (15.5, 11.5)  # centres of pixels: (31.5 + 0.5) / 2 - 0.5
    depth = np.full((24, 32), 2.0, np.float32)
    small = replace(view(), depth_m=depth, intrinsics=half, points=lift(depth, half, np.eye(4)))
    found = reprojected_mask(small, view(), block(10, 20, 30, 46), 0.05)
    assert found.shape == (24, 32)
    assert found[5:10, 15:23].all() and found.sum() == 5 * 8


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(BadInput, match=r"size of its view \(48, 64\), got \(48, 65\)"):
        reprojected_mask(view(), view(), np.zeros((48, 65), bool), 0.05)


@dataclass(frozen=True)
class Scene:
    frames: FrameSet
    views: tuple[ViewGeometry, ...]


def test_all_masks_go_into_all_views_at_once() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    frames = FrameSet(tuple(View(name, image) for name in ("left", "right", "far")))
    scene = Scene(frames, (view(), view(right_m=0.2), view(right_m=5.0)))
    masks = np.stack([block(10, 20, 30, 45), block(30, 40, 20, 30)])
    found = ReprojectedTransfer()(scene, 0, masks)
    np.testing.assert_array_equal(found.masks[0], masks)
    np.testing.assert_array_equal(found.masks[1], [block(10, 20, 25, 40), block(30, 40, 15, 25)])
    assert not found.masks[2].any() and (found.visibility[2] == Visibility.OUT_OF_VIEW).all()
    np.testing.assert_array_equal(found.scores, [[1, 1], [1, 1], [0, 0]])
    assert ReprojectedTransfer()(scene, 0, masks[:0]).visibility.shape == (3, 0)
    with pytest.raises(BadInput, match="empty"):
        ReprojectedTransfer()(scene, 0, masks & False)
