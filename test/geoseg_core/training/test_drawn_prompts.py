"""Prompts that are drawn from true masks: where their points lie, and what is asked of which view."""

from dataclasses import replace

import pytest
import torch

from geoseg_core.prompting.mv_sam.model import BOX, MASK, NEGATIVE, NOTHING, POSITIVE
from geoseg_core.training.drawn_prompts import PromptDrawsConfig, box_map, draw_prompts, wrong_map

POINTS = PromptDrawsConfig(things=3, least_px=20, masks=0.0, boxes=0.0)
SIZE = (16, 24)


def labels():
    """Two views: thing 1 in both, thing 2 in the second, a few pixels of thing 3, an arm with id 9."""
    ids = torch.zeros(1, 2, 32, 48, dtype=torch.int64)
    ids[0, :, 4:14, 6:20] = 1
    ids[0, 1, 20:28, 30:40] = 2
    ids[0, 0, 0:2, 0:2] = 3
    ids[0, :, 30:32] = 9
    return ids


@pytest.mark.parametrize("seed", range(5))
def test_positive_points_lie_on_the_thing_and_negative_ones_do_not(seed):
    torch.manual_seed(seed)
    drawn = draw_prompts(labels(), 5, POINTS, SIZE)
    ids, prompts = labels(), drawn.prompts
    assert drawn.counted.all(dim=-1).tolist() == [[True, True, False]]
    found = {int(ids[0][mask].unique()) for mask in drawn.truth[0, :2]}
    assert found == {1, 2}
    for row in range(2):
        columns, rows = prompts.pixels[0, row].unbind(-1)
        on = drawn.truth[0, row][prompts.views[0, row], rows, columns]
        kinds = prompts.kinds[0, row]
        assert on[kinds == POSITIVE].all() and not on[kinds == NEGATIVE].any()
        assert 1 <= int((kinds == POSITIVE).sum()) <= POINTS.points
        assert int((kinds == NEGATIVE).sum()) <= POINTS.negatives
    assert (prompts.kinds[0, 2] == NOTHING).all() and not prompts.dense.any()


def test_points_of_one_view_lie_in_one_that_shows_the_thing():
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        drawn = draw_prompts(labels(), 5, replace(POINTS, one_view=1.0), SIZE)
        for row in range(2):
            views = drawn.prompts.views[0, row][drawn.prompts.kinds[0, row] != NOTHING].unique().tolist()
            assert len(views) == 1 and drawn.truth[0, row, views[0]].any()
            seen.add((int(labels()[0][drawn.truth[0, row]].unique()), views[0]))
    assert seen == {(1, 0), (1, 1), (2, 1)}


def test_a_box_counts_in_its_view_alone_and_a_mask_comes_with_points():
    torch.manual_seed(0)
    boxes = draw_prompts(labels(), 5, replace(POINTS, boxes=1.0), SIZE)
    given = boxes.prompts.dense[..., BOX, :, :].flatten(3).any(dim=-1)
    assert torch.equal(given, boxes.counted) and boxes.counted.sum(dim=-1).tolist() == [[1, 1, 0]]
    assert (boxes.prompts.kinds == NOTHING).all() and not boxes.prompts.dense[..., MASK, :, :].any()
    masks = draw_prompts(labels(), 5, replace(POINTS, masks=1.0), SIZE)
    given = masks.prompts.dense[..., MASK, :, :].flatten(3).any(dim=-1)
    assert given.sum(dim=-1).tolist() == [[1, 1, 0]] and masks.counted[0, :2].all()
    assert ((masks.prompts.kinds == POSITIVE).any(dim=-1) == torch.tensor([True, True, False])).all()


def test_a_box_is_round_the_mask_within_a_tenth():
    mask = torch.zeros(100, 200, dtype=torch.bool)
    mask[20:60, 50:150] = True
    for seed in range(5):
        torch.manual_seed(seed)
        rows, columns = (box_map(mask, (100, 200)) > 0).nonzero().T
        assert abs(int(rows.min()) - 20) <= 4 and abs(int(rows.max()) - 59) <= 4
        assert abs(int(columns.min()) - 50) <= 10 and abs(int(columns.max()) - 149) <= 10


def test_a_mask_with_errors_is_still_mostly_the_mask():
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[16:48, 24:72] = True
    small = mask[::2, ::2]
    for seed in range(5):
        torch.manual_seed(seed)
        given = wrong_map(mask, (32, 48)) > 0
        overlap = (given & small).sum() / (given | small).sum()
        assert 0.6 < float(overlap) < 1.0


def test_a_scene_without_things_asks_nothing():
    drawn = draw_prompts(torch.zeros(2, 3, 32, 48, dtype=torch.int64), 5, POINTS, SIZE)
    assert not drawn.counted.any() and not drawn.truth.any() and (drawn.prompts.kinds == NOTHING).all()
