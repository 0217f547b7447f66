"""Overlap of things in cells, counted by hand."""

import numpy as np

from geoseg_core.instances.shared_cells import ENOUGH, Pieces, shared_cells


def line(*places: float) -> np.ndarray:
    return np.array([(x, 0.5, 0.5) for x in places], np.float32)


def test_cells_are_counted_once_however_many_points_they_hold() -> None:
    first = Pieces(line(0.1, 0.2, 1.5, 5.5, -0.5), np.array([0, 0, 0, 1, 2]), 4)
    second = Pieces(line(0.9, 1.1, 2.5, 3.5, 5.1), np.array([0, 0, 0, 0, 1]), 2)
    cells = shared_cells(first, second, 1.0)
    assert cells.first.tolist() == [2, 1, 1, 0] and cells.second.tolist() == [4, 1]
    assert cells.shared.tolist() == [[2, 0], [0, 1], [0, 0], [0, 0]]
    np.testing.assert_allclose(cells.overlap(), [[2 / np.sqrt(8), 0], [0, 1], [0, 0], [0, 0]])
    assert cells.part_of_first().tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    assert cells.part_of_second().tolist() == [[0.5, 0], [0, 1], [0, 0], [0, 0]]
    assert cells.known().tolist() == [[True, True]] * 3 + [[False, False]]


def test_nothing_shares_nothing() -> None:
    none = Pieces(np.zeros((0, 3), np.float32), np.zeros(0, int), 0)
    assert shared_cells(none, none, 1.0).overlap().shape == (0, 0)
    some = Pieces(line(1.0), np.array([0]), 1)
    assert shared_cells(some, none, 0.5).shared.shape == (1, 0)


def test_many_points_are_thinned_evenly() -> None:
    many = Pieces(np.zeros((3 * ENOUGH, 3), np.float32), np.arange(3 * ENOUGH), 3 * ENOUGH)
    assert len(many.thinned().points) <= ENOUGH and many.thinned().whose[:2].tolist() == [0, 4]
