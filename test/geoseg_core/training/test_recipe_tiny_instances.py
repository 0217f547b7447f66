"""The recipe of the instance network: that it learns, and what it says of held-out samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import TINY

from geoseg_core import cli
from geoseg_core.config import build
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.instances.queries.decoding import FoundInstances
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.model import InstanceField, TinyInstances
from geoseg_core.training.instance_metrics import field_figures, instance_figures
from geoseg_core.training.label_pictures import label_rows
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.tiny_instances import TinyInstancesRecipe, TinyInstancesTask
from geoseg_core.training.task import step_seeds
from geoseg_core.weights.chosen import config_metadata, stored_config
from geoseg_core.weights.loading import load_checkpoint

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
    "data.worlds.exo_min": 2,
    "data.worlds.exo_max": 2,
    "data.worlds.objects_max": 5,
    "optimiser.learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(TinyGeometry(TINY).state_dict(), path, config_metadata(TINY))
    return str(path)


@pytest.fixture(scope="module")
def task(weights):
    return TinyInstancesTask(build(TinyInstancesRecipe, VALUES | {"encoder": weights}))


def test_it_learns_a_world_by_heart_and_the_network_stays_as_it_is(task):
    torch.manual_seed(0)
    before = [each.clone() for each in task._encoder.parameters()]
    batch, model = task.batch(0, [7], CPU), task.model()
    with torch.no_grad():
        at_first = task.metrics(model.eval(), batch)
    optimiser, totals = make_optimiser(model.train(), task.config.optimiser), []
    for step in range(60):
        parts = task.loss(model, batch, step)
        optimiser.zero_grad()
        parts["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        totals.append(float(parts["total"].detach()))
    with torch.no_grad():
        figures = task.metrics(model.eval(), batch)
    assert np.mean(totals[-4:]) < 0.4 * totals[0]
    assert figures["iou"] > 0.4 and figures["iou"] > at_first["iou"] + 0.2 and figures["ap50"] > at_first["ap50"]
    assert figures["told_apart"] > 0.9 and figures["things_iou"] > 0.5
    assert all(torch.equal(old, new) for old, new in zip(before, task._encoder.parameters(), strict=True))


def test_the_trainer_runs_it_and_what_it_writes_can_be_built_again(weights, tmp_path):
    values = VALUES | {"encoder": weights, "schedule.steps": 2, "loop.batch": 2, "loop.final_samples": 2}
    texts = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
    words = [word for name, value in texts.items() for word in ("--set", f"{name}={value}")]
    assert cli.main(["train", "tiny-instances", "--out", str(tmp_path), "--device", "cpu", *words]) == 0
    path = tmp_path / "weights.safetensors"
    network = TinyInstances(stored_config(path, TinyInstancesConfig()))
    load_checkpoint(network, path, torch.float32)
    assert network.config.queries.queries == 12


@pytest.mark.parametrize("shown", [[0], [1, 0]])
def test_fewer_views_teach_too(task, shown):
    batch = task.batch(0, [7, 8], CPU)
    some = replace(batch, **{name: value[:, shown] for name, value in batch.tensors().items() if value.ndim > 1})
    parts = task.loss(task.model(), some, 0)
    assert torch.isfinite(parts["total"]) and parts["bce"] > 0
    assert (parts["attention"] > 1e-6) == (len(shown) > 1), "one view has all the attention"


def test_scenes_without_a_thing_teach_and_have_no_figures(task):
    batch = task.batch(0, [7, 8], CPU)
    bare, model = replace(batch, instance_ids=torch.zeros_like(batch.instance_ids)), task.model()
    parts = task.loss(model, bare, 0)
    parts["total"].backward()
    assert parts["bce"] == parts["dice"] == parts["attention"] == parts["contrast"] == 0 < parts["classes"]
    with torch.no_grad():
        assert task.metrics(model.eval(), bare) == {}


@torch.no_grad()
def test_figures_and_pictures_of_held_out_samples(task):
    batch, model = task.held_out([0, 1], CPU), task.model().eval()
    figures = task.metrics(model, batch)
    assert set(figures) == {"iou", "ap50", "told_apart", "things_iou"}
    assert all(0 <= value <= 1 for value in figures.values())
    picture = task.picture(model, batch)
    assert picture.dtype == np.uint8 and picture.shape == (4 * 64 + 4, 3 * 96, 3)


def test_what_cannot_be_trained_is_refused(task, weights):
    with pytest.raises(BadInput, match="instance ids"):
        task.loss(task.model(), replace(task.batch(0, [7], CPU), instance_ids=None), 0)
    sizes = r"\(32, 2, 8, 16\), got \(32, 4, 8, 16\)"
    wrong = (
        ("queries.classes", 3, "expected 1"),
        ("queries.token_layers", 2, "expected 3, those of the network and the trunk"),
        ("layers", 4, sizes),
    )
    for name, value, words in wrong:
        with pytest.raises(BadConfig, match=words):
            values = VALUES | {"encoder": weights, "model.queries.token_layers": 5 if name == "layers" else 3}
            TinyInstancesTask(build(TinyInstancesRecipe, values | {f"model.{name}": value}))


def found(labels, scores):
    labels, count = torch.tensor(labels), len(scores)
    masks = torch.stack([labels == number + 1 for number in range(count)])
    return FoundInstances(torch.tensor(scores), torch.zeros(count).long(), torch.arange(count), masks, labels)


def test_figures_by_hand(task):
    truth = torch.tensor([[[[1, 1, 2, 2]], [[1, 1, 0, 9]]]])
    batch = replace(
        task.batch(0, [7], CPU),
        images=torch.zeros(1, 2, 3, 1, 4),
        instance_ids=truth,
        object_to_world=torch.zeros(1, 2, 3, 4, 4),
    )
    # The first has three of four pixels of thing 1 over both views, the second one of two of thing 2; 9 is no thing.
    instances = found([[[1, 1, 0, 2]], [[1, 0, 0, 0]]], [0.9, 0.8])
    figures = instance_figures([instances], batch, 1)
    assert figures["iou"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert figures["ap50"] == pytest.approx(1 / 2), "an overlap of one half is not more than one half"
    assert instance_figures([instances], batch, 4)["iou"] == pytest.approx(3 / 4)
    assert instance_figures([instances], batch, 5) == {}


def test_figures_of_the_field_by_hand(task):
    batch = replace(task.batch(0, [7], CPU), images=torch.zeros(1, 1, 3, 1, 4), object_to_world=None)
    batch = replace(batch, instance_ids=torch.tensor([[[[1, 1, 2, 0]]]]))
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    things = torch.tensor([[[[1.0, 1.0, -1.0, 1.0]]]])
    apart = torch.stack((one, one, other, one), dim=-1).view(1, 1, 2, 1, 4)
    assert field_figures(InstanceField(apart, things), batch) == pytest.approx({"told_apart": 1, "things_iou": 2 / 4})
    alike = torch.stack((one, one, one, one), dim=-1).view(1, 1, 2, 1, 4)
    assert field_figures(InstanceField(alike, things), batch)["told_apart"] == pytest.approx(0.5)


def test_batches_come_back_as_often_as_they_are_asked_to(weights):
    values = {"encoder": weights, "reuse.uses": 2, "reuse.apart": 3, "loop.batch": 2}
    task = TinyInstancesTask(build(TinyInstancesRecipe, VALUES | values))
    seen = [task.batch(step, step_seeds(0, step, 2), CPU) for step in range(12)]
    order = [int(next(k for k, other in enumerate(seen) if other is each)) for each in seen]
    # New ones at the even steps; each comes back three new ones later. Until then the odd steps take what there is.
    assert order == [0, 0, 2, 0, 4, 4, 6, 0, 8, 2, 10, 4]
    fresh = TinyInstancesTask(build(TinyInstancesRecipe, VALUES | values))
    again = fresh.batch(9, step_seeds(0, 9, 2), CPU)
    assert torch.equal(again.images, seen[9].images) and torch.equal(again.tokens, seen[9].tokens)
    once = TinyInstancesTask(build(TinyInstancesRecipe, VALUES | values | {"reuse.uses": 1}))
    first, second = (once.batch(step, step_seeds(0, step, 2), CPU) for step in range(2))
    assert not torch.equal(first.images, second.images)


def test_rows_show_the_truth_above_what_was_found():
    images, labels = torch.ones(2, 1, 3, 2, 2), torch.zeros(2, 1, 2, 2, dtype=torch.long)
    marked = labels.clone()
    marked[0, 0, 0, 0] = 1
    rows = label_rows(images, marked, labels)
    assert rows.shape == (2 * 4 + 4, 2, 3)
    assert rows[0, 0].tolist() != [127, 127, 127] and rows[0, 1].tolist() == [127, 127, 127]
    assert (rows[2:4] == 127).all() and (rows[4:8] == 255).all()
