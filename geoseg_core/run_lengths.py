"""Masks as uncompressed COCO run lengths: column by column, counts of zeros and ones in turn, zeros first."""

import numpy as np

from geoseg_core.errors import BadInput


def encode_mask(mask: np.ndarray) -> np.ndarray:
    """Run lengths (R,) uint32 of an (H, W) bool mask; they sum to H * W."""
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    if not columns.size:
        return np.array([height * width], np.uint32)
    # Only the columns that the object touches are unrolled: an object is small, an image is not.
    first, last = int(columns[0]), int(columns[-1]) + 1
    flat = np.zeros((last - first) * height + 2, bool)
    flat[1:-1] = mask[:, first:last].T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + first * height
    counts = np.diff(edges, prepend=0, append=height * width)
    return counts[:-1].astype(np.uint32) if edges[-1] == height * width else counts.astype(np.uint32)


def decode_mask(counts: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) bool mask of run lengths (R,).

    Raises:
        BadInput: the counts do not sum to H * W.
    """
    counts = np.asarray(counts, np.int64)
    if counts.ndim != 1 or (counts < 0).any() or int(counts.sum()) != height * width:
        raise BadInput(f"mask: expected run lengths that sum to {height} * {width}, got a sum of {counts.sum()}")
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T
