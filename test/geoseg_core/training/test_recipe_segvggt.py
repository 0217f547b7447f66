"""The recipe of SegVGGT at a very small size: what learns, what stays, and what is released."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import SEGVGGT, VGGT, random_images, stirred

from geoseg_core import cli
from geoseg_core.config import settings
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.instances.queries.segvggt import SegVggt, SegVggtConfig
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig
from geoseg_core.training.devices import Devices
from geoseg_core.training.lora import LoraConfig
from geoseg_core.training.losses.instances import InstanceLossConfig
from geoseg_core.training.optimiser import freeze, make_optimiser
from geoseg_core.training.recipes.segvggt import SegVggtRecipe, SegVggtTask, new_at_full_rate
from geoseg_core.training.recipes.vggt import TeacherConfig, VggtLossConfig
from geoseg_core.training.registry import recipe_named
from geoseg_core.training.sources import DataConfig
from geoseg_core.training.state import give_state, state_tensors
from geoseg_core.training.stepper import Stepper
from geoseg_core.weights.chosen import stored_config
from geoseg_core.weights.loading import load_checkpoint

CPU = torch.device("cpu")
WORLDS = WorldsConfig(width=56, height=42, exo_min=2, exo_max=2, objects_max=4, difficulty=0.0)
RECIPE = SegVggtRecipe(
    model=SEGVGGT,
    data=DataConfig(worlds=WORLDS),
    optimiser=replace(new_at_full_rate(), learning_rate=2e-3),
    lora=LoraConfig(rank=4),
    instances=InstanceLossConfig(deep=0.0, least_px=8),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task():
    return SegVggtTask(RECIPE)


@pytest.fixture(scope="module")
def batch(task):
    return task.batch(0, [1_000_007], CPU)


@pytest.fixture(scope="module")
def vggt(tmp_path_factory):
    """Weights of a VGGT with all heads."""
    path = tmp_path_factory.mktemp("weights") / "vggt.safetensors"
    save_file(stirred(Vggt(VGGT)).state_dict(), path)
    return path


def begun(task, vggt):
    """A model from a VGGT, with the freezing and the rates of the recipe."""
    torch.manual_seed(0)
    model = task.model()
    task.load(model, load_file(vggt))
    freeze(model, task.config.optimiser.frozen)
    return model.train(), make_optimiser(model, task.config.optimiser)


def steps(task, model, optimiser, batch, count):
    totals = []
    for step in range(count):
        torch.manual_seed(0)
        losses = task.loss(model, batch, step)
        optimiser.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        totals.append(float(losses["total"].detach()))
    return totals


def test_two_steps_lower_the_loss_and_what_is_adapted_stays(task, vggt, batch):
    model, optimiser = begun(task, vggt)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        losses = task.loss(model, batch, 0)
    assert {"camera", "depth", "depth_gradients", "classes", "bce", "dice", "attention"} < set(losses)
    assert float(losses["total"]) == pytest.approx(sum(float(each) for name, each in losses.items() if name != "total"))
    totals = steps(task, model, optimiser, batch, 3)
    assert totals[2] < totals[1] < totals[0]
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    in_blocks = {name for name in moved if name.startswith(("aggregator.frame_blocks", "aggregator.global_blocks"))}
    assert in_blocks and all(".lora_" in name for name in in_blocks)
    assert not any(name.startswith("aggregator.patch_embed.") for name in moved)
    assert {"aggregator.camera_token", "decoder.queries", "feature_head.norm.weight", "depth_head.norm.weight"} < moved


def test_geometry_starts_as_that_of_the_vggt(task, vggt):
    model, _ = begun(task, vggt)
    images = random_images(1, 2)
    with torch.no_grad():
        assert torch.equal(model.eval()(images).depth, Vggt.from_checkpoint(vggt, VGGT)(images).depth)


def test_merged_weights_are_those_of_a_plain_model_that_says_the_same(task, vggt, batch):
    model, optimiser = begun(task, vggt)
    steps(task, model, optimiser, batch, 2)
    plain = SegVggt(SEGVGGT).eval()
    plain.load_state_dict(task.export(model), strict=True)
    start = load_file(vggt)
    changed = {
        name for name in start if name in plain.state_dict() and not torch.equal(plain.state_dict()[name], start[name])
    }
    adapted = {f"aggregator.{kind}_blocks.{row}.attn.{layer}.weight" for kind in ("frame", "global") for row in range(3)
               for layer in ("qkv", "proj")}  # fmt: skip
    assert {name for name in changed if "_blocks." in name} == adapted
    with torch.no_grad():
        said, again = model.eval()(batch.images), plain(batch.images)
    torch.testing.assert_close(again.depth, said.depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.queries.mask_logits, said.queries.mask_logits, rtol=1e-3, atol=1e-4)


def words(**values: object) -> list[str]:
    """Settings of the small recipe for the command line."""
    wanted, default = ({each.name: each.default for each in settings(each)} for each in (RECIPE, SegVggtRecipe()))
    changed = {name: value for name, value in wanted.items() if value != default[name]}
    loop = {
        "loop.batch": 1,
        "loop.workers": 0,
        "loop.evaluate_every": 0,
        "loop.picture_every": 0,
        "loop.final_samples": 1,
    }
    given = changed | loop | {name.replace("__", "."): value for name, value in values.items()}
    texts = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in given.items()}
    return [word for name, value in texts.items() for word in ("--set", f"{name}={value}")]


def test_the_trainer_releases_a_plain_model_from_which_another_training_can_start(task, vggt, tmp_path: Path):
    given = words(loop__weights=vggt, schedule__steps=1)
    assert cli.main(["train", "segvggt", "--out", str(tmp_path), "--device", "cpu", *given]) == 0
    path = tmp_path / "weights.safetensors"
    model = SegVggt(stored_config(path, SegVggtConfig()))
    load_checkpoint(model, path, torch.float32)
    assert model.config == SEGVGGT
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert {"abs_rel", "auc30", "iou"} <= set(metrics)
    images = random_images(1, 2)
    with torch.no_grad():
        again, _ = begun(task, path)
        assert torch.equal(again.eval()(images).queries.mask_logits, model.eval()(images).queries.mask_logits)


def test_a_checkpoint_holds_what_learns_alone_and_brings_it_back(vggt, batch):
    recipe = replace(RECIPE, loop=replace(RECIPE.loop, weights=str(vggt), batch=1, precision="fp32"))
    task = SegVggtTask(recipe)
    first, again = (Stepper(task, begun(task, vggt)[0], Devices(torch.device("cpu"), "fp32")) for _ in range(2))
    first.step(batch, 0, 1e-3)
    held = state_tensors(first)
    assert not any(".base_layer." in name or ".patch_embed." in name for name in held)
    assert any(name.startswith("optimiser.mean.") and ".lora_B." in name for name in held)
    give_state(again, held, "memory")
    assert first.step(batch, 1, 1e-3).losses == again.step(batch, 1, 1e-3).losses
    pairs = zip(first.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_weights_of_something_else_are_refused(task, vggt):
    tensors = load_file(vggt)
    del tensors["depth_head.norm.weight"]
    with pytest.raises(BadInput, match=r"1 missing \(depth_head.norm.weight\)"):
        task.load(task.model(), tensors)
    with pytest.raises(BadInput, match="missing .*decoder"):
        task.load(task.model(), load_file(vggt) | {"decoder.queries": torch.zeros(1, 6, 24)})


def test_a_teacher_gives_the_geometry_and_the_data_the_instances(vggt, batch):
    recipe = replace(RECIPE, teacher=TeacherConfig(str(vggt), 1.0, VGGT))
    taught = SegVggtTask(recipe)
    model, _ = begun(taught, vggt)
    with torch.no_grad():
        own, learned = SegVggtTask(RECIPE).loss(model, batch, 0), taught.loss(model, batch, 0)
    assert float(learned["depth_gradients"]) < 0.5 * float(own["depth_gradients"]), "it already says what it is taught"
    for name in ("classes", "bce", "dice", "attention"):
        assert float(learned[name]) == pytest.approx(float(own[name]), rel=1e-5)


def test_without_lora_the_attention_itself_learns_or_stays(vggt, batch):
    for frozen, learns in (((), True), (("aggregator.",), False)):
        optimiser = OptimiserConfig(frozen=frozen, slow=("depth_head.",))
        task = SegVggtTask(replace(RECIPE, lora=LoraConfig(rank=0), optimiser=optimiser))
        model, _ = begun(task, vggt)
        assert all(value.requires_grad == learns for value in model.aggregator.parameters())
        assert set(task.export(model)) == set(SegVggt(SEGVGGT).state_dict())


def test_attention_that_is_not_aligned_and_losses_of_every_layer(task, vggt, batch):
    loose = replace(RECIPE, instances=InstanceLossConfig(attention=0.0, deep=1.0, least_px=8))
    model, _ = begun(task, vggt)
    losses = SegVggtTask(loose).loss(model, batch, 0)
    assert losses["attention"] == 0 and losses["deep"] > 0


@torch.no_grad()
def test_pictures_show_the_truth_and_what_was_found(task, vggt, batch):
    model, _ = begun(task, vggt)
    picture = task.picture(model.eval(), batch)
    assert picture.dtype == np.uint8 and picture.shape == (2 * 42, 3 * 56, 3)


def test_rates_of_what_is_new_and_what_was_there(task, vggt):
    model, optimiser = begun(task, vggt)
    names = {id(value): name for name, value in model.named_parameters()}
    fast, slow = ({names[id(value)] for group in optimiser.param_groups if group["share"] == share
                   for value in group["params"]} for share in (1.0, 0.1))  # fmt: skip
    assert fast == {name for name in names.values() if name.startswith(("decoder.", "feature_head."))}
    assert "camera_head.empty_pose_tokens" in slow and any(".lora_A." in name for name in slow)


def test_classes_come_from_the_data(batch):
    several = SegVggtTask(replace(RECIPE, model=replace(SEGVGGT, queries=replace(SEGVGGT.queries, classes=3))))
    torch.manual_seed(0)
    model = several.model()
    with pytest.raises(BadInput, match="class ids to learn 3 classes"):
        several.loss(model, replace(batch, class_ids=None), 0)
    kinds = torch.where(batch.instance_ids > 0, 1 + batch.instance_ids % 3, 0)
    others = torch.where(batch.instance_ids > 0, 1 + (batch.instance_ids + 1) % 3, 0)
    with torch.no_grad():
        costs = [float(several.loss(model, replace(batch, class_ids=each), 0)["classes"]) for each in (kinds, others)]
    assert costs[0] != pytest.approx(costs[1], rel=1e-4)


def test_nothing_of_the_geometry_to_learn_is_refused():
    with pytest.raises(BadConfig, match="expected a share above 0"):
        SegVggtTask(replace(RECIPE, loss=VggtLossConfig(camera=0, depth=0)))


def test_the_default_is_the_released_size():
    config = recipe_named("segvggt").config_type()()
    assert isinstance(config, SegVggtRecipe)
    assert (config.model.width, config.model.queries.queries, config.lora.rank) == (1024, 400, 32)
    assert (config.data.worlds.width, config.data.reader.width) == (518, 518)
