"""The recipe of the small geometry network and the instance network together: what is adapted, and what stays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import TINY

from geoseg_core.config import build
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.training.optimiser import freeze, make_optimiser
from geoseg_core.training.recipes.tiny_joint import JointConfig, JointNetwork, TinyJointRecipe, TinyJointTask
from geoseg_core.training.registry import recipe_named
from geoseg_core.weights.chosen import config_metadata, stored_config

CPU = torch.device("cpu")
VALUES = {
    "model.layers": 2,
    "model.coarse": 8,
    "model.fused": 16,
    "model.trunk": (32, 32, 32),
    "model.queries.token_width": 32,
    "model.queries.token_layers": 3,
    "model.queries.queries": 12,
    "model.queries.width": 32,
    "model.queries.features": 16,
    "data.worlds.width": 96,
    "data.worlds.height": 64,
    "data.worlds.difficulty": 0.0,
    "data.worlds.exo_min": 1,
    "data.worlds.exo_max": 1,
    "data.worlds.objects_max": 5,
    "geometry.points": 32,
    "lora.rank": 4,
    "optimiser.learning_rate": 2e-3,
}
GEOMETRY = {"depth", "unit", "slope", "spread", "focal", "coarse", "fine"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(TinyGeometry(TINY).state_dict(), path, config_metadata(TINY))
    return str(path)


def begun(weights, **values):
    task = TinyJointTask(build(TinyJointRecipe, VALUES | {"encoder": weights} | values))
    torch.manual_seed(0)
    model = task.model()
    freeze(model, task.config.optimiser.frozen)
    return task, model.train()


def steps(task, model, batch, count):
    optimiser, totals = make_optimiser(model, task.config.optimiser), []
    for step in range(count):
        torch.manual_seed(0)
        losses = task.loss(model, batch, step)
        optimiser.zero_grad()
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        totals.append({name: float(value.detach()) for name, value in losses.items()})
    return totals


def test_two_steps_lower_the_loss_and_merged_weights_say_the_same(weights):
    task, model = begun(weights)
    batch = task.batch(0, [7], CPU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    totals = steps(task, model, batch, 3)
    assert totals[2]["total"] < totals[1]["total"] < totals[0]["total"]
    assert GEOMETRY | {"classes", "bce", "dice", "attention", "contrast", "things"} < set(totals[0])
    parts = sum(value for name, value in totals[0].items() if name != "total")
    assert totals[0]["total"] == pytest.approx(parts, rel=1e-5)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    of_encoder = {name for name in moved if name.startswith("encoder.")}
    assert of_encoder and all(".lora_" in name for name in of_encoder)

    encoder = TinyGeometry(TINY)
    exported = task.export(model)
    start = len("encoder.")
    encoder.load_state_dict({name[start:]: value for name, value in exported.items() if name.startswith("encoder.")})
    plain = JointNetwork(encoder, TinyJointTask.model(task).instances).eval()
    plain.load_state_dict(exported)
    with torch.no_grad():
        (geometry, queries, field), again = model.eval()(batch.images), plain(batch.images)
    torch.testing.assert_close(again[0].log_depth, geometry.log_depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again[1].mask_logits, queries.mask_logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(again[2].features, field.features, rtol=1e-3, atol=1e-4)


def test_without_rank_the_network_stays_as_it_is(weights):
    task, model = begun(weights, **{"lora.rank": 0})
    batch = task.batch(0, [7], CPU)
    totals = steps(task, model, batch, 2)
    assert not GEOMETRY & set(totals[0])
    start = TinyGeometry(TINY)
    start.load_state_dict(task._encoder.state_dict())
    pairs = zip(model.encoder.parameters(), start.parameters(), strict=True)
    assert all(torch.equal(now, before) and not now.requires_grad for now, before in pairs)


@torch.no_grad()
def test_figures_of_instances_and_geometry_beside_those_before(weights, tmp_path: Path):
    task, model = begun(weights)
    batch = task.held_out([0], CPU)
    figures = task.metrics(model.eval(), batch)
    assert {"iou", "ap50", "told_apart", "things_iou", "abs_rel", "tracks_near", "abs_rel_before"} <= set(figures)
    assert figures["abs_rel"] == pytest.approx(figures["abs_rel_before"], rel=1e-4), "nothing is learned yet"
    picture = task.picture(model, batch)
    assert picture.dtype == np.uint8 and picture.shape == (2 * 64, 2 * 96, 3)
    path = tmp_path / "weights.safetensors"
    save_file(task.export(model), path, task.stored())
    assert stored_config(path, JointConfig()) == JointConfig(TINY, task.config.model)
    again = task.model()
    task.load(again, {name: value.clone() for name, value in task.export(model).items()})
    assert torch.equal(again.eval()(batch.images)[1].mask_logits, model(batch.images)[1].mask_logits)


def test_scenes_are_new_in_every_step(weights):
    task, _ = begun(weights)
    first, second = (task.batch(step, [step], CPU) for step in (0, 1))
    assert not torch.equal(first.images, second.images)
    assert recipe_named("tiny-joint").task_type() is TinyJointTask
