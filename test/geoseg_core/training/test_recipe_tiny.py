"""The recipe of the small network: it learns, and right answers cost nothing."""

from dataclasses import replace

import pytest
import torch

from geoseg_core.config import build
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.tiny import (
    TinyRecipe,
    TinyTask,
    depth_losses,
    focal_loss,
    place_losses,
    random_places,
)

CPU = torch.device("cpu")
VALUES = {
    "model.channels": (16, 16, 16),
    "model.width": 32,
    "model.aggregator.depth": 1,
    "model.aggregator.heads": 2,
    "model.fused": (16, 16),
    "data.worlds.width": 64,
    "data.worlds.height": 48,
    "data.worlds.exo_max": 1,
    "data.worlds.objects_max": 3,
    "data.worlds.objects_min": 1,
    "data.worlds.difficulty": 0.0,
    "optimiser.learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def task():
    return TinyTask(build(TinyRecipe, VALUES))


@pytest.fixture(scope="module")
def batch(task):
    return task.batch(0, [7, 8], CPU)


@pytest.fixture(scope="module")
def output(task, batch):
    torch.manual_seed(0)
    with torch.no_grad():
        return task.model().eval()(batch.images)


def test_losses_fall_on_a_few_scenes(task, batch):
    torch.manual_seed(0)
    model = task.model()
    optimiser = make_optimiser(model, task.config.optimiser)
    first, last = None, None
    for step in range(25):
        parts = task.loss(model, batch, step)
        optimiser.zero_grad()
        parts["total"].backward()
        optimiser.step()
        last = {name: float(value.detach()) for name, value in parts.items()}
        first = first or last
    assert last["total"] < 0.8 * first["total"]
    assert last["depth"] < first["depth"] and last["coarse"] < first["coarse"]
    assert sum(value for name, value in last.items() if name != "total") == pytest.approx(last["total"], rel=1e-4)


def test_true_depth_in_another_unit_costs_its_unit_alone(batch, output):
    right = replace(output, log_depth=(2 * batch.depth).log(), log_spread=torch.zeros_like(batch.depth))
    losses = depth_losses(right, batch)
    assert losses["unit"].item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-4)
    assert losses["depth"].item() < 1e-4 and losses["slope"].item() < 1e-4


def test_one_view_too_deep_costs_depth_but_no_slope(batch, output):
    wrong = batch.depth.log().clone()
    wrong[:, 0] += 0.4
    losses = depth_losses(replace(output, log_depth=wrong), batch)
    assert losses["depth"].item() == pytest.approx(0.2, abs=1e-3)  # 0.4 and 0 about their mean
    assert losses["slope"].item() < 1e-4


def test_a_focal_length_that_is_ten_per_cent_off_costs_its_logarithm(batch, output):
    wrong = (1.1 * batch.intrinsics[..., 0, 0] / 64).log()
    assert focal_loss(replace(output, log_focal=wrong), batch).item() == pytest.approx(0.0953, abs=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_places_are_drawn_on_things_as_often_as_asked_for(batch, task, share):
    settings = replace(task.config.loss, on_things=share, points=4000)
    places = random_places(batch, 1, settings).long()
    scene = torch.arange(len(places))[:, None]
    found = (batch.instance_ids[scene, 1, places[..., 1], places[..., 0]] > 0).float().mean(dim=1)
    covered = (batch.instance_ids[:, 1] > 0).float().mean(dim=(1, 2))
    expected = torch.ones_like(found) if share else covered
    assert torch.allclose(found, expected, atol=0.04)


def test_places_lie_anywhere_where_no_thing_is_known(batch, task):
    places = random_places(replace(batch, instance_ids=None), 0, task.config.loss)
    height, width = batch.images.shape[-2:]
    assert places.std(dim=1).mean() > 0.2 * width and places.amax() < max(height, width)


def test_descriptors_that_say_where_they_are_in_the_room_cost_less(task, batch, output):
    """Random Fourier features of the true points of the room agree where two views see one place."""
    generator = torch.Generator().manual_seed(0)
    waves = 20 * torch.randn(3, 32, generator=generator)
    height, width = batch.images.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u)), dim=-1).float()
    rays = torch.einsum("bvij,hwj->bvhwi", batch.intrinsics.inverse(), pixels) * batch.depth[..., None]
    pose = batch.camera_to_world
    world = torch.einsum("bvij,bvhwj->bvhwi", pose[..., :3, :3], rays) + pose[:, :, None, None, :3, 3]
    told = torch.cat(((world @ waves).sin(), (world @ waves).cos()), dim=-1).movedim(-1, 2)
    coarse = 3 * torch.nn.functional.avg_pool2d(told.flatten(0, 1), 8).unflatten(0, (2, -1))
    anywhere = replace(task.config.loss, on_things=0.0)
    torch.manual_seed(0)
    plain = place_losses(output, batch, (0, 1), anywhere)
    torch.manual_seed(0)
    wise = place_losses(replace(output, coarse=coarse), batch, (0, 1), anywhere)
    assert wise["coarse"] < plain["coarse"] - 0.3


def test_figures_and_pictures_of_held_out_scenes(task, batch):
    torch.manual_seed(0)
    model = task.model().eval()
    with torch.no_grad():
        figures = task.metrics(model, batch)
        picture = task.picture(model, batch)
    names = {"rotation_deg", "direction_deg", "auc30", "abs_rel", "delta125", "tracks_near", "visibility_right"}
    assert set(figures) == names
    assert all(0 <= figures[name] <= 1 for name in ("auc30", "delta125", "tracks_near", "visibility_right"))
    assert picture.dtype.name == "uint8" and picture.ndim == 3 and picture.std() > 10
