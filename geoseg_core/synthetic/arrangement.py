"""Things on a table: which, where, how they move; nothing goes through anything else."""

from dataclasses import dataclass, replace

import numpy as np

from geoseg_core.synthetic.catalogue import KINDS, MAX_PARTS, Rest
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.shapes import NONE, PARAMETERS, Builder, Primitives

CANDIDATES = 24
GAP_M = 0.006
STACKED = 0.25
GRIP_DEPTH_M = 0.022
HAND_HALF_M = 0.05
MOVE_TIME_S = 2.5
STILL, PUSHED, CARRIED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Arrangement:
    """K things of each of B scenes, over T moments.

    Attributes:
        primitives: (B, K * MAX_PARTS), in body frames.
        kind: (B, K) index in KINDS, -1 = none.
        half: (B, K, 2) footprint half extents.
        height: (B, K).
        position: (B, T, K, 3) origin in the world.
        yaw: (B, T, K).
        rest_position, rest_yaw: (B, K, 3) and (B, K), where the things were put.
        mover: (B,) index of the thing that moves; mode (B,) how.
    """

    primitives: Primitives
    kind: np.ndarray
    half: np.ndarray
    height: np.ndarray
    position: np.ndarray
    yaw: np.ndarray
    rest_position: np.ndarray
    rest_yaw: np.ndarray
    mover: np.ndarray
    mode: np.ndarray


def rectangles_overlap(first: np.ndarray, first_yaw: np.ndarray, first_half: np.ndarray, second: np.ndarray,
                       second_yaw: np.ndarray, second_half: np.ndarray) -> np.ndarray:  # fmt: skip
    """Whether turned rectangles overlap (separating axes); centres and half extents (..., 2), all broadcast."""
    offset = second - first
    turn = second_yaw - first_yaw
    cosine, sine = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    apart = []
    for yaw, own, other in ((first_yaw, first_half, second_half), (second_yaw, second_half, first_half)):
        c, s = np.cos(yaw), np.sin(yaw)
        along = np.abs(c * offset[..., 0] + s * offset[..., 1])
        across = np.abs(c * offset[..., 1] - s * offset[..., 0])
        apart.append(along > own[..., 0] + cosine * other[..., 0] + sine * other[..., 1])
        apart.append(across > own[..., 1] + sine * other[..., 0] + cosine * other[..., 1])
    return np.asarray(~(apart[0] | apart[1] | apart[2] | apart[3]))


def arrange(numbers: Numbers, config: WorldsConfig, area: np.ndarray, top: np.ndarray,
            times: np.ndarray) -> Arrangement:  # fmt: skip
    """Choose, build and place things on a table of half extents `area` (B, 2) at height `top` (B,).

    Args:
        numbers: the streams of the scenes.
        config: how many things, how crowded.
        area: (B, 2) metres.
        top: (B,) metres.
        times: (T,) seconds.
    """
    count = config.objects_max
    kind = choose_kinds(numbers, count)
    primitives, half, height, flat = build_things(kind, numbers.uniform(count, 8))
    wanted = config.objects_min + numbers.whole(below=config.objects_max - config.objects_min + 1)
    kind[np.arange(count) >= wanted[:, None]] = NONE
    position, yaw, carrier = place(numbers, kind, half, height, flat, area, top)
    primitives.kind[np.repeat(kind < 0, MAX_PARTS, axis=1)] = NONE
    moving = move(numbers, kind, half, height, position, yaw, carrier, area, times)
    positions, yaws, mover, mode = moving
    return Arrangement(primitives, kind, half, height, positions, yaws, position, yaw, mover, mode)


def settle(things: Arrangement, scenes: np.ndarray) -> Arrangement:
    """The same with nothing moving in some scenes (B,) bool: there everything stays where it was put."""
    position = np.where(scenes[:, None, None, None], things.rest_position[:, None], things.position)
    yaw = np.where(scenes[:, None, None], things.rest_yaw[:, None], things.yaw)
    return replace(things, position=position, yaw=yaw, mode=np.where(scenes, STILL, things.mode))


def choose_kinds(numbers: Numbers, count: int) -> np.ndarray:
    """(B, count) indices in KINDS by their weights."""
    weights = np.cumsum([kind.weight for kind in KINDS])
    return np.searchsorted(weights, numbers.uniform(count) * weights[-1], side="right")


def build_things(kind: np.ndarray, sizes: np.ndarray) -> tuple[Primitives, np.ndarray, np.ndarray, np.ndarray]:
    """Primitives (B, K * MAX_PARTS), footprint (B, K, 2), height (B, K) and flat top (B, K, 2) of all things."""
    flat_kind, flat_sizes = kind.ravel(), sizes.reshape(-1, sizes.shape[-1])
    total = len(flat_kind)
    made = Primitives(
        np.full((total, MAX_PARTS), NONE), np.zeros((total, MAX_PARTS, PARAMETERS)),
        np.zeros((total, MAX_PARTS, 2, 3)), np.zeros((total, MAX_PARTS, 4, 4)), np.zeros((total, MAX_PARTS), int),
    )  # fmt: skip
    rest = np.zeros((total, 5))
    for index in np.unique(flat_kind):
        rows = np.flatnonzero(flat_kind == index)
        builder = Builder(len(rows))
        facts: Rest = KINDS[index].build(builder, flat_sizes[rows])
        part = builder.primitives(MAX_PARTS)
        for name in ("kind", "params", "bounds", "to_body", "slot"):
            getattr(made, name)[rows] = getattr(part, name)
        columns = (facts.x, facts.y, facts.height, facts.top_x, facts.top_y)
        rest[rows] = np.stack([np.broadcast_to(column, len(rows)) for column in columns], axis=1)
    scenes, things = kind.shape
    arrays = {name: value.reshape(scenes, things * MAX_PARTS, *value.shape[2:]) for name, value in vars(made).items()}
    facts_of = rest.reshape(scenes, things, 5)
    return Primitives(**arrays), facts_of[..., :2], facts_of[..., 2], facts_of[..., 3:]


def place(numbers: Numbers, kind: np.ndarray, half: np.ndarray, height: np.ndarray, flat: np.ndarray,
          area: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Position (B, K, 3), yaw (B, K) and what each stands on (B, K), -1 = table; kind becomes -1 where none fits."""
    scenes, things = kind.shape
    rows = np.arange(scenes)
    yaw = numbers.uniform(things, low=-np.pi, high=np.pi)
    tries = numbers.uniform(things, CANDIDATES, 2, low=-1.0, high=1.0)
    stacking = numbers.chance(things, of=STACKED)
    chosen = numbers.uniform(things)
    position = np.zeros((scenes, things, 3))
    carrier = np.full((scenes, things), -1)
    loaded = np.zeros((scenes, things), bool)
    for k in range(things):
        spots = tries[:, k] * (area - 0.8 * half[:, k].max(axis=1, keepdims=True)).clip(0.02)[:, None]
        position[:, k, 2] = top
        if k:
            hits = rectangles_overlap(
                spots[:, :, None], yaw[:, k, None, None], half[:, k, None, None] + GAP_M,
                position[:, None, :k, :2], yaw[:, None, :k], half[:, None, :k],
            )  # fmt: skip
            free = np.asarray(~(hits & (kind[:, None, :k] >= 0)).any(axis=2))
            first = free.argmax(axis=1)
            position[:, k, :2] = spots[rows, first]
            kind[~free[rows, first], k] = NONE
            below = np.minimum((chosen[:, k] * k).astype(int), k - 1)
            fits = (flat[rows, below] >= half[:, k].max(axis=1, keepdims=True)).all(axis=1)
            ready = (kind[rows, below] >= 0) & ~loaded[rows, below] & (carrier[rows, below] < 0)
            on = np.flatnonzero(stacking[:, k] & fits & ready & (kind[:, k] >= 0))
            carrier[on, k] = below[on]
            loaded[on, below[on]] = True
            position[on, k] = position[on, below[on]] + np.stack(
                [0 * top[on], 0 * top[on], height[on, below[on]]], axis=1
            )
        else:
            position[:, k, :2] = spots[:, 0] * 0.5
    return position, yaw, carrier


def move(numbers: Numbers, kind: np.ndarray, half: np.ndarray, height: np.ndarray, position: np.ndarray,
         yaw: np.ndarray, carrier: np.ndarray, area: np.ndarray, times: np.ndarray,
         ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Let one thing of each scene be pushed or carried, if a way is free: position, yaw, mover and mode."""
    scenes, things = kind.shape
    rows = np.arange(scenes)
    mover = numbers.whole(below=things)
    mode = numbers.whole(below=3)
    distance = numbers.uniform(CANDIDATES, low=0.06, high=0.3)
    heading = numbers.uniform(CANDIDATES, low=-np.pi, high=np.pi)
    spin = numbers.uniform(low=-0.8, high=0.8)
    progress = numbers.uniform(low=0.0, high=0.7)[:, None] + times / MOVE_TIME_S
    progress = np.clip(progress, 0, 1)
    smooth = progress**2 * (3 - 2 * progress)
    step = (distance * np.cos(heading), distance * np.sin(heading))
    path = position[rows, mover, None, None, :2] + np.stack(step, -1)[:, None] * smooth[:, :, None, None]
    lift = np.where(mode == CARRIED, 0.16, 0.0)[:, None] * np.clip(5 * np.minimum(smooth, 1 - smooth), 0, 1)
    turned = yaw[rows, mover, None] + spin[:, None] * smooth
    own_half = half[rows, mover]
    others = (kind >= 0) & (np.arange(things) != mover[:, None])
    blocked = np.zeros((scenes, len(times), CANDIDATES), bool)
    base = position[rows, mover, 2][:, None] + lift
    for margin, level in ((GAP_M, base), (HAND_HALF_M, base + height[rows, mover, None] - GRIP_DEPTH_M)):
        hits = rectangles_overlap(
            path[:, :, :, None], turned[:, :, None, None], own_half[:, None, None, None] + margin,
            position[:, None, None, :, :2], yaw[:, None, None, :], half[:, None, None],
        )  # fmt: skip
        tall = (position[..., 2] + height)[:, None] > level[:, :, None] + 1e-4
        blocked |= (hits & (tall & others[:, None])[:, :, None]).any(axis=3)
    outside = (np.abs(path) > area[:, None, None] - 0.5 * own_half.max(axis=1)[:, None, None, None]).any(axis=3)
    free = ~(blocked | outside).any(axis=1)
    first = free.argmax(axis=1)
    alone = ~(carrier == mover[:, None]).any(axis=1) & (carrier[rows, mover] < 0) & (kind[rows, mover] >= 0)
    mode = np.where(free[rows, first] & alone, mode, STILL)
    all_positions = np.repeat(position[:, None], len(times), axis=1)
    all_yaws = np.repeat(yaw[:, None], len(times), axis=1)
    moving = np.flatnonzero(mode != STILL)
    all_positions[moving, :, mover[moving], :2] = path[moving, :, first[moving]]
    all_positions[moving, :, mover[moving], 2] += lift[moving]
    all_yaws[moving, :, mover[moving]] = turned[moving]
    return all_positions, all_yaws, mover, mode
