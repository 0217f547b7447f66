"""Worlds kept on the disk: the same ones again, and none of other settings."""

import pytest
import torch

from geoseg_core.config import build
from geoseg_core.errors import BadInput
from geoseg_core.training.sources import DataConfig, make_source
from geoseg_core.training.task import HELD_OUT_SEEDS, step_seeds

CPU = torch.device("cpu")
SMALL = {"worlds.width": 32, "worlds.height": 16, "worlds.objects_max": 2, "worlds.objects_min": 1, "kept_samples": 4}


def kept_source(folder, **changes):
    return make_source(build(DataConfig, {**SMALL, "kept": str(folder), **changes}), 16)


def test_a_kept_world_is_the_one_that_was_rendered(tmp_path):
    seeds = step_seeds(0, 1, 2)
    plain = make_source(build(DataConfig, SMALL), 16).batch(1, seeds, CPU)
    source = kept_source(tmp_path)
    for again in (source.batch(1, seeds, CPU), source.batch(1, seeds, CPU)):
        assert (again.images - plain.images).abs().max() <= 0.5 / 255 + 1e-6
        assert ((again.depth - plain.depth).abs() <= 1e-3 * plain.depth).all()
        assert torch.equal(again.instance_ids, plain.instance_ids) and again.instance_ids.dtype == torch.int64
        assert torch.equal(again.camera_to_world, plain.camera_to_world)
        assert again.cameras == plain.cameras
    assert len(list(tmp_path.iterdir())) == 1


def test_worlds_come_again_after_the_kept_ones(tmp_path):
    source = kept_source(tmp_path)
    first, third = (source.batch(step, step_seeds(0, step, 2), CPU) for step in (0, 2))
    other = source.batch(1, step_seeds(0, 1, 2), CPU)
    assert torch.equal(first.images, third.images) and not torch.equal(first.images, other.images)
    assert len(list(tmp_path.iterdir())) == 2


def test_held_out_worlds_are_never_kept(tmp_path):
    kept_source(tmp_path).batch(0, [0, 1], CPU)
    assert not list(tmp_path.iterdir()) and HELD_OUT_SEEDS > 1


def test_worlds_of_other_settings_and_broken_files_are_named(tmp_path):
    kept_source(tmp_path).batch(0, step_seeds(0, 0, 2), CPU)
    with pytest.raises(BadInput, match="other"):
        kept_source(tmp_path, **{"worlds.arm": False}).batch(0, step_seeds(0, 0, 2), CPU)
    next(tmp_path.iterdir()).write_bytes(b"broken")
    with pytest.raises(BadInput, match="remove the file"):
        kept_source(tmp_path).batch(0, step_seeds(0, 0, 2), CPU)
