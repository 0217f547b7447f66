"""The recipe of VGGT on worlds: a very small one learns, through the command that users call."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import VGGT

from geoseg_core import cli
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.log import read_log
from geoseg_core.training.optimiser import freeze
from geoseg_core.training.recipes.vggt import TeacherConfig, Vggt1bRecipe, VggtLossConfig, VggtRecipe, VggtTask
from geoseg_core.training.registry import recipe_named
from geoseg_core.training.sources import DataConfig

WORLDS = WorldsConfig(width=56, height=42, exo_max=2, objects_min=1, objects_max=3, arm=False, difficulty=0.0)
DATA = DataConfig(worlds=WORLDS)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings() -> list[str]:
    """The settings of a model that trains in seconds."""
    values: dict[str, object] = {
        "model.image_size": 42,
        "model.width": 32,
        "model.patch_embed.depth": 1,
        "model.patch_embed.heads": 2,
        "model.aggregator.depth": 3,
        "model.aggregator.heads": 2,
        "model.camera_head.heads": 2,
        "model.camera_head.iterations": 2,
        "model.track_head.iterations": 2,
        "model.track_head.levels": 2,
        "model.track_head.radius": 2,
        "model.track_head.hidden": 16,
        "model.track_head.depth": 1,
        "model.track_head.heads": 2,
        "model.track_head.virtual_tracks": 4,
        "data.worlds.width": 56,
        "data.worlds.height": 42,
        "data.worlds.exo_max": 2,
        "data.worlds.difficulty": 0.0,
        "loop.batch": 2,
        "loop.evaluate_every": 0,
        "loop.picture_every": 0,
        "loop.final_samples": 4,
        "optimiser.learning_rate": 0.003,
        "optimiser.ema_decay": 0.8,
        "schedule.steps": 24,
    }
    for head in ("depth_head", "point_head", "track_head.features"):
        values |= {
            f"model.{head}.features": 16,
            f"model.{head}.channels": "8,8,16,16",
            f"model.{head}.layers": "0,1,1,2",
        }
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def test_a_very_small_one_learns(tmp_path: Path) -> None:
    assert cli.main(["train", "vggt", "--out", str(tmp_path), "--device", "cpu", *settings()]) == 0
    rows = [row for row in read_log(tmp_path) if row["group"] == "train"]
    losses = {"camera", "depth", "depth_gradients", "points", "points_gradients", "tracks", "visibility"}
    assert losses <= set(rows[0])
    for name in ("total", "camera", "depth"):
        first, last = (np.mean([row[name] for row in part]) for part in (rows[:6], rows[-6:]))
        assert last < 0.8 * first, name
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert {"rotation_deg", "auc30", "abs_rel", "delta125", "tracks_near", "visibility_right"} <= set(metrics)
    assert metrics["abs_rel"] < 1
    picture = cv2.imread(str(tmp_path / "pictures" / "step_00000024.png"))
    assert picture.shape[0] == 4 * 3 * 42 + 3 * 4, "four scenes with lines between: images, true depth, depth"
    weights = load_file(tmp_path / "weights.safetensors")
    assert set(weights) == set(Vggt(VGGT).state_dict()), "names as in the released model"


def test_heads_without_a_share_are_left_out() -> None:
    task = VggtTask(VggtRecipe(model=VGGT, data=DATA, loss=VggtLossConfig(points=0, tracks=0, gradients=0.5)))
    model = task.model()
    batch = task.batch(0, [1_000_001], CPU)
    losses = task.loss(model, batch, 0)
    assert set(losses) == {"total", "camera", "depth", "depth_gradients"}
    losses["total"].backward()
    assert model.track_head.tracker.query_ref_token.grad is None
    assert model.camera_head.empty_pose_tokens.grad is not None
    with torch.no_grad():
        figures = task.metrics(model, batch)
    cameras = {"field_of_view_deg", "rotation_deg", "direction_deg", "auc30"}
    assert set(figures) == cameras | {"abs_rel", "delta125"}
    with pytest.raises(BadConfig, match="expected a share above 0"):
        VggtTask(VggtRecipe(model=VGGT, data=DATA, loss=VggtLossConfig(camera=0, depth=0, points=0, tracks=0)))


def test_a_batch_depends_on_step_and_seeds_alone() -> None:
    task, other = (VggtTask(VggtRecipe(model=VGGT, data=DATA)) for _ in range(2))
    task.batch(3, [5, 6], CPU)
    first, again = task.batch(7, [8, 9], CPU), other.batch(7, [8, 9], CPU)
    assert first.cameras == again.cameras
    assert all(bool((value == again.tensors()[name]).all()) for name, value in first.tensors().items())
    views = {task.batch(step, [8], CPU).cameras for step in range(12)}
    assert {len(cameras) for cameras in views} == {2, 3}
    assert {cameras[0] for cameras in views} >= {"ego", "exo_1"}, "any view may come first"


def test_a_teacher_gives_depth_and_cameras(tmp_path: Path) -> None:
    given = VggtTask(VggtRecipe(model=VGGT, data=DATA))
    path = tmp_path / "teacher.safetensors"
    teacher = given.model()
    save_file(teacher.state_dict(), path)
    taught = VggtTask(VggtRecipe(model=VGGT, data=DATA, teacher=TeacherConfig(str(path), 1.0, VGGT)))
    batch = given.batch(0, [3], CPU)
    own, learned = (task.loss(teacher, batch, 0) for task in (given, taught))
    said, true = (float(losses["depth_gradients"].detach()) for losses in (learned, own))
    assert said < 0.2 * true, "it already says what it is taught"


def test_images_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(BadConfig, match="multiples of the patch 14, got 60 x 42"):
        VggtTask(VggtRecipe(model=VGGT, data=DataConfig(worlds=WorldsConfig(width=60, height=42))))


def test_the_recipe_of_the_released_size_is_the_released_model_with_a_frozen_trunk() -> None:
    config = recipe_named("vggt-1b").config_type()()
    assert isinstance(config, Vggt1bRecipe)
    with torch.device("meta"):
        model = VggtTask(config).model()
    freeze(model, config.optimiser.frozen)
    trained = {name.split(".")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"camera_head", "depth_head", "point_head", "track_head"}
    assert sum(value.numel() for value in model.parameters()) > 1_000_000_000
