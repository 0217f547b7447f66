"""The recipe of MV-SAM on the small network: that it learns, and from what."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import TINY

from geoseg_core.config import build
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.instances.tiny.model import TinyInstances
from geoseg_core.prompting.mv_sam.config import MvSamConfig
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam, TinyMvSamConfig
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.tiny_mv_sam import TinyMvSamRecipe, TinyMvSamTask
from geoseg_core.weights.chosen import config_metadata

CPU = torch.device("cpu")
VALUES = {
    "model.features.layers": 2,
    "model.features.coarse": 8,
    "model.features.fused": 16,
    "model.features.trunk": (32, 32, 32),
    "model.features.queries.token_width": 32,
    "model.features.queries.token_layers": 3,
    "model.features.queries.features": 16,
    "model.decoder.image": 32,
    "model.decoder.fine": 25,
    "model.decoder.width": 32,
    "model.decoder.inner": 16,
    "model.decoder.hidden": 64,
    "model.decoder.heads": 2,
    "data.worlds.width": 96,
    "data.worlds.height": 64,
    "data.worlds.difficulty": 0.0,
    "data.worlds.exo_min": 2,
    "data.worlds.exo_max": 2,
    "data.worlds.objects_max": 5,
    "optimiser.learning_rate": 3e-3,
    "features": "",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(TinyGeometry(TINY).state_dict(), path, config_metadata(TINY))
    return str(path)


@pytest.fixture(scope="module")
def task(weights):
    return TinyMvSamTask(build(TinyMvSamRecipe, VALUES | {"encoder": weights}))


def test_it_learns_a_world_by_heart(task):
    torch.manual_seed(0)
    batch, model = task.batch(0, [7], CPU), task.model()
    with torch.no_grad():
        at_first = task.metrics(model.eval(), batch)
    optimiser, totals = make_optimiser(model.train(), task.config.optimiser), []
    for step in range(80):
        parts = task.loss(model, batch, step)
        optimiser.zero_grad()
        parts["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        totals.append(float(parts["total"].detach()))
    with torch.no_grad():
        figures = task.metrics(model.eval(), batch)
    assert np.mean(totals[-8:]) < 0.6 * np.mean(totals[:2])
    assert figures["iou_points"] > at_first["iou_points"] + 0.2
    picture = task.picture(model, batch)
    assert picture.shape == (2 * 64 + 4 - 4, 3 * 96, 3)


def test_points_are_those_that_the_network_finds_and_stay_numbers(task):
    batch = task.held_out([3, 4], CPU)
    assert batch.points.shape == (2, 3, 64, 96, 3) and bool(torch.isfinite(batch.points).all())
    depth = batch.log_depth[0, 0].exp()
    # The first view's points are in its own frame: their z is its depth, means over cells of four pixels.
    z = torch.nn.functional.avg_pool2d(batch.points[0, 0, ..., 2].log()[None], 4)[0].exp()
    assert torch.allclose(z, depth, rtol=1e-3)
    # A pixel's point is projected to the middle of that pixel.
    point = torch.cat((batch.points[1, 2, 10, 20], torch.ones(1)))
    u, v, ahead = (batch.projections[1, 2] @ point).tolist()
    assert (96 * u / ahead - 0.5, 64 * v / ahead - 0.5) == pytest.approx((20, 10), abs=1e-2)


def test_the_features_begin_as_those_of_the_instance_network(weights, tmp_path):
    config = build(TinyMvSamRecipe, VALUES | {"encoder": weights}).model.features
    torch.manual_seed(5)
    network = TinyInstances(config)
    save_file(network.state_dict(), tmp_path / "instances.safetensors", config_metadata(config))
    values = VALUES | {"encoder": weights, "features": str(tmp_path / "instances.safetensors")}
    model = TinyMvSamTask(build(TinyMvSamRecipe, values)).model()
    own = network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in model.features.state_dict().items())
    with pytest.raises(BadInput, match=r"trunk\.from_deep\.weight"):
        TinyMvSamTask(build(TinyMvSamRecipe, values | {"model.features.trunk": (16, 32, 32)})).model()


def test_no_thing_in_sight_gives_a_loss_of_nothing(task):
    batch, model = task.held_out([7], CPU), task.model()
    batch.instance_ids.zero_()
    parts = task.loss(model, batch, 0)
    assert float(parts["total"].detach()) == 0 and math.isfinite(task.metrics(model, batch)["iou_click"])
    parts["total"].backward()


def test_a_decoder_for_other_features_is_refused():
    with pytest.raises(BadConfig, match="expected image, stride, fine and fine_stride"):
        TinyMvSam(TinyMvSamConfig(decoder=MvSamConfig(image=256, fine=64)))
