"""Masks carried between views of scenes whose true masks are known exactly."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import TABLE, Solid, box, cameras, iou, look_at, render, render_set, tabletop, workplace

from geoseg_core.cross_view.reprojection import ReprojectionConfig, transfer_masks
from geoseg_core.errors import BadInput
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter, Layout
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet

CONFIG = ReprojectionConfig()
FRAMES, LABELS = render_set(tabletop())


def layout_of(frames: FrameSet) -> Layout:
    return InstanceSegmenter(InstanceConfig()).update(RgbdEncoder().encode(frames))


LAYOUT = layout_of(FRAMES)


@pytest.mark.parametrize("source", [0, 1, 2])
def test_masks_of_all_objects_arrive_in_all_views(source: int) -> None:
    masks = np.stack([LABELS[source] == number for number in range(1, 7)])
    carried = transfer_masks(LAYOUT, source, masks, CONFIG)
    for view in range(3):
        overlaps = [iou(carried.masks[view][row], LABELS[view] == row + 1) for row in range(6)]
        assert min(overlaps) > 0.93, overlaps
        assert (carried.visibility[view] == Visibility.VISIBLE).all()
        assert (carried.scores[view] > 0.9).all()


def test_a_batch_of_masks_gives_what_each_gives_alone() -> None:
    masks = np.stack([LABELS[0] == number for number in range(1, 7)])
    together = transfer_masks(LAYOUT, 0, masks, CONFIG)
    for row in range(6):
        alone = transfer_masks(LAYOUT, 0, masks[row : row + 1], CONFIG)
        for view in range(3):
            np.testing.assert_array_equal(alone.masks[view][0], together.masks[view][row])
            assert alone.scores[view, 0] == together.scores[view, row]


def test_the_order_of_the_views_does_not_matter() -> None:
    order = [2, 0, 1]
    turned = layout_of(FrameSet(tuple(FRAMES.views[index] for index in order)))
    masks = (LABELS[0] == 4)[None]
    plain, permuted = transfer_masks(LAYOUT, 0, masks, CONFIG), transfer_masks(turned, 1, masks, CONFIG)
    for place, index in enumerate(order):
        assert iou(permuted.masks[place][0], plain.masks[index][0]) > 0.98


def test_visible_occluded_and_out_of_view_are_told_apart() -> None:
    thing = box(1, 0.0, 0.1, (0.06, 0.06, 0.06))
    screen = Solid(9, (0.0, -0.1, 0.15), (0.15, 0.005, 0.15), colour=(20, 20, 20))
    poses = cameras() | {"back": look_at((0, 0.8, 0.5), (0, 0, 0)), "away": look_at((0, 0.9, 0.6), (1.5, 0.2, 0))}
    pairs = [render([*workplace(), thing, screen], name, poses[name]) for name in ("back", "ego", "exo_left", "away")]
    labels = [label for _, label in pairs]
    assert [(label == 1).any() for label in labels] == [True, False, True, False]
    carried = transfer_masks(layout_of(FrameSet(tuple(view for view, _ in pairs))), 0, (labels[0] == 1)[None], CONFIG)
    wanted = [Visibility.VISIBLE, Visibility.OCCLUDED, Visibility.VISIBLE, Visibility.OUT_OF_VIEW]
    assert [Visibility(int(state)) for state in carried.visibility[:, 0]] == wanted
    assert iou(carried.masks[2][0], labels[2] == 1) > 0.93
    assert carried.scores[1, 0] == 0 and not carried.masks[1].any() and not carried.masks[3].any()


def test_a_mask_parts_two_boxes_that_touch() -> None:
    pair = [box(1, -0.03, 0.0, (0.06, 0.06, 0.08)), box(2, 0.03, 0.0, (0.06, 0.06, 0.06))]
    frames, labels = render_set(pair)
    carried = transfer_masks(layout_of(frames), 0, np.stack([labels[0] == 1, labels[0] == 2]), CONFIG)
    for view in (1, 2):
        for row in (0, 1):
            assert iou(carried.masks[view][row], labels[view] == row + 1) > 0.8


def test_a_flat_sheet_on_the_table_is_carried_with_it() -> None:
    sheet = Solid(1, (0.0, 0.0, 0.0002), (0.1, 0.07, 0.0002), 0.3, colour=(240, 240, 240))
    frames, labels = render_set([sheet])
    assert (labels[0] == 1).sum() > 1000
    carried = transfer_masks(layout_of(frames), 0, (labels[0] == 1)[None], CONFIG)
    for view in (1, 2):
        assert iou(carried.masks[view][0], labels[view] == 1) > 0.85
        assert not (carried.masks[view][0] & (labels[view] != 1) & (labels[view] != TABLE)).any()


@pytest.mark.parametrize("noise", [0.001, 0.002])
def test_a_low_thing_arrives_where_depth_is_too_noisy_to_tell_it_from_the_table(noise: float) -> None:
    random = np.random.default_rng(1)
    frames, labels = render_set([box(1, 0, 0, (0.16, 0.12, 0.005)), box(2, 0.25, 0.1, (0.06, 0.06, 0.1))])
    noisy = tuple(
        replace(view, depth_m=(view.depth_m * (1 + random.normal(0, noise, view.size) * view.depth_m)).astype("f4"))
        for view in frames.views
    )
    carried = transfer_masks(layout_of(FrameSet(noisy)), 0, (labels[0] == 1)[None], CONFIG)
    assert min(iou(masks[0], truth == 1) for masks, truth in zip(carried.masks, labels, strict=True)) > 0.85


def test_an_empty_mask_is_nowhere() -> None:
    carried = transfer_masks(LAYOUT, 0, np.zeros((1, 240, 320), bool), CONFIG)
    assert not any(masks.any() for masks in carried.masks)
    assert (carried.visibility == Visibility.OUT_OF_VIEW).all()


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(BadInput, match="240, 320"):
        transfer_masks(LAYOUT, 0, np.zeros((1, 100, 100), bool), CONFIG)
