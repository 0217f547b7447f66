"""Colours of ids."""

import colorsys
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

GOLDEN_RATIO = 0.6180339887498949


@lru_cache(maxsize=4096)
def colour_of(object_id: int) -> tuple[int, int, int]:
    """RGB of an id, 0 to 255: always the same, and neighbouring ids far apart in hue."""
    hue = (0.02 + (object_id - 1) * GOLDEN_RATIO) % 1.0
    saturation, value = ((0.80, 1.0), (0.60, 0.95), (0.95, 0.85))[object_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def colour_table(ids: Iterable[int]) -> np.ndarray:
    """(largest id + 1, 3) uint8 RGB; black where an id does not occur."""
    wanted = [each for each in ids if each]
    table = np.zeros((max(wanted, default=0) + 1, 3), np.uint8)
    for each in wanted:
        table[each] = colour_of(each)
    return table
