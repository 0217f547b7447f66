"""The recipe of the memory: it learns through a head that stays as it is, and from what it is shown alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoseg_core.config import build
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig
from geoseg_core.memory.config import MemoryConfig
from geoseg_core.memory.networks import TemporalMemory
from geoseg_core.training.mask_pairs import chosen_pairs
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.training.recipes.union_memory import UnionMemoryRecipe, UnionMemoryTask, clip_of, tiny_memory, ways_to
from geoseg_core.training.taught_memories import TRUE, Past, TaughtConfig, degraded, places, recalled
from geoseg_core.weights.chosen import config_metadata

CPU = torch.device("cpu")
ENCODER = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=1, heads=2), fused=(16, 16), coarse=8, fine=8
)
HEAD = UnionHeadConfig(
    width=16, input_width=24, input_shrink=2, heads=2, map_stride=8, fusion_stride=2, fusion_width=24, fusion_inner=8,
    fusion_hidden=32, token_inner=8, token_hidden=20, upscale_channels=(6, 4),
)  # fmt: skip
VALUES = {
    "model.map_width": 24,
    "model.token_width": 16,
    "model.width": 32,
    "model.memory_width": 16,
    "model.mask_channels": (4, 8),
    "model.layers": 1,
    "model.hidden": 32,
    "model.dropout": 0.0,
    "data.worlds.width": 64,
    "data.worlds.height": 48,
    "data.worlds.moments": 3,
    "data.worlds.difficulty": 0.0,
    "optimiser.learning_rate": 5e-3,
    "pairs.least_px": 12,
}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    files, encoder, head = {}, TinyGeometry(ENCODER), UnionHead(HEAD)
    # A head that is as sure of its masks as a trained one.
    head.mask_decoder.output_hypernetworks_mlps[0].layers[-1].weight.data *= 40
    for name, model, config in (("encoder", encoder, ENCODER), ("head", head, HEAD)):
        files[name] = str(folder / f"{name}.safetensors")
        # Shipped weights are in half precision.
        half = {key: each.half() if name == "head" else each for key, each in model.state_dict().items()}
        save_file(half, files[name], config_metadata(config))
    return VALUES | files


@pytest.fixture(scope="module")
def task(values):
    return UnionMemoryTask(build(UnionMemoryRecipe, values))


@pytest.fixture(scope="module")
def batch(task):
    return task.batch(0, [7, 8, 9], CPU)


def past_of(task, batch, last: int) -> Past:
    sets = clip_of(batch)
    chosen = chosen_pairs(batch, *ways_to(batch, sets, last)[1][0], task.pairs)
    return task._looks(batch, task.encoded(batch.images, sets), chosen, sets[:last]).past


def test_the_memory_learns_through_a_head_and_an_encoder_that_stay_as_they_are(task, batch):
    torch.manual_seed(0)
    frozen = [*task._encoder.parameters(), *task._head.parameters()]
    before = [each.clone() for each in frozen]
    model = task.model()
    optimiser = make_optimiser(model, task.config.optimiser)
    totals = []
    for step in range(24):
        torch.manual_seed(step % 2)
        parts = task.loss(model, batch, step)
        optimiser.zero_grad()
        parts["total"].backward()
        optimiser.step()
        totals.append(float(parts["total"].detach()))
    assert np.mean(totals[-4:]) < 0.8 * np.mean(totals[:4])
    assert all(torch.equal(old, new) and new.grad is None for old, new in zip(before, frozen, strict=True))
    for part in (model.encoder, model.attention):
        gradients = [each.grad for each in part.parameters()]
        assert all(each is not None and torch.isfinite(each).all() for each in gradients)
        assert sum(bool((each != 0).any()) for each in gradients) > 0.8 * len(gradients)


def test_it_trains_under_autocast(task, batch):
    model = task.model()
    torch.nn.init.normal_(model.attention.up.weight, std=0.1)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        parts = task.loss(model, batch, 0)
    parts["total"].backward()
    assert torch.isfinite(parts["total"]) and model.encoder.narrow.weight.grad.abs().sum() > 0


def test_where_all_memories_are_lost_the_head_is_alone_and_nothing_is_learned(values, batch):
    task = UnionMemoryTask(build(UnionMemoryRecipe, values | {"taught.dropped": 1.0}))
    model = task.model()
    torch.nn.init.normal_(model.attention.up.weight)
    parts = task.loss(model, batch, 0)
    parts["total"].backward()
    assert parts["total"] > 0 and all((each.grad == 0).all() for each in model.parameters())


def test_an_object_is_prompted_once_and_remembered_in_every_view_before(task, batch):
    past = past_of(task, batch, 2)
    for row in range(len(past.scenes)):
        own = [place for place in places(past) if place.row == row]
        assert len(own) == 4 and {place.moment for place in own} == {0, 1}
        assert all(place.moment == 0 and past.masks[row, place.view].any() for place in own if place.prompted)
        assert sum(place.prompted for place in own) == past.masks[row, past.moments[0]].any()


@torch.no_grad()
def test_what_is_recalled_is_of_the_past_and_of_the_object_alone(task, batch):
    model, past = task.model().eval(), past_of(task, batch, 1)
    everything = recalled(model, task._head, past, "ego", 5)
    assert everything.known.all() and everything.spatial.shape[1] == 2
    for row in range(len(past.scenes)):
        one = replace(past, scenes=past.scenes[row : row + 1], masks=past.masks[row : row + 1])
        alone = recalled(model, task._head, one, "ego", 5)
        torch.testing.assert_close(alone.spatial[0], everything.spatial[row], rtol=1e-3, atol=1e-4)
    blind = past.masks.clone()
    blind[:, [view for view in range(6) if view not in past.moments[0]]] = False
    again = recalled(model, task._head, replace(past, masks=blind), "ego", 5)
    assert torch.equal(again.spatial, everything.spatial)


@torch.no_grad()
def test_memories_are_lost_and_changed_by_chance(task, batch):
    model, past = task.model().eval(), past_of(task, batch, 2)
    torch.manual_seed(0)
    whole = recalled(model, task._head, past, "ego", 5, TRUE)
    fewer = recalled(model, task._head, past, "ego", 5, replace(TRUE, dropped=0.5))
    assert fewer.known.sum() < whole.known.sum()
    changed = recalled(model, task._head, past, "ego", 5, replace(TRUE, degraded=1.0))
    prompted = whole.known & (whole.ranks < 0)
    assert torch.equal(changed.spatial[prompted], whole.spatial[prompted])
    assert not torch.equal(changed.spatial[~prompted], whole.spatial[~prompted])
    assert recalled(model, task._head, past, "ego", 5, TaughtConfig(long_ago=1000)).ages.max() > 3


def test_degraded_masks_are_a_little_wrong_and_never_empty():
    masks = torch.zeros(60, 20, 30, dtype=torch.bool)
    masks[:, 8:14, 10:20] = True
    masks[0] = False
    masks[1] = False
    masks[1, 5, 5] = True
    torch.manual_seed(0)
    made = degraded(masks, 2)
    assert not made[0].any() and made[1:].flatten(1).any(dim=1).all()
    areas = made[2:].flatten(1).sum(dim=1)
    assert (areas < 60).any() and (areas > 60).any()
    assert (made[2:] != masks[2:]).flatten(1).any(dim=1).float().mean() > 0.6


@torch.no_grad()
def test_figures_and_pictures_of_held_out_clips(task):
    held_out = task.held_out([0, 1, 2], CPU)
    model = task.model().eval()
    figures = task.metrics(model, held_out)
    assert {"iou_views", "iou_alone_views", "iou_time", "iou_alone_time"} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())
    assert {name: value for name, value in figures.items() if "alone" not in name} == {
        name.replace("_alone", ""): value for name, value in figures.items() if "alone" in name
    }
    torch.nn.init.normal_(model.attention.up.weight)
    assert task.metrics(model, held_out)["iou_time"] != figures["iou_time"]
    picture = task.picture(model, held_out)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (3 * 64, 3)


def test_a_thing_that_shows_less_than_before_counts_as_hidden(task, batch):
    sets = clip_of(batch)
    way = ways_to(batch, sets, 2)[1][0]
    chosen = chosen_pairs(batch, *way, task.pairs)
    looks = task._looks(batch, task.encoded(batch.images, sets), chosen, sets[:2])
    gone = replace(looks, chosen=replace(chosen, truth=torch.zeros_like(chosen.truth)))
    assert task._hidden(gone).all()
    full = replace(looks, chosen=replace(chosen, truth=torch.ones_like(chosen.truth)))
    assert not task._hidden(full).any()


def test_the_weights_are_one_file_with_both_networks_and_their_sizes(task, tmp_path):
    model = task.model()
    save_file(task.export(model), tmp_path / "memory.safetensors", task.stored())
    assert {name.split(".")[0] for name in task.export(model)} == {"encoder", "attention"}
    again = TemporalMemory.from_checkpoint(tmp_path / "memory.safetensors")
    assert again.config == task.config.model and not again.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_batch_without_an_object_costs_nothing(values, batch):
    task = UnionMemoryTask(build(UnionMemoryRecipe, values | {"pairs.least_px": 48 * 64}))
    assert task.loss(task.model(), batch, 0)["total"] == 0
    assert task.metrics(task.model(), batch) == {} and task.picture(task.model(), batch).shape == (1, 1, 3)


def test_single_moments_and_other_heads_are_refused(values, task, batch):
    still = replace(batch, moments=torch.zeros_like(batch.moments))
    with pytest.raises(BadInput, match="at least two moments"):
        task.loss(task.model(), still, 0)
    with pytest.raises(BadConfig, match=r"\(24, 16, 4\), got \(24, 32, 4\)"):
        UnionMemoryTask(build(UnionMemoryRecipe, values | {"model.token_width": 32}))


def test_the_default_sizes_fit_the_head_for_the_small_network():
    config, head = tiny_memory(), tiny_head()
    assert (config.map_width, config.token_width) == (head.given_width, head.width) and isinstance(config, MemoryConfig)
    assert config.map_stride * config.stride == 16
    assert sum(each.numel() for each in TemporalMemory(config).parameters()) < 1_300_000
