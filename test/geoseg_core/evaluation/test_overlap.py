"""Overlap counts against numbers counted by hand."""

import numpy as np
import pytest

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.overlap import mask_iou, overlap


def image(rows):
    return np.array(rows, np.uint16)


def test_mask_iou_counts_pixels():
    first = np.array([[1, 1, 0, 0]], bool)
    second = np.array([[0, 1, 1, 1]], bool)
    assert mask_iou(first, second) == 1 / 4
    assert mask_iou(first, first) == 1.0
    assert mask_iou(first, ~first) == 0.0


def test_two_empty_masks_agree():
    empty = np.zeros((2, 2), bool)
    assert mask_iou(empty, empty) == 1.0


def test_mask_iou_refuses_other_size():
    with pytest.raises(BadInput, match="one size"):
        mask_iou(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


def test_overlap_of_two_views():
    truth = [image([[1, 1, 0, 900]]), image([[1, 0, 0]])]
    predicted = [image([[7, 0, 7, 60000]]), image([[7, 7, 0]])]
    counts = overlap(truth, predicted)
    assert counts.truth_ids.tolist() == [1, 900]
    assert counts.predicted_ids.tolist() == [7, 60000]
    assert counts.shared_px.tolist() == [[[1, 0], [0, 1]], [[1, 0], [0, 0]]]
    assert counts.truth_px.tolist() == [[2, 1], [1, 0]]
    assert counts.predicted_px.tolist() == [[2, 1], [2, 0]]
    # Object 1: 2 of its 3 pixels are shared with the 4 pixels of id 7 -> 2 / (3 + 4 - 2).
    np.testing.assert_allclose(counts.iou(), [[2 / 5, 0], [0, 1]])
    np.testing.assert_allclose(counts.view_iou()[:, 0, 0], [1 / 3, 1 / 2])


def test_overlap_of_empty_images():
    counts = overlap([image([[0, 0]])], [image([[0, 0]])])
    assert counts.shared_px.shape == (1, 0, 0)
    assert counts.iou().shape == (0, 0)


def test_overlap_refuses_other_size():
    with pytest.raises(BadInput, match=r"\(1, 2\) and \(1, 3\)"):
        overlap([image([[0, 0]])], [image([[0, 0, 0]])])
