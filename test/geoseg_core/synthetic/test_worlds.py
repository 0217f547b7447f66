"""Worlds: the same seed gives the same scene, alone or in a batch, and its ground truth agrees with itself."""

import pytest
import torch

from geoseg_core.config import build
from geoseg_core.datasets.correspondence import correspondences, random_points
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

SMALL = WorldsConfig(width=80, height=60, moments=2, time_step_s=0.8, exo_min=1, exo_max=2)


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    torch.set_num_threads(1)
    return Worlds(SMALL)


def test_a_batch_holds_what_each_seed_gives_alone(worlds: Worlds) -> None:
    batch = worlds.batch([3, 11, 5], exo=2)
    alone = worlds.sample(5, exo=2).check()
    for name, value in alone.tensors().items():
        assert torch.allclose(batch.tensors()[name][2].float(), value.float(), atol=1e-5), name


def test_another_seed_gives_another_scene(worlds: Worlds) -> None:
    assert not torch.equal(worlds.sample(1, exo=1).depth, worlds.sample(2, exo=1).depth)


def test_points_of_one_view_come_back_from_the_other(worlds: Worlds) -> None:
    sample = worlds.sample(4, exo=1)
    for target in (1, 2, 3):
        points = random_points(sample, 200, 0, target, torch.Generator().manual_seed(1))
        there = correspondences(sample, points, 0, target)
        assert there.visible.all()
        back = correspondences(sample, there.points_px, target, 0)
        assert (back.points_px - points).norm(dim=1).median() < 1e-3


def test_refuses_what_it_cannot_make(worlds: Worlds) -> None:
    with pytest.raises(BadInput, match="exo_max = 2"):
        worlds.sample(0, exo=3)
    with pytest.raises(BadInput, match="seeds from 0"):
        worlds.batch([])
    with pytest.raises(BadConfig, match="objects_min: expected at most objects_max = 4, got 6"):
        WorldsConfig(objects_min=6, objects_max=4)
    with pytest.raises(BadConfig, match="difficulty"):
        build(WorldsConfig, {"difficulty": 1.5})
