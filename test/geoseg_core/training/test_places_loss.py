"""Losses of places: shares and cross-entropies by hand."""

import math

import pytest
import torch

from geoseg_core.training.losses.places import mean_where, place_loss, shares


def test_a_place_belongs_to_the_four_cells_around_it_by_bilinear_shares():
    cells, weights = shares(torch.tensor([1.25, 0.5]), (3, 4))
    assert cells.tolist() == [1, 2, 5, 6]
    assert weights.tolist() == [0.375, 0.125, 0.375, 0.125]


def test_the_centre_of_a_cell_belongs_to_it_alone_also_at_the_last_row_and_column():
    cells, weights = shares(torch.tensor([[3.0, 2.0], [0.0, 0.0]]), (3, 4))
    assert cells[0][weights[0] > 0].tolist() == [11]
    assert cells[1][weights[1] > 0].tolist() == [0]


def test_places_outside_belong_to_the_nearest_cells():
    cells, weights = shares(torch.tensor([-7.0, 9.0]), (3, 4))
    assert cells[weights > 0].tolist() == [8]


def test_the_loss_is_the_cross_entropy_with_the_shares():
    logits = torch.tensor([0.0, math.log(3.0)])
    cells, weights = torch.tensor([0, 1, 1, 1]), torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert place_loss(logits, cells, weights).item() == pytest.approx(-0.5 * math.log(0.25) - 0.5 * math.log(0.75))


def test_a_mean_over_nothing_is_zero():
    values = torch.tensor([1.0, 5.0])
    assert mean_where(values, torch.tensor([True, False])).item() == 1
    assert mean_where(values, torch.tensor([False, False])).item() == 0
