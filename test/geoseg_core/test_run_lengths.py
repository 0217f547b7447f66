"""Run lengths: COCO's own order, and back again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from geoseg_core.errors import BadInput
from geoseg_core.run_lengths import decode_mask, encode_mask

T, F = True, False


@pytest.mark.parametrize(
    "rows, counts",
    [
        ([[F, F], [F, F]], [4]),
        ([[T, T], [T, T]], [0, 4]),
        ([[F, T, F], [T, T, F]], [1, 3, 2]),
        ([[F, F], [T, F], [F, T]], [1, 1, 3, 1]),
    ],
)
def test_counts_go_down_the_columns_and_begin_with_zeros(rows, counts):
    assert encode_mask(np.array(rows)).tolist() == counts


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()))
def test_decoding_gives_the_mask_back(mask):
    counts = encode_mask(mask)
    assert counts.dtype == np.uint32 and counts.sum() == mask.size and (counts[1:] > 0).all()
    np.testing.assert_array_equal(decode_mask(counts, *mask.shape), mask)


@pytest.mark.parametrize("counts", [[3], [2**32 - 1], [], [[4]]])
def test_counts_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(BadInput, match="sum to 2 \\* 2"):
        decode_mask(np.array(counts, np.uint32), 2, 2)


def test_counts_whose_sum_wraps_around_are_refused():
    with pytest.raises(BadInput, match="sum to 2 \\* 2"):
        decode_mask(np.array([2**63 - 1, 2**63 - 1, 6]), 2, 2)
