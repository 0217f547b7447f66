"""What surfaces look like: which texture, how large, in which colours, how glossy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from geoseg_core.synthetic.arm import ACCENT, ARM_SLOTS, DARK, SHELL, SKIN, SLEEVE
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.room import CEILING, FLOOR, LEGS, MATS, ROOM_SLOTS, TABLE, WALL
from geoseg_core.synthetic.scene import Materials
from geoseg_core.synthetic.textures import NAMES, PER_PATTERN

OBJECT_SLOTS = 3
GRAIN = 0.3
GAMMA = 2.2

COLOURS = {  # as seen on a screen
    "white": (0.92, 0.91, 0.88), "cream": (0.88, 0.82, 0.70), "light": (0.74, 0.74, 0.73), "grey": (0.50, 0.50, 0.51),
    "charcoal": (0.24, 0.24, 0.26), "black": (0.09, 0.09, 0.10), "steel": (0.62, 0.64, 0.66),
    "birch": (0.80, 0.66, 0.47), "oak": (0.63, 0.45, 0.27), "walnut": (0.40, 0.26, 0.16), "ebony": (0.22, 0.15, 0.11),
    "kraft": (0.72, 0.57, 0.40), "brick": (0.58, 0.28, 0.21), "red": (0.76, 0.13, 0.12), "wine": (0.42, 0.09, 0.13),
    "orange": (0.90, 0.45, 0.13), "mustard": (0.82, 0.62, 0.16), "yellow": (0.94, 0.82, 0.28),
    "olive": (0.42, 0.45, 0.20), "green": (0.16, 0.43, 0.21), "mint": (0.62, 0.80, 0.69), "teal": (0.11, 0.43, 0.46),
    "sky": (0.52, 0.70, 0.86), "blue": (0.13, 0.27, 0.60), "navy": (0.09, 0.13, 0.28), "purple": (0.38, 0.21, 0.47),
    "pink": (0.89, 0.62, 0.67), "pale_skin": (0.87, 0.68, 0.57), "tan_skin": (0.72, 0.51, 0.38),
    "brown_skin": (0.48, 0.31, 0.22), "dark_skin": (0.28, 0.18, 0.13),
}  # fmt: skip
WOODS = {"birch": 2.0, "oak": 3.0, "walnut": 2.0, "ebony": 0.7}
BRIGHT = dict.fromkeys(("red", "wine", "orange", "mustard", "yellow", "olive", "green", "mint", "teal", "sky", "blue",
                        "navy", "purple", "pink"), 1.0)  # fmt: skip
NEUTRAL = {"white": 3.0, "cream": 1.0, "light": 1.5, "grey": 1.0, "charcoal": 1.0, "black": 2.0, "steel": 2.0}

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Look:
    """How a sort of surface is drawn: weights of patterns and colours, metres of a texture's repeat, contrast, gloss.

    A photograph is taken with the chance `photograph`, where photographs are given.
    """

    patterns: Weights
    colours: Weights
    metres: tuple[float, float]
    contrast: float
    gloss: float
    photograph: float = 0.0


PLAIN: Weights = {"plain": 1.0}
THING = Look(
    {"plain": 4, "cloudy": 0.8, "spots": 0.8, "checker": 0.5, "stripes": 1.0, "wood": 0.8, "marble": 0.5, "print": 3.0,
     "weave": 0.5}, {**BRIGHT, **NEUTRAL, "kraft": 2.0, "oak": 1.0, "brick": 0.5}, (0.06, 0.25), 1.0, 0.5, 0.35,
)  # fmt: skip
INSIDE = Look(PLAIN, {**NEUTRAL, "cream": 2.0, "kraft": 1.0, "red": 0.5, "blue": 0.5, "green": 0.5}, (0.1, 0.3), 1, 0.4)
FITTING = Look({"plain": 3.0, "print": 1.0, "wood": 0.5}, {**NEUTRAL, "steel": 4.0, "cream": 2.0, "oak": 1.0},
               (0.06, 0.2), 0.9, 0.5, 0.1)  # fmt: skip
FURNITURE = Look({"plain": 3, "wood": 3, "print": 0.6, "stripes": 0.4, "cloudy": 0.4, "weave": 0.5},
                 {**WOODS, **NEUTRAL, "blue": 0.5, "green": 0.5, "brick": 0.5, "sky": 0.3, "mustard": 0.3},
                 (0.4, 1.6), 0.5, 0.15, 0.4)  # fmt: skip
LOOKS_OF_ROOM = {
    FLOOR: Look({"plain": 1, "cloudy": 1, "wood": 4, "tiles": 3, "weave": 1.5, "marble": 0.5},
                {**WOODS, "light": 2, "grey": 2, "charcoal": 1, "cream": 2, "kraft": 1, "brick": 0.5, "navy": 0.3},
                (0.7, 2.2), 0.35, 0.12, 0.05),
    CEILING: Look(PLAIN, {"white": 4, "cream": 2, "light": 1}, (1.0, 2.0), 0.3, 0.0),
    WALL: Look({"plain": 6, "cloudy": 1.0, "tiles": 0.6, "stripes": 0.4, "wood": 0.4, "spots": 0.3},
               {"white": 4, "cream": 3, "light": 3, "grey": 1.5, "sky": 0.7, "mint": 0.6, "kraft": 0.5, "brick": 0.5,
                "mustard": 0.3, "navy": 0.3, "teal": 0.3}, (0.6, 2.5), 0.3, 0.03, 0.08),
    TABLE: Look({"wood": 6, "plain": 3, "marble": 1, "cloudy": 0.8, "weave": 0.6, "tiles": 0.3, "checker": 0.15},
                {**WOODS, "oak": 4, "white": 3, "cream": 1, "light": 1, "grey": 1, "black": 0.7, "green": 0.3,
                 "navy": 0.3}, (0.35, 1.2), 0.45, 0.3, 0.12),
    MATS: Look({"print": 3, "weave": 2, "stripes": 1, "checker": 0.7, "plain": 1, "cloudy": 0.5},
               {**NEUTRAL, "white": 6, "cream": 2, "kraft": 1, "navy": 0.5, "green": 0.5, "wine": 0.5}, (0.1, 0.4),
               0.9, 0.05, 0.4),
    LEGS: Look({"plain": 2, "wood": 1}, {**WOODS, "white": 1, "black": 2, "steel": 2, "grey": 1}, (0.3, 1.0), 0.4, 0.2),
}  # fmt: skip
CLOTHES = Look({"plain": 4, "stripes": 0.6, "checker": 0.3, "weave": 1.5, "cloudy": 0.3}, {**BRIGHT, **NEUTRAL},
               (0.06, 0.3), 0.6, 0.0, 0.05)  # fmt: skip
LOOKS_OF_ARM = {
    SKIN: Look(PLAIN, {"pale_skin": 3, "tan_skin": 3, "brown_skin": 2, "dark_skin": 2}, (0.1, 0.2), 0.5, 0.08),
    SLEEVE: CLOTHES,
    SHELL: Look(PLAIN, {"white": 4, "light": 2, "steel": 2, "charcoal": 1, "yellow": 0.5, "orange": 0.5, "blue": 0.3},
                (0.2, 0.5), 0.5, 0.4),
    DARK: Look(PLAIN, {"black": 3, "charcoal": 2, "steel": 1}, (0.2, 0.5), 0.5, 0.4),
    ACCENT: Look(PLAIN, {"orange": 2, "blue": 2, "red": 1, "charcoal": 2, "light": 2, "green": 0.5}, (0.2, 0.5), 0.5,
                 0.5),
}  # fmt: skip


def draw_materials(numbers: Numbers, objects: int, pages: int) -> Materials:
    """Materials of rooms (ROOM_SLOTS), things (3 each) and arm (ARM_SLOTS), in this order.

    Args:
        numbers: the streams of the scenes.
        objects: how many things.
        pages: number of texture pages; those beyond the patterns are photographs.
    """
    looks = [LOOKS_OF_ROOM.get(slot, FURNITURE) for slot in range(ROOM_SLOTS)]
    looks += [THING, INSIDE, FITTING] * objects + [LOOKS_OF_ARM[slot] for slot in range(ARM_SLOTS)]
    total = len(looks)
    pattern = _drawn([look.patterns for look in looks], NAMES, numbers.uniform(total))
    page = pattern * PER_PATTERN + numbers.whole(total, below=PER_PATTERN)
    repeat = numbers.logarithmic(total, low=np.array([look.metres[0] for look in looks]),
                                 high=np.array([look.metres[1] for look in looks]))  # fmt: skip
    colours = _colours(numbers, looks, pattern)
    photographs = pages - len(NAMES) * PER_PATTERN
    photo = numbers.chance(total, of=np.array([look.photograph for look in looks])) & (photographs > 0)
    page = np.where(photo, len(NAMES) * PER_PATTERN + numbers.whole(total, below=max(photographs, 1)), page)
    as_it_is = np.eye(3, 4) * numbers.logarithmic(total, 1, 1, low=0.6, high=1.3)
    colours = np.where(photo[..., None, None], as_it_is, colours)
    strength = numbers.uniform(total) ** 3 * np.array([look.gloss for look in looks])
    gloss = np.stack([strength, numbers.logarithmic(total, low=8.0, high=120.0)], axis=-1)
    arrays = (page, 1 / repeat, numbers.uniform(total, 2), colours, gloss)
    return Materials(*(torch.from_numpy(array) for array in arrays))


def _drawn(tables: list[Weights], names: tuple[str, ...], number: np.ndarray) -> np.ndarray:
    """(B, M) indices in `names`, each drawn by the weights of its table with numbers (B, M) in [0, 1)."""
    weights = np.cumsum([[table.get(name, 0.0) for name in names] for table in tables], axis=1)
    return (number[..., None] * weights[:, -1:] >= weights).sum(axis=-1)


def _colours(numbers: Numbers, looks: list[Look], pattern: np.ndarray) -> np.ndarray:
    """(B, M, 3, 4): from a pattern and its grain to linear colours between two of the look's colours."""
    names = tuple(COLOURS)
    palette = np.array(list(COLOURS.values()))
    total = len(looks)
    chosen = [_drawn([look.colours for look in looks], names, numbers.uniform(total)) for _ in range(2)]
    wooden = pattern == NAMES.index("wood")
    wood = _drawn([WOODS] * total, names, numbers.uniform(total))
    shades = [palette[np.where(wooden, wood, each)] * np.exp(0.03 * numbers.normal(total, 3)) for each in chosen]
    tone = np.exp(numbers.uniform(total, 1, low=-0.35, high=0.2))
    first, second = (np.clip(shade * tone, 0.04, 0.97) ** GAMMA for shade in shades)
    contrast = np.array([look.contrast for look in looks])
    # Wood and what is quiet varies about one colour rather than between two.
    quiet = (contrast < 1) | wooden
    own = first * numbers.uniform(total, 1, low=0.3, high=0.85)
    second = np.where(quiet[..., None], own, second)
    second = first + (second - first) * np.maximum(contrast, 1.0 * wooden)[..., None]
    colours = np.zeros((*pattern.shape, 3, 4))
    colours[..., 0] = second - first
    colours[..., 1] = GRAIN * first
    colours[..., 3] = first * (1 - 0.5 * GRAIN)
    return colours
