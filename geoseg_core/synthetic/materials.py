"""What surfaces look like: which page, how large, in which colours, how glossy."""

from collections.abc import Mapping

import numpy as np
import torch

from geoseg_core.synthetic.arm import ARM_SLOTS
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.room import CEILING, FLOOR, ROOM_SLOTS, TABLE, WALL
from geoseg_core.synthetic.scene import Materials
from geoseg_core.synthetic.textures import NAMES, PER_PATTERN

OBJECT_SLOTS = 3
GRAIN = 0.35

THINGS = {"plain": 5, "cloudy": 1, "spots": 1, "checker": 0.7, "stripes": 1.2, "wood": 1, "marble": 0.7, "print": 3,
          "weave": 0.7}  # fmt: skip
FLOORS = {"plain": 1, "cloudy": 1, "wood": 3, "tiles": 3, "weave": 2, "marble": 0.5}
WALLS = {"plain": 6, "cloudy": 1, "tiles": 0.6, "stripes": 0.4, "wood": 0.4}
TABLES = {"wood": 5, "plain": 3, "marble": 1, "cloudy": 1, "weave": 0.6, "tiles": 0.4}
PLAIN: Mapping[str, float] = {"plain": 1}


def draw_materials(numbers: Numbers, objects: int, pages: int) -> Materials:
    """Materials of rooms (ROOM_SLOTS), things (3 each) and arm (3), in this order."""
    tables: list[Mapping[str, float]] = [WALLS] * ROOM_SLOTS
    tables[FLOOR], tables[CEILING], tables[WALL], tables[TABLE] = FLOORS, PLAIN, WALLS, TABLES
    tables += [THINGS, PLAIN, PLAIN] * objects + [PLAIN] * ARM_SLOTS
    total = len(tables)
    page = np.stack([_pages(table, numbers.uniform()) for table in tables], axis=1)
    page += numbers.whole(total, below=PER_PATTERN)
    still = np.arange(total) < ROOM_SLOTS
    low, high = np.where(still, 0.4, 4.0), np.where(still, 1.6, 16.0)
    scale = numbers.logarithmic(total, low=low, high=high)
    first, second = (_colours(numbers, still) for _ in range(2))
    quiet = 1 - 0.55 * still
    second = first + (second - first) * quiet[:, None]
    colours = np.zeros((*page.shape, 3, 4))
    colours[..., 0] = second - first
    colours[..., 1] = GRAIN * first
    colours[..., 3] = first - 0.5 * GRAIN * first
    gloss = np.stack([
        numbers.uniform(total) ** 3 * np.where(still, 0.1, 0.5), numbers.logarithmic(total, low=8.0, high=120.0)
    ], axis=-1)  # fmt: skip
    arrays = (page, scale, numbers.uniform(total, 2), colours, gloss)
    return Materials(*(torch.from_numpy(array) for array in arrays))


def _pages(table: Mapping[str, float], number: np.ndarray) -> np.ndarray:
    """First page of a pattern drawn by weight."""
    weights = np.cumsum(list(table.values()))
    index = np.searchsorted(weights, number * weights[-1], side="right")
    return np.array([NAMES.index(name) for name in table])[index] * PER_PATTERN


def _colours(numbers: Numbers, still: np.ndarray) -> np.ndarray:
    """(B, M, 3) linear colours: most of them muted, those of rooms more so."""
    total = len(still)
    hue = numbers.uniform(total, 1)
    saturation = numbers.uniform(total, 1) ** 1.5 * np.where(still, 0.35, 0.95)[:, None]
    value = numbers.uniform(total, 1, low=np.where(still, 0.3, 0.12)[:, None], high=0.95)
    hue = np.where(still[:, None], 0.09 + 0.05 * (hue - 0.5) + np.where(hue > 0.85, 0.5, 0), hue)
    wheel = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation * (1 - wheel))) ** 2.2
