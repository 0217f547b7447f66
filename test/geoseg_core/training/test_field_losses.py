"""Losses of the instance field against values worked out by hand."""

import math

import pytest
import torch

from geoseg_core.instances.tiny.model import InstanceField
from geoseg_core.training.losses.field import FieldLossConfig, drawn_cells, field_losses, thing_numbers
from geoseg_core.training.losses.instance_truth import InstanceTruth


def truth_of(*scenes):
    """Each scene: the number of the thing at each of its cells (1 view of 1 x N), 0 for none."""
    numbers = torch.tensor(scenes)
    masks = torch.stack([numbers == each for each in range(1, int(numbers.max()) + 1)] or [numbers < 0], dim=1)
    masks = masks[:, : int(numbers.max())].float()[:, :, None, None]
    known = masks.flatten(2).any(dim=2)
    return InstanceTruth(known, known.long(), torch.zeros_like(known.long()), masks, masks.sum(dim=(3, 4)))


def field_of(features, things):
    """Of one scene of one view."""
    return InstanceField(torch.tensor(features).T[None, None, :, None], torch.tensor(things)[None, None, None])


def test_cells_have_the_number_of_their_thing():
    assert thing_numbers(truth_of([0, 1, 2, 2], [1, 0, 0, 0])).tolist() == [[[[0, 1, 2, 2]]], [[[1, 0, 0, 0]]]]
    assert thing_numbers(truth_of([0, 0, 0, 0])).tolist() == [[[[0, 0, 0, 0]]]]


def test_each_thing_is_drawn_as_often_however_large_it_is():
    torch.manual_seed(0)
    cells, known = drawn_cells(thing_numbers(truth_of([0] * 50 + [1] * 48 + [2] * 2, [0] * 100)), 4000)
    assert known.tolist() == [[True] * 4000, [False] * 4000]
    assert (cells[0] >= 50).all()
    assert float((cells[0] >= 98).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_losses_by_hand():
    truth = truth_of([1, 2, 0, 0])
    field = field_of([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, 1.0]], [0.0] * 4)
    parts = field_losses(field, truth, FieldLossConfig())
    # Half of four pixels are on things: bce is log 2, dice 1 - (2 * 1 + 1) / (2 + 2 + 1).
    assert float(parts["things"]) == pytest.approx(math.log(2) + 1 - 3 / 5)
    # Pairs of one thing cost nothing, and those of the two things 1 - sqrt(0.4); about half of all pairs are such.
    assert float(parts["contrast"]) == pytest.approx(0.5 * (1 - math.sqrt(0.4)), abs=0.02)
    assert float(parts["total"]) == pytest.approx(float(parts["things"] + parts["contrast"]))


def test_right_features_and_right_things_cost_nothing_and_shares_scale():
    right = field_of([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], [30.0, 30.0, -30.0, -30.0])
    assert float(field_losses(right, truth_of([1, 2, 0, 0]), FieldLossConfig())["total"]) == pytest.approx(0, abs=1e-6)
    wrong = field_of([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [0.0] * 4)
    double = FieldLossConfig(contrast=2.0, things=3.0)
    torch.manual_seed(0)
    once = field_losses(wrong, truth_of([1, 2, 0, 0]), FieldLossConfig())
    torch.manual_seed(0)
    more = field_losses(wrong, truth_of([1, 2, 0, 0]), double)
    assert float(more["contrast"]) == pytest.approx(2 * float(once["contrast"]))
    assert float(more["things"]) == pytest.approx(3 * float(once["things"]))


def test_a_scene_without_a_thing_has_no_contrast():
    parts = field_losses(field_of([[1.0, 0.0]] * 4, [0.0] * 4), truth_of([0, 0, 0, 0]), FieldLossConfig())
    assert parts["contrast"] == 0 and parts["things"] > 0
