"""Samples for trainings, from a bag and from photographs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_bag import write_small_bag
from small_models import VGGT

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.recipes.vggt import VggtRecipe, VggtTask
from geoseg_core.training.sources import DataConfig, make_source
from geoseg_core.training.task import held_out_seeds, step_seeds

CPU = torch.device("cpu")
READER = ReaderConfig(height=42, width=56)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    path = tmp_path_factory.mktemp("bags") / "small"
    write_small_bag(path, 3)
    return DataConfig(source="bag", path=str(path), reader=READER)


def test_a_bag_is_something_to_learn_from(bag: DataConfig) -> None:
    task = VggtTask(VggtRecipe(model=VGGT, data=bag))
    batch = task.batch(0, [1_000_000, 1_000_001], CPU)
    assert batch.images.shape == (2, 2, 3, 42, 56)
    losses = task.loss(task.model(), batch, 0)
    losses["total"].backward()
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_scenes_that_are_held_out_are_not_trained_on(bag: DataConfig) -> None:
    source = make_source(bag, 14)

    def sets(seeds: list[int]) -> set[str]:
        """Which sets of the bag the samples come from, without their cameras."""
        return {source.batch(0, [seed], CPU).source.split(":")[0] for seed in seeds}

    trained, held_out = sets(step_seeds(0, 0, 20)), sets(held_out_seeds(20))
    assert (len(trained), len(held_out)) == (2, 1)
    assert not trained & held_out


def test_a_sample_depends_on_its_seed_alone(bag: DataConfig) -> None:
    one, two = make_source(bag, 14), make_source(bag, 14)
    both, alone = one.batch(4, [1_000_003, 1_000_004], CPU), two.batch(4, [1_000_004], CPU)
    assert all(bool((value[1:] == alone.tensors()[name]).all()) for name, value in both.tensors().items())


def test_photographs_teach_geometry_only_with_a_teacher(tmp_path: Path) -> None:
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 80, 3), 100, np.uint8))
    task = VggtTask(VggtRecipe(model=VGGT, data=DataConfig(source="photographs", path=str(tmp_path), reader=READER)))
    batch = task.batch(0, [1_000_000], CPU)
    assert batch.images.shape == (1, 1, 3, 42, 56)
    with pytest.raises(BadInput, match="expected depth, intrinsics and camera_to_world to learn from"):
        task.loss(task.model(), batch, 0)


def test_data_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="data.path: expected the place of the scannet data"):
        make_source(DataConfig(source="scannet", reader=READER), 14)
    with pytest.raises(BadConfig, match="multiples of the patch 14, got 0 x 0"):
        make_source(DataConfig(source="bag", path="x", reader=ReaderConfig(height=0, width=0)), 14)
    with pytest.raises(BadInput):
        make_source(DataConfig(source="scannet", path=str(tmp_path), reader=READER), 14)


def test_worlds_to_train_on_are_of_any_difficulty_and_those_held_out_are_not() -> None:
    """Exo cameras of hard worlds stand further away."""
    worlds = WorldsConfig(width=32, height=32)
    mixed, hard = (make_source(DataConfig(easiest=part, worlds=worlds, any_first=False), 16) for part in (0.0, 1.0))
    poses = [
        [source.batch(step, step_seeds(0, step, 2), torch.device("cpu")).camera_to_world for step in range(3)]
        for source in (mixed, hard)
    ]
    assert not any(torch.equal(*pair) for pair in zip(*poses, strict=True))
    held_out = [source.batch(0, held_out_seeds(2), torch.device("cpu")).camera_to_world for source in (mixed, hard)]
    assert torch.equal(*held_out)
