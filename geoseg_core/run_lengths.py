"""Masks as COCO run lengths: column by column, counts of zeros and ones in turn, zeros first."""

from typing import Any

import numpy as np

from geoseg_core.errors import BadInput

MAX_PIXELS = 2**28


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
    counts = np.asarray(counts)
    # A sum of larger ones may wrap around and come out right; np.repeat then writes where it must not.
    fits = counts.ndim == 1 and ((counts >= 0) & (counts <= height * width)).all()
    if not fits or int(counts.sum()) != height * width:
        found = str(counts[:20].tolist())[:80]
        raise BadInput(f"mask: expected run lengths that sum to {height} * {width}, got {counts.size}: {found}")
    counts = counts.astype(np.int64)
    values = np.arange(counts.size) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def decode_coco(segmentation: Any) -> np.ndarray:
    """(H, W) bool mask of a COCO segmentation {"size": [H, W], "counts": text or list}.

    Raises:
        BadInput: anything else, or counts that do not sum to H * W.
    """
    try:
        height, width = (int(each) for each in segmentation["size"])
        counts = segmentation["counts"]
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise BadInput(
            f'mask: expected {{"size": [H, W], "counts": ...}}, got {str(segmentation)[:80]!r} ({error!r:.80})'
        ) from error
    if isinstance(counts, (str, bytes)):
        counts = counts_from_text(counts)
    elif not isinstance(counts, list) or not all(isinstance(each, int) for each in counts):
        raise BadInput(f"mask: expected counts as text or as a list of numbers, got {type(counts).__name__}")
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise BadInput(f"mask: expected 1 to {MAX_PIXELS} pixels, got {width}x{height}")
    return decode_mask(np.array(counts), height, width)


def counts_from_text(text: str | bytes) -> list[int]:
    """Run lengths from COCO's compressed form: groups of 5 bits from the lowest up, 48 added to make them printable,
    bit 5 set where more follow; from the fourth run on, each is the difference from the one two places before.

    Raises:
        BadInput: characters that are not of this form, or an end within a number.
    """
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for each in data:
        group = each - 48
        if not 0 <= group < 64 or shift > 60:
            raise BadInput(f"mask: expected counts in COCO's compressed form, got {text[:40]!r}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise BadInput(f"mask: expected counts in COCO's compressed form, got an end within a number: {text[-40:]!r}")
    return counts
