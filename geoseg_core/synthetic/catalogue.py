"""The kinds of things that stand in the worlds: how each is built from primitives, and what it stands on.

The frame of a body has its origin on the ground, in the middle of its footprint, z up. A build function takes a Builder
and numbers (count, 8) even in [0, 1) that vary the sizes; it returns the Rest of the bodies.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoseg_core.synthetic.shapes import OPEN, Builder, Number, turn_about

MAX_PARTS = 10
LYING = turn_about(1, np.pi / 2)  # z to x
UPRIGHT = turn_about(0, np.pi / 2)  # a ring about z stands up


@dataclass(frozen=True)
class Rest:
    """How bodies stand: half extents of the footprint, height, and half extents of a flat top (0 = nothing on it)."""

    x: Number
    y: Number
    height: Number
    top_x: Number = 0.0
    top_y: Number = 0.0


Build = Callable[[Builder, np.ndarray], Rest]


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its class and how likely it is."""

    class_name: str
    weight: float
    build: Build


def between(number: np.ndarray, low: float, high: float) -> np.ndarray:
    """Sizes spread evenly by ratio."""
    return low * (high / low) ** number


def _carton(made: Builder, u: np.ndarray) -> Rest:
    x, y, z = between(u[:, 0], 0.03, 0.1), between(u[:, 1], 0.02, 0.05), between(u[:, 2], 0.04, 0.13)
    made.box(x, y, z, [0, 0, z])
    return Rest(x, y, 2 * z, x, y)


def _book(made: Builder, u: np.ndarray) -> Rest:
    x, y, z = between(u[:, 0], 0.07, 0.14), between(u[:, 1], 0.05, 0.1), between(u[:, 2], 0.006, 0.024)
    cover = np.minimum(0.0025, z / 3)
    made.box(x, y, cover, [0, 0, cover])
    made.box(x, y, cover, [0, 0, 2 * z - cover])
    made.box(x - 0.004, y - 0.004, z - 2 * cover, [0, 0, z], slot=2)
    return Rest(x, y, 2 * z, x, y)


def _block(made: Builder, u: np.ndarray) -> Rest:
    half = between(u[:, 0], 0.015, 0.045)
    made.rounded(half, half, half, half * (0.05 + 0.25 * u[:, 1]), [0, 0, half])
    return Rest(half, half, 2 * half, half * 0.7, half * 0.7)


def _device(made: Builder, u: np.ndarray) -> Rest:
    x, y, z = between(u[:, 0], 0.05, 0.11), between(u[:, 1], 0.025, 0.06), between(u[:, 2], 0.005, 0.02)
    made.rounded(x, y, z, z * 0.8, [0, 0, z])
    made.box(x * 0.8, y * 0.78, 0.0006, [0, 0, 2 * z], slot=1)
    return Rest(x, y, 2 * z + 0.0006)


def _can(made: Builder, u: np.ndarray) -> Rest:
    radius, height = between(u[:, 0], 0.025, 0.055), between(u[:, 1], 0.05, 0.16)
    made.cone(radius, radius, 0.0, height, [0, 0, 0])
    made.cone(radius * 0.96, radius * 0.96, height - 0.001, height + 0.001, [0, 0, 0], slot=1)
    return Rest(radius, radius, height + 0.001, radius * 0.65, radius * 0.65)


def _lying_can(made: Builder, u: np.ndarray) -> Rest:
    radius, half = between(u[:, 0], 0.02, 0.045), between(u[:, 1], 0.03, 0.08)
    made.cone(radius, radius, -half, half, [0, 0, radius], LYING)
    made.cone(radius * 0.8, radius * 0.8, -half - 0.001, half + 0.001, [0, 0, radius], LYING, slot=1)
    return Rest(half + 0.001, radius, 2 * radius)


def _ball(made: Builder, u: np.ndarray) -> Rest:
    radius = between(u[:, 0], 0.018, 0.06)
    made.ellipsoid(radius, radius, radius, [0, 0, radius])
    return Rest(radius, radius, 2 * radius)


def _fruit(made: Builder, u: np.ndarray) -> Rest:
    x, y = between(u[:, 0], 0.03, 0.06), between(u[:, 1], 0.025, 0.04)
    z = between(u[:, 2], 0.025, 0.04)
    made.ellipsoid(x, y, z, [0, 0, z])
    made.cone(0.003, 0.002, 0.0, 0.014, [0, 0, 2 * z - 0.004], turn_about(1, 0.4 * u[:, 3]), slot=2)
    return Rest(x, y, 2 * z + 0.01)


def _bottle(made: Builder, u: np.ndarray) -> Rest:
    radius, body = between(u[:, 0], 0.025, 0.045), between(u[:, 1], 0.08, 0.18)
    neck, length = radius * (0.3 + 0.2 * u[:, 2]), 0.02 + 0.04 * u[:, 3]
    made.cone(radius, radius, 0.0, body, [0, 0, 0])
    made.ellipsoid(radius, radius, radius, [0, 0, body], part=(0.0, 0.9))
    made.cone(neck, neck, 0.0, length, [0, 0, body + 0.75 * radius])
    top = body + 0.75 * radius + length
    made.cone(neck * 1.15, neck * 1.1, 0.0, 0.018, [0, 0, top], slot=1)
    made.cone(radius * 1.004, radius * 1.004, 0.25 * body, 0.8 * body, [0, 0, 0], slot=2, holes=(OPEN, OPEN))
    return Rest(radius * 1.004, radius * 1.004, top + 0.018)


def _cup_walls(made: Builder, low: Number, top: Number, height: Number, wall: float) -> None:
    """A vessel of two cones: outside and inside, with a rim between."""
    inner = np.asarray(top) - wall
    made.cone(low, top, 0.0, height, [0, 0, 0], holes=(0.0, inner))
    made.cone(np.asarray(low) - wall, inner, wall, height, [0, 0, 0], slot=1, holes=(0.0, OPEN))


def _cup(made: Builder, u: np.ndarray) -> Rest:
    low, height = between(u[:, 0], 0.022, 0.04), between(u[:, 1], 0.06, 0.13)
    top = low * (1.0 + 0.5 * u[:, 2])
    _cup_walls(made, low, top, height, 0.003)
    return Rest(top, top, height)


def _mug(made: Builder, u: np.ndarray) -> Rest:
    radius, height = between(u[:, 0], 0.032, 0.048), between(u[:, 1], 0.07, 0.115)
    _cup_walls(made, radius, radius, height, 0.004)
    ring = 0.022 + 0.01 * u[:, 2]
    made.link(ring, 0.0055, 0.0, [radius - 0.004, 0, height * 0.52], UPRIGHT, clip=0.002)
    return Rest(radius + ring + 0.004, radius, height)


def _bowl(made: Builder, u: np.ndarray) -> Rest:
    radius, deep = between(u[:, 0], 0.05, 0.1), between(u[:, 1], 0.035, 0.07)
    inner, foot = radius - 0.005, 0.85
    rim = deep * foot
    made.ellipsoid(radius, radius, deep, [0, 0, rim], part=(-foot, 0.0), holes=(0.0, inner))
    made.ellipsoid(inner, inner, deep - 0.005, [0, 0, rim], slot=1, part=(-foot, 0.0), holes=(0.0, OPEN))
    return Rest(radius, radius, rim)


def _plate(made: Builder, u: np.ndarray) -> Rest:
    radius = between(u[:, 0], 0.07, 0.13)
    made.cone(radius * 0.6, radius, 0.0, 0.018, [0, 0, 0], holes=(0.0, radius - 0.004))
    made.cone(radius * 0.58, radius - 0.004, 0.004, 0.018, [0, 0, 0], slot=1, holes=(0.0, OPEN))
    return Rest(radius, radius, 0.018)


def _vase(made: Builder, u: np.ndarray) -> Rest:
    radius, height = between(u[:, 0], 0.03, 0.06), between(u[:, 1], 0.1, 0.22)
    waist = radius * (0.45 + 0.4 * u[:, 2])
    made.ellipsoid(radius, radius, height * 0.45, [0, 0, height * 0.36], part=(-0.8, 0.8))
    made.cone(radius * 0.6, waist * 1.2, 0.0, height * 0.28, [0, 0, height * 0.72], holes=(0.0, waist * 1.08))
    made.cone(radius * 0.5, waist * 1.08, 0.01, height * 0.28, [0, 0, height * 0.72], slot=2, holes=(0.0, OPEN))
    return Rest(radius, radius, height)


def _cone(made: Builder, u: np.ndarray) -> Rest:
    radius, height = between(u[:, 0], 0.025, 0.06), between(u[:, 1], 0.05, 0.16)
    made.cone(radius, radius * 0.3 * u[:, 2], 0.0, height, [0, 0, 0])
    return Rest(radius, radius, height)


def _ring(made: Builder, u: np.ndarray) -> Rest:
    tube = between(u[:, 0], 0.006, 0.018)
    radius = tube * (1.6 + 2.0 * u[:, 1])
    made.link(radius, tube, 0.0, [0, 0, tube])
    return Rest(radius + tube, radius + tube, 2 * tube)


def _tape(made: Builder, u: np.ndarray) -> Rest:
    radius, height = between(u[:, 0], 0.03, 0.055), between(u[:, 1], 0.015, 0.05)
    core = radius * (0.5 + 0.3 * u[:, 2])
    made.cone(radius, radius, 0.0, height, [0, 0, 0], holes=(core, core))
    made.cone(core, core, 0.0, height, [0, 0, 0], slot=2, holes=(OPEN, OPEN))
    return Rest(radius, radius, height)


def _hammer(made: Builder, u: np.ndarray) -> Rest:
    length, thick = between(u[:, 0], 0.09, 0.16), between(u[:, 1], 0.009, 0.014)
    head, reach = thick * 1.35, between(u[:, 2], 0.035, 0.055)
    made.cone(thick, thick * 0.8, -length, length - 0.5 * head, [0, 0, head], LYING, flat=0.75)
    made.box(head, reach * 0.7, head, [length, -reach * 0.3, head], slot=2)
    made.cone(head, head, 0.0, reach * 0.6, [length, reach * 0.4, head], turn_about(0, -np.pi / 2), slot=2)
    return Rest(length + head, reach, 2 * head)


def _screwdriver(made: Builder, u: np.ndarray) -> Rest:
    grip, thick = between(u[:, 0], 0.04, 0.06), between(u[:, 1], 0.011, 0.018)
    shaft = between(u[:, 2], 0.05, 0.12)
    middle = (shaft + 2 * grip) / 2
    made.cone(thick, thick * 0.85, -middle, -middle + 2 * grip, [0, 0, thick], LYING)
    made.ellipsoid(thick * 0.6, thick, thick, [-middle, 0, thick])
    made.cone(0.0035, 0.003, -middle + 2 * grip, middle, [0, 0, thick], LYING, slot=2)
    return Rest(middle + 0.6 * thick, thick, 2 * thick)


def _scissors(made: Builder, u: np.ndarray) -> Rest:
    length, ring = between(u[:, 0], 0.05, 0.085), between(u[:, 1], 0.016, 0.024)
    angle = 0.12 + 0.3 * u[:, 2]
    for side in (-1, 1):
        turn = turn_about(2, side * angle)
        level = 0.006 + 0.0025 * side
        tip, back = turn[:, :, 0] * length[:, None], turn[:, :, 0] * (-0.4 * length)[:, None]
        made.box(length / 2, 0.006, 0.0012, [tip[:, 0] / 2, tip[:, 1] / 2, level], turn, slot=2)
        made.box(length * 0.22, 0.005, 0.002, [back[:, 0] / 2, back[:, 1] / 2, level], turn, slot=0)
        far = turn[:, :, 0] * (-0.4 * length - 1.4 * ring)[:, None]
        made.link(ring * 0.8, 0.0045, ring * 0.5, [far[:, 0], far[:, 1], 0.006], turn)
    made.cone(0.004, 0.004, 0.0, 0.011, [0, 0, 0], slot=2)
    reach = length * 0.4 + ring * 2.7 + 0.005
    width = np.maximum(np.sin(angle) * reach + ring + 0.006, np.sin(angle) * length + 0.006)
    return Rest(np.maximum(length, reach), width, 0.0115)


def _wrench(made: Builder, u: np.ndarray) -> Rest:
    length, thick = between(u[:, 0], 0.05, 0.1), between(u[:, 1], 0.003, 0.006)
    ring = 0.009 + 0.006 * u[:, 2]
    made.box(length, ring * 0.55, thick * 0.7, [0, 0, thick])
    made.link(ring, thick, 0.0, [length + ring, 0, thick])
    made.link(ring * 1.1, thick, 0.004, [-length - ring, 0, thick], clip=-ring)
    return Rest(length + 2.2 * ring + thick + 0.004, ring * 1.1 + thick, 2 * thick)


def _dumbbell(made: Builder, u: np.ndarray) -> Rest:
    radius, half = between(u[:, 0], 0.025, 0.045), between(u[:, 1], 0.04, 0.07)
    made.cone(radius * 0.35, radius * 0.35, -half, half, [0, 0, radius], LYING, slot=2)
    for side in (-1, 1):
        made.cone(radius, radius, -0.35 * half, 0.35 * half, [side * half, 0, radius], LYING)
    return Rest(1.35 * half, radius, 2 * radius)


def _spoon(made: Builder, u: np.ndarray) -> Rest:
    length, bowl = between(u[:, 0], 0.05, 0.09), between(u[:, 1], 0.014, 0.024)
    made.capsule(0.003, [-length, 0, 0.004], [length, 0, 0.004])
    made.ellipsoid(bowl * 1.4, bowl, 0.005, [length + bowl, 0, 0.005])
    return Rest(length + 2.4 * bowl, bowl, 0.01)


def _pot(made: Builder, u: np.ndarray) -> Rest:
    radius, height = between(u[:, 0], 0.06, 0.1), between(u[:, 1], 0.05, 0.1)
    _cup_walls(made, radius, radius, height, 0.004)
    reach = 0.06 + 0.06 * u[:, 2]
    made.cone(0.009, 0.011, 0.0, reach, [radius - 0.002, 0, height * 0.8], LYING, slot=2, flat=0.7)
    return Rest(radius + reach, radius, height)


KINDS = (
    Kind("box", 2.0, _carton),
    Kind("book", 1.2, _book),
    Kind("block", 1.0, _block),
    Kind("device", 1.0, _device),
    Kind("can", 1.5, _can),
    Kind("can", 0.7, _lying_can),
    Kind("ball", 1.0, _ball),
    Kind("fruit", 1.2, _fruit),
    Kind("bottle", 1.4, _bottle),
    Kind("cup", 1.2, _cup),
    Kind("mug", 1.6, _mug),
    Kind("bowl", 1.4, _bowl),
    Kind("plate", 0.6, _plate),
    Kind("vase", 0.7, _vase),
    Kind("cone", 0.6, _cone),
    Kind("ring", 0.7, _ring),
    Kind("tape", 0.8, _tape),
    Kind("hammer", 0.9, _hammer),
    Kind("screwdriver", 0.9, _screwdriver),
    Kind("scissors", 0.9, _scissors),
    Kind("wrench", 0.6, _wrench),
    Kind("dumbbell", 0.6, _dumbbell),
    Kind("spoon", 0.8, _spoon),
    Kind("pot", 0.6, _pot),
)

CLASS_NAMES = ("none", *dict.fromkeys(kind.class_name for kind in KINDS), "arm")
CLASS_OF_KIND = np.array([CLASS_NAMES.index(kind.class_name) for kind in KINDS])
ARM_CLASS = CLASS_NAMES.index("arm")
