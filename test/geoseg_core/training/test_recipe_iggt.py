"""The recipe of IGGT at a very small size."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from small_models import IGGT, VGGT

from geoseg_core import cli
from geoseg_core.config import settings
from geoseg_core.errors import BadInput
from geoseg_core.geometry.vggt.config import VggtConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.instances.field.config import IggtConfig, PartHeadConfig
from geoseg_core.instances.field.model import Iggt
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.losses.field import ContrastConfig
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.iggt import IggtRecipe, IggtTask, features_of
from geoseg_core.training.registry import recipe_named
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import stored_config

CPU = torch.device("cpu")
PAPER = PartHeadConfig(fusion="paper", scrambled=False, normalised=True, unused_channels=(), window=4, squeeze=16)
SMALL = replace(IGGT, heads=("camera", "depth", "points"), part_head=PAPER)
WORLDS = WorldsConfig(width=56, height=42, exo_min=2, exo_max=2, objects_max=4, difficulty=0.0)
RECIPE = IggtRecipe(
    model=SMALL,
    data=DataConfig(worlds=WORLDS),
    optimiser=replace(IggtRecipe().optimiser, learning_rate=2e-3),
    contrast=ContrastConfig(pixels=96),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def vggt(tmp_path_factory):
    """Weights of a VGGT with all heads, whose maps have the channels that the part head reads."""
    path = tmp_path_factory.mktemp("weights") / "vggt.safetensors"
    sizes = VggtConfig(**{**VGGT.__dict__, "point_head": SMALL.point_head})
    torch.manual_seed(1)
    save_file(Vggt(sizes).state_dict(), path)
    return path


def begun(task, vggt):
    torch.manual_seed(0)
    model = task.model()
    task.load(model, load_file(vggt))
    return model.train()


def test_steps_lower_the_loss_and_features_come_apart(vggt):
    task = IggtTask(RECIPE)
    batch, model = task.batch(0, [1_000_007], CPU), begun(task, vggt)
    optimiser, found = make_optimiser(model, task.config.optimiser), []
    assert [group["share"] for group in optimiser.param_groups] == [1.0, 1.0, 0.1, 0.1]
    for step in range(24):
        torch.manual_seed(0)
        losses = task.loss(model, batch, step)
        optimiser.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        found.append({name: float(value.detach()) for name, value in losses.items()})
    assert {"camera", "depth", "points", "contrast", "total"} <= set(found[0]) and "tracks" not in found[0]
    assert found[1]["total"] < found[0]["total"]
    assert found[-1]["total"] < 0.5 * found[0]["total"] and found[-1]["contrast"] < 0.8 * found[0]["contrast"]
    with torch.no_grad():
        figures = task.metrics(model, batch)
    assert {"abs_rel", "auc30", "told_apart"} <= set(figures) and "things_iou" not in figures


def test_the_contrast_is_of_pixels_of_all_views_and_the_ids_are_those_of_the_scene(vggt):
    task = IggtTask(RECIPE)
    batch, model = task.batch(0, [1_000_007], CPU), begun(task, vggt)

    def contrast(sample):
        torch.manual_seed(3)
        with torch.no_grad():
            return float(task.loss(model, sample, 0)["contrast"])

    apart = batch.instance_ids.clone()
    apart[:, 1:] = torch.where(apart[:, 1:] > 0, (apart[:, 1:] % batch.last_thing) + 1, 0)
    assert contrast(batch) == pytest.approx(contrast(batch))
    assert contrast(replace(batch, instance_ids=apart)) != pytest.approx(contrast(batch), rel=1e-3)
    assert contrast(replace(batch, instance_ids=torch.zeros_like(apart))) == 0
    with pytest.raises(BadInput, match="instance ids"):
        contrast(replace(batch, instance_ids=None))


def test_the_trainer_starts_from_a_vggt_and_writes_an_iggt(vggt, tmp_path: Path):
    wanted, default = ({each.name: each.default for each in settings(each)} for each in (RECIPE, IggtRecipe()))
    values = {name: value for name, value in wanted.items() if value != default[name]}
    values |= {"loop.weights": vggt, "schedule.steps": 1, "loop.batch": 1, "loop.workers": 0, "loop.final_samples": 1}
    texts = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
    words = [word for name, value in texts.items() for word in ("--set", f"{name}={value}")]
    assert cli.main(["train", "iggt", "--out", str(tmp_path), "--device", "cpu", *words]) == 0
    path = tmp_path / "weights.safetensors"
    model = Iggt.from_checkpoint(path, stored_config(path, IggtConfig()))
    assert model.config == SMALL
    start = load_file(vggt)
    assert not any(name.startswith("track_head.") for name in model.state_dict())
    torch.testing.assert_close(
        model.state_dict()["aggregator.patch_embed.patch_embed.proj.weight"],
        start["aggregator.patch_embed.patch_embed.proj.weight"],
        rtol=0,
        atol=2e-3,
    )


def test_features_of_the_released_head_are_compared_by_direction(vggt):
    task = IggtTask(replace(RECIPE, model=replace(SMALL, part_head=IGGT.part_head)))
    model, batch = begun(task, vggt).eval(), task.batch(0, [1_000_007], CPU)
    with torch.no_grad():
        output = model(batch.images, keep_layers=sorted(model.layers_of_field()))
        features = features_of(model, output)
        torch.testing.assert_close(features, F.normalize(model.field(output.tokens), dim=2))
    torch.testing.assert_close(features.norm(dim=2), torch.ones(1, 3, 42, 56))


def test_the_default_is_the_released_size_and_what_the_paper_says():
    config = recipe_named("iggt").config_type()()
    assert isinstance(config, IggtRecipe)
    assert (config.model.width, config.model.heads) == (1024, ("camera", "depth", "points"))
    assert (config.contrast.pull, config.contrast.push, config.contrast.margin) == (2.0, 1.0, 1.0)
    assert (config.optimiser.learning_rate, config.optimiser.slow_rate) == (1e-5, 0.1)
    assert (config.model.part_head.fusion, config.model.part_head.normalised) == ("paper", True)
