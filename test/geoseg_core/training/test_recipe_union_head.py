"""The recipe of the union head: what is chosen to be carried, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoseg_core.config import build
from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig
from geoseg_core.training.mask_pictures import mask_rows
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.union_head import (
    HeadPairsConfig,
    UnionHeadRecipe,
    UnionHeadTask,
    chosen_pairs,
    overlap,
)
from geoseg_core.weights.chosen import config_metadata

CPU = torch.device("cpu")
ENCODER = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=1, heads=2), fused=(16, 16), coarse=8, fine=8
)
VALUES = {
    "model.width": 16,
    "model.input_width": 24,
    "model.heads": 2,
    "model.fusion_width": 24,
    "model.fusion_inner": 8,
    "model.fusion_hidden": 32,
    "model.token_inner": 8,
    "model.token_hidden": 20,
    "model.upscale_channels": (6, 4),
    "data.worlds.width": 64,
    "data.worlds.height": 48,
    "data.worlds.difficulty": 0.0,
    "optimiser.learning_rate": 3e-3,
    "pairs.least_px": 12,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    # As weights are shipped.
    save_file(TinyGeometry(ENCODER).half().state_dict(), path, config_metadata(ENCODER))
    return str(path)


@pytest.fixture(scope="module")
def task(weights):
    return UnionHeadTask(build(UnionHeadRecipe, VALUES | {"encoder": weights}))


@pytest.fixture(scope="module")
def batch(task):
    return task.batch(0, [7, 8, 9], CPU)


def test_it_learns_what_it_is_shown_and_the_encoder_stays_as_it_is(task, batch):
    torch.manual_seed(0)
    before = [each.clone() for each in task._encoder.parameters()]
    model = task.model()
    optimiser = make_optimiser(model, task.config.optimiser)
    totals = []
    for step in range(30):
        torch.manual_seed(step % 2)
        parts = task.loss(model, batch, step)
        values = {name: float(value.detach()) for name, value in parts.items()}
        assert values["focal"] + values["dice"] + values["presence"] == pytest.approx(values["total"], rel=1e-4)
        optimiser.zero_grad()
        parts["total"].backward()
        optimiser.step()
        totals.append(values["total"])
    assert np.mean(totals[-4:]) < 0.8 * np.mean(totals[:4])
    assert all(torch.equal(old, new) for old, new in zip(before, task._encoder.parameters(), strict=True))


def test_single_images_teach_it_too(weights, batch):
    task = UnionHeadTask(build(UnionHeadRecipe, VALUES | {"encoder": weights, "pairs.kind": "image"}))
    one = replace(batch, images=batch.images[:, :1], instance_ids=batch.instance_ids[:, :1])
    model = task.model()
    for step in (0, 1):
        parts = task.loss(model, one, step)
        parts["total"].backward()
        assert torch.isfinite(parts["total"]) and parts["total"] > 0
    with torch.no_grad():
        figures = task.metrics(model, one)
        assert 0 <= figures["iou_image"] <= 1 and figures == task.metrics(model, one)
        assert task.picture(model, one).shape[1:] == (3 * 64, 3)


def test_the_largest_objects_of_the_source_are_carried(batch):
    ids = torch.zeros(2, 2, 6, 8, dtype=torch.long)
    ids[0, 0, :4, :4], ids[0, 0, 4:, :3], ids[0, 0, 0, 7] = 5, 2, 9
    ids[0, 1, 2:, 4:] = 5
    small = replace(batch, images=torch.zeros(2, 2, 3, 6, 8), instance_ids=ids, object_to_world=None)
    found = chosen_pairs(small, 0, 1, HeadPairsConfig(objects=2, least_px=2))
    assert found.scenes.tolist() == [0, 0]
    assert found.masks.flatten(1).sum(dim=1).tolist() == [16, 6]
    assert found.truth.flatten(1).sum(dim=1).tolist() == [16, 0]
    assert found.sources.tolist() == [0, 0] and found.targets.tolist() == [1, 1]
    assert len(chosen_pairs(small, 0, 1, HeadPairsConfig(least_px=17)).scenes) == 0
    known = replace(small, object_to_world=torch.eye(4).expand(2, 2, 4, 4, 4))
    assert chosen_pairs(known, 0, 1, HeadPairsConfig(least_px=2)).masks.flatten(1).sum(dim=1).tolist() == [6]


def test_masks_are_carried_over_time_between_sets_that_do_not_see_each_other(weights):
    values = VALUES | {"encoder": weights, "pairs.over_time": True, "data.worlds.moments": 2, "data.any_first": True}
    task = UnionHeadTask(build(UnionHeadRecipe, values))
    batch = task.batch(1, [7, 8], CPU)
    between, over_time = task._ways(batch)
    assert len(between) == 4 and len(over_time) == 4
    assert all(batch.moments[0, source] == batch.moments[0, target] for source, target in between)
    assert all(batch.cameras[source] == batch.cameras[target] for source, target in over_time)
    chosen = chosen_pairs(batch, *over_time[0], task.config.pairs)
    plain = task.head_input(batch, chosen)
    blind = batch.images.clone()
    blind[:, over_time[0][1]] = 0
    changed = task.head_input(replace(batch, images=blind), chosen)
    assert torch.allclose(plain.source_maps, changed.source_maps, atol=1e-5)
    assert not torch.allclose(plain.target_maps, changed.target_maps, atol=1e-2)
    torch.manual_seed(0)
    parts = task.loss(task.model(), batch, 0)
    assert parts["total"] > 0 and "iou_time" in task.metrics(task.model().eval(), batch)


def test_a_batch_without_an_object_to_carry_costs_nothing(weights, batch):
    task = UnionHeadTask(build(UnionHeadRecipe, VALUES | {"encoder": weights, "pairs.least_px": 48 * 64}))
    model = task.model()
    parts = task.loss(model, batch, 0)
    parts["total"].backward()
    assert parts["total"] == 0 and all((each.grad == 0).all() for each in model.parameters())
    assert task.picture(model, batch).shape == (1, 1, 3)


def test_samples_without_instance_ids_are_refused(task, batch):
    with pytest.raises(BadInput, match="instance ids"):
        task.loss(task.model(), replace(batch, instance_ids=None), 0)


@torch.no_grad()
def test_figures_and_pictures_of_held_out_samples(task):
    held_out = task.held_out([0, 1, 2, 3], CPU)
    figures = task.metrics(task.model().eval(), held_out)
    assert {"iou_ego_exo", "iou_exo_ego", "iou_prior_ego_exo"} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())
    picture = task.picture(task.model().eval(), held_out)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (3 * 64, 3)


def test_overlaps_by_hand():
    found, truth = torch.zeros(3, 2, 4, dtype=torch.bool), torch.zeros(3, 2, 4, dtype=torch.bool)
    found[0, 0, :3], truth[0, 0, 1:] = True, True
    found[1, 0, 0] = True
    assert overlap(found, truth).tolist() == [0.5, 0.0, 1.0]


def test_a_row_shows_source_truth_and_found():
    images, mask = torch.ones(1, 2, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool)
    marked = mask.clone()
    marked[0, 0, 0] = True
    row = mask_rows(images, (marked, mask, mask))
    assert row.shape == (2, 6, 3)
    assert row[0, 0].tolist() == [242, 157, 147] and row[0, 1].tolist() == [127, 127, 127]
    assert (row[:, 2:] == 127).all()
