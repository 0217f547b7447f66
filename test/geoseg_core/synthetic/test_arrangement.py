"""Things stand on their table, inside their footprint, and apart from each other at every moment."""

import numpy as np
import pytest
import torch

from geoseg_core.synthetic.arrangement import CARRIED, PUSHED, STILL, Arrangement, arrange, rectangles_overlap, settle
from geoseg_core.synthetic.cameras import look_at
from geoseg_core.synthetic.catalogue import CLASS_NAMES, CLASS_OF_KIND, KINDS
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.numbers import Numbers
from geoseg_core.synthetic.shapes import ROOM, Builder, Primitives
from geoseg_core.synthetic.tracer import Geometry, first_hits, ray_planes

SIZE = (96, 96)
EYES_M = [(0.5, 0.0, 0.35), (-0.3, 0.45, 0.05), (-0.3, -0.4, 0.02), (0.02, 0.01, 0.7)]
CONFIG = WorldsConfig(objects_min=8, objects_max=12, moments=4, time_step_s=0.6)
TOP_M = 0.7


def surface_points(parts: Primitives) -> np.ndarray:
    """What cameras round a body see of it: points (N, 3) in its frame."""
    room = Builder(1)
    room.add(ROOM, [2.0] * 3, [-2.0] * 3, [2.0] * 3, [0, 0, 0], None, 0)
    walls = room.primitives(0)
    whole = [np.concatenate([getattr(walls, name), getattr(parts, name)], axis=1)
             for name in ("kind", "params", "bounds", "to_body")]  # fmt: skip
    kind, params, bounds, pose = (torch.from_numpy(np.repeat(each, len(EYES_M), axis=0)) for each in whole)
    target = np.broadcast_to([0.0, 0.0, 0.04], (len(EYES_M), 3))
    camera = torch.from_numpy(look_at(np.array(EYES_M), target, np.zeros(len(EYES_M))))
    lens = torch.tensor([[90.0, 0, 47.5], [0, 90.0, 47.5], [0, 0, 1]], dtype=torch.float64).repeat(len(EYES_M), 1, 1)
    geometry = Geometry(kind, params.float(), bounds, torch.zeros_like(kind), pose, camera, lens, SIZE)
    depth, primitive = first_hits(geometry)
    rays = torch.stack(ray_planes((camera[:, :3, :3] @ torch.linalg.inv(lens)).float(), SIZE), dim=-1)
    points = camera[:, None, None, :3, 3].float() + rays * depth[..., None]
    return points[primitive > 0].numpy()


@pytest.mark.parametrize("index", range(len(KINDS)), ids=[f"{i}_{kind.class_name}" for i, kind in enumerate(KINDS)])
def test_each_kind_stays_inside_its_footprint_and_touches_the_ground(index: int) -> None:
    for seed in range(3):
        made = Builder(1)
        rest = KINDS[index].build(made, np.random.default_rng([index, seed]).random((1, 8)))
        points = surface_points(made.primitives(0))
        half = [np.ravel(each)[0] for each in (rest.x, rest.y)]
        height = np.ravel(rest.height)[0]
        assert len(points) > 80
        assert (np.abs(points[:, :2]).max(axis=0) <= np.array(half) + 5e-4).all()
        assert points[:, 2].max() <= height + 5e-4
        assert points[:, 2].max() >= 0.75 * height
        assert -5e-4 <= points[:, 2].min() <= 0.004


@pytest.fixture(scope="module")
def things() -> Arrangement:
    seeds = range(24)
    area = np.broadcast_to([0.5, 0.32], (len(seeds), 2))
    times = np.arange(CONFIG.moments) * CONFIG.time_step_s
    return arrange(Numbers(seeds, 0), CONFIG, area, np.full(len(seeds), TOP_M), times)


def test_nothing_goes_through_anything_else_at_any_moment(things: Arrangement) -> None:
    low, high = things.position[..., 2], things.position[..., 2] + things.height[:, None]
    count = things.kind.shape[1]
    for first in range(count):
        for second in range(first):
            both = (things.kind[:, first] >= 0) & (things.kind[:, second] >= 0)
            over = rectangles_overlap(
                things.position[:, :, first, :2], things.yaw[:, :, first], things.half[:, None, first],
                things.position[:, :, second, :2], things.yaw[:, :, second], things.half[:, None, second],
            )  # fmt: skip
            level = (low[:, :, first] < high[:, :, second] - 1e-6) & (low[:, :, second] < high[:, :, first] - 1e-6)
            assert not (both[:, None] & over & level).any()


def test_rectangles_overlap_as_their_points_say() -> None:
    generator = np.random.default_rng(0)
    steps = np.linspace(-1, 1, 41)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    seen = set()
    for _ in range(60):
        centre, (yaw_a, yaw_b) = generator.uniform(-1, 1, 2), generator.uniform(-3, 3, 2)
        half_a, half_b = generator.uniform(0.1, 0.7, 2), generator.uniform(0.1, 0.7, 2)
        rotation = [np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]) for yaw in (yaw_a, yaw_b)]
        points = ((grid * half_a) @ rotation[0].T - centre) @ rotation[1]
        inside = bool((np.abs(points) < half_b).all(axis=1).any())
        near = bool((np.abs(points) < half_b + 0.05).all(axis=1).any())
        if inside != near:
            continue  # touching: the grid is too coarse to tell
        found = rectangles_overlap(np.zeros(2), np.array(yaw_a), half_a, centre, np.array(yaw_b), half_b)
        assert bool(found) == inside
        seen.add(inside)
    assert seen == {True, False}


def test_things_stand_on_the_table_or_on_each_other(things: Arrangement) -> None:
    base = things.rest_position[..., 2]
    tops = np.concatenate([np.full((len(base), 1), TOP_M), base + things.height], axis=1)
    gap = np.abs(base[:, :, None] - tops[:, None]).min(axis=2)
    assert gap[things.kind >= 0].max() < 1e-9
    stacked = (base > TOP_M + 1e-6) & (things.kind >= 0)
    assert stacked.any()


def test_some_things_are_pushed_along_the_table_and_some_carried_over_it(things: Arrangement) -> None:
    rows = np.arange(len(things.mode))
    path = things.position[rows, :, things.mover]
    lift = path[..., 2].max(axis=1) - things.rest_position[rows, things.mover, 2]
    assert {STILL, PUSHED, CARRIED} == set(things.mode)
    assert (lift[things.mode == CARRIED] > 0.05).any()
    assert np.abs(lift[things.mode != CARRIED]).max() < 1e-9
    moved = np.linalg.norm(path[:, -1, :2] - path[:, 0, :2], axis=1)
    assert (moved[things.mode == STILL] == 0).all()
    assert (moved[things.mode != STILL] > 0.01).mean() > 0.8


def test_settled_scenes_do_not_move(things: Arrangement) -> None:
    calm = settle(things, np.ones(len(things.mode), bool))
    assert (calm.position == things.rest_position[:, None]).all()
    assert (calm.mode == STILL).all()


def test_as_many_things_as_wanted_find_a_place_mostly(things: Arrangement) -> None:
    placed = (things.kind >= 0).sum(axis=1)
    assert placed.max() <= CONFIG.objects_max
    assert placed.mean() > 0.75 * CONFIG.objects_min


def test_every_kind_has_a_class_name() -> None:
    assert CLASS_NAMES[0] == "none" and CLASS_NAMES[-1] == "arm"
    assert [CLASS_NAMES[index] for index in CLASS_OF_KIND] == [kind.class_name for kind in KINDS]
