"""The small instance network with random weights, and what its finders make of a scene."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import TINY

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.alignment.aligner import AlignedScene
from geoseg_core.geometry.inference import TinyEncoderConfig
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.geometry.tiny.encoder import TinyEncoder
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.instances.field.cluster_config import SMALL_CLUSTERS
from geoseg_core.instances.queries.config import QueryConfig, QueryDecodingConfig
from geoseg_core.instances.tiny.across import PooledBlock, shown_elsewhere
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.finders import (
    TinyQueries,
    cluster_centres,
    found_things,
    looks_of,
    means_under,
    tiny_scene,
)
from geoseg_core.instances.tiny.loading import load_finder
from geoseg_core.instances.tiny.model import InstanceInput, TinyInstances, places
from geoseg_core.results import ScaleState
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

SIZES = TinyInstancesConfig(
    layers=2,
    coarse=8,
    fused=16,
    trunk=(16, 16, 16),
    queries=QueryConfig(token_width=32, token_layers=3, queries=6, width=16, heads=2, features=8),
)


@pytest.fixture(scope="module")
def geometry():
    torch.manual_seed(0)
    return TinyGeometry(TINY).eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return TinyInstances(SIZES).eval()


@torch.no_grad()
def seen(geometry, batch=1, views=3, seed=0):
    images = torch.rand(batch, views, 3, 32, 48, generator=torch.Generator().manual_seed(seed))
    return InstanceInput.of(images, geometry(images, range(2)))


def part(given, rows):
    return InstanceInput(*(getattr(given, each.name)[rows] for each in fields(InstanceInput)))


@pytest.mark.parametrize("views", [1, 2, 5])
@torch.no_grad()
def test_each_place_of_any_number_of_views_gets_features_of_length_one(geometry, network, views):
    queries, field = network(seen(geometry, 2, views))
    assert queries.mask_logits.shape == (2, 6, views, 16, 24)
    assert field.features.shape == (2, views, 8, 16, 24) and field.things.shape == (2, views, 16, 24)
    assert torch.allclose(field.features.norm(dim=2), torch.ones(2, views, 16, 24), atol=1e-5)


@torch.no_grad()
def test_a_batch_gives_what_its_scenes_give_and_each_readout_what_both_give(geometry, network):
    given = seen(geometry, 3, 2)
    queries, field = network(given)
    alone = [network(part(given, slice(row, row + 1))) for row in range(3)]
    assert torch.allclose(queries.mask_logits, torch.cat([each[0].mask_logits for each in alone]), atol=1e-5)
    assert torch.allclose(field.features, torch.cat([each[1].features for each in alone]), atol=1e-5)
    assert torch.equal(network.queries(given).class_logits, queries.class_logits)
    assert torch.equal(network.field(given).things, field.things)


@torch.no_grad()
def test_places_say_where_they_are(geometry):
    given = seen(geometry, 1, 2)
    where = places(given.log_depth)[0]
    assert where.shape == (2, 3, 8, 12)
    assert where[0, 0, 3].tolist() == pytest.approx(np.linspace(-1, 1, 12).tolist())
    assert where[1, 1, :, 5].tolist() == pytest.approx(np.linspace(-1, 1, 8).tolist())
    assert torch.equal(where[:, 2], given.log_depth[0])


@torch.no_grad()
def test_places_look_at_means_over_squares_of_each_view():
    torch.manual_seed(0)
    block, x = PooledBlock(8, 2).eval(), torch.randn(1, 2 * 2 * 2, 8)
    for scale in (block.ls1, block.ls2):
        scale.gamma.fill_(1.0)
    normed = block.norm1(x)
    means = normed.view(1, 2, 4, 8).mean(dim=2)  # each view is one square
    query, (_, key, value) = block.attn.split(normed)[0], block.attn.split(means)
    chances = (query @ key.mT / 2).softmax(dim=-1)  # four channels a head
    mixed = x + block.attn.join(chances @ value)
    assert torch.allclose(block(x, (2, 2, 2)), mixed + block.mlp(block.norm2(mixed)), atol=1e-6)


def test_what_other_views_show_by_hand():
    first, second = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    # Of the first place: products 2 and 0 with those of the second view, and 0.5 for nowhere.
    whole = math.exp(2) + 1 + math.exp(0.5)
    values = torch.tensor([[[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [10.0, 1.0, 0.0], [20.0, 0.0, 1.0]]])
    shown = shown_elsewhere(values, torch.cat((first, second), dim=1), torch.tensor([0.5]), 2)
    assert shown[0, 0].tolist() == pytest.approx([(10 * math.exp(2) + 20) / whole, math.exp(2) / whole, 1 / whole])
    assert shown[0, 1, 1:].tolist() == pytest.approx([1 / (2 + math.exp(0.5))] * 2)
    assert float(shown[0, 3, 0]) == pytest.approx((1 + 2) / (2 + math.exp(0.5)))
    alone = shown_elsewhere(values, torch.cat((first, second), dim=1), torch.tensor([0.5]), 1)
    assert torch.equal(alone, torch.zeros(1, 4, 3)), "no other view"


@torch.no_grad()
def test_other_views_in_another_order_give_the_same(geometry, network):
    given, order = seen(geometry, 1, 3), [2, 0, 1]
    of_views = {name: getattr(given, name)[:, order] for name in ("images", "tokens", "coarse", "fused", "log_depth")}
    moved = replace(given, **of_views)
    (queries, field), (others, again) = network(given), network(moved)
    assert torch.allclose(queries.class_logits, others.class_logits, atol=1e-5)
    assert torch.allclose(queries.mask_logits[:, :, order], others.mask_logits, atol=1e-4)
    assert torch.allclose(field.features[:, order], again.features, atol=1e-5)


def test_the_output_of_another_network_is_refused(geometry, network):
    given = seen(geometry)
    with pytest.raises(BadInput, match=r"\(2, 32, 8, 16\), got \(1, 32, 8, 16\)"):
        network(replace(given, tokens=given.tokens[:, :, :1]))


def frames(count=2, size=(48, 64), seed=0):
    random = np.random.default_rng(seed)
    pictures = [random.integers(0, 255, (*size, 3), np.uint8) for _ in range(count)]
    views = tuple(View(f"camera_{number}", each) for number, each in enumerate(pictures))
    return FrameSet(views)


@pytest.fixture(scope="module")
def encoder(geometry):
    return TinyEncoder(geometry, TinyEncoderConfig(precision="fp32", packed=False))


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("weights")) / "instances.safetensors"
    save_file(network.state_dict(), path, config_metadata(SIZES))
    return path


@pytest.mark.parametrize("method", ["queries", "field"])
@pytest.mark.parametrize("views", [1, 3])
def test_what_is_found_has_pixels_and_comes_best_first(encoder, weights, method, views):
    finder = load_finder(method, weights, QueryDecodingConfig(least_score=0.0), SMALL_CLUSTERS)
    scene = encoder.encode(frames(views))
    found = finder.find(scene)
    count = len(found.scores)
    assert finder.method == method and len(found.labels) == views
    assert all(each.dtype == np.uint16 and each.shape == (48, 64) for each in found.labels)
    assert set(np.unique(found.labels)) - {0} == set(range(1, count + 1))
    assert (np.diff(found.scores) <= 0).all() and ((found.scores >= 0) & (found.scores <= 1)).all()
    assert np.linalg.norm(found.looks, axis=1) == pytest.approx(np.ones(count), abs=1e-5)
    aligned = finder.find(AlignedScene(scene, scene.views, ScaleState()))
    assert all(map(np.array_equal, found.labels, aligned.labels))


def test_nothing_sure_enough_is_nothing_found(encoder, network):
    found = TinyQueries(network, QueryDecodingConfig(least_score=1.0)).find(encoder.encode(frames()))
    assert found.scores.shape == (0,) and found.looks.shape == (0, 8)
    assert not any(each.any() for each in found.labels)


def test_another_encoders_scene_and_an_unknown_method_are_refused(weights):
    view = View("camera", np.zeros((8, 8, 3), np.uint8), 0, np.eye(3), np.eye(4), np.ones((8, 8), np.float32))
    with pytest.raises(BadInput, match="geometry.encoder=tiny"):
        tiny_scene(RgbdEncoder().encode(FrameSet((view,))))
    with pytest.raises(BadConfig, match="queries"):
        load_finder("planes", weights, QueryDecodingConfig(), SMALL_CLUSTERS)


def test_two_bundles_of_features_are_two_things_and_a_handful_is_one():
    random = torch.Generator().manual_seed(0)
    bundle = torch.nn.functional.normalize(torch.eye(4)[:2].repeat_interleave(40, 0), dim=1)
    features = torch.nn.functional.normalize(bundle + 0.05 * torch.randn(80, 4, generator=random), dim=1)
    points = np.arange(240, dtype=np.float32).reshape(80, 3)
    centres = cluster_centres(features, points, SMALL_CLUSTERS)
    order = centres[:, 0].argsort(descending=True)
    assert torch.allclose(centres[order], torch.eye(4)[:2], atol=0.05)
    assert cluster_centres(features[:4], points[:4], SMALL_CLUSTERS).shape == (1, 4)
    assert cluster_centres(features[:0], points[:0], SMALL_CLUSTERS).shape == (0, 4)


def test_the_score_of_a_cluster_is_the_mean_chance_of_its_pixels():
    labels = torch.tensor([[[0, 1, 1]], [[3, 1, 0]]])
    chances = torch.tensor([[[0.1, 0.6, 0.8]], [[0.9, 1.0, 0.0]]])
    assert means_under(labels, chances, 3).tolist() == pytest.approx([0.8, 0, 0.9])


def test_things_are_ranked_and_those_without_a_pixel_are_left_out(encoder):
    scene = encoder.encode(frames(2, (192, 256)))
    labels = torch.zeros(2, 192, 256, dtype=torch.int64)
    labels[0, :10], labels[1, 50:60], labels[0, 20:30] = 1, 1, 3
    found = found_things(scene, labels, torch.tensor([0.4, 0.9, 0.7]))
    assert found.scores.tolist() == pytest.approx([0.7, 0.4])
    assert [found.labels[0][row, 0] for row in (5, 15, 25)] == [2, 0, 1] and found.labels[1][55, 100] == 2


def test_looks_are_means_over_the_places_of_a_thing(encoder):
    scene = encoder.encode(frames(1, (192, 256)))
    place = scene.placements[0]
    labels = torch.zeros(1, 192, 256, dtype=torch.int64)
    labels[0, :8, :8], labels[0, :, 128:] = 1, 2
    assert place.canvas == place.source, "the image is seen as it is"
    looks = looks_of(scene, labels, 2)
    described = scene.output.coarse[0, 0]
    first = described[:, 0, 0] / described[:, 0, 0].norm()
    assert looks[0] == pytest.approx(first.numpy(), abs=1e-5)
    half = torch.nn.functional.normalize(described[:, :, 16:], dim=0).mean(dim=(1, 2))
    assert looks[1] == pytest.approx((half / half.norm()).numpy(), abs=1e-5)
