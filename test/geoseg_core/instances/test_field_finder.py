"""Things by the instance field of IGGT, at a small size with random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import IGGT, VGGT, small_iggt, small_vggt

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.aligner import AlignedScene
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.geometry.inference import VggtEncoderConfig
from geoseg_core.geometry.network_input import vggt_placement
from geoseg_core.geometry.vggt.encoder import VggtEncoder
from geoseg_core.instances.field.clustering import FieldClusterConfig
from geoseg_core.instances.field.finder import IggtField, are_things, means_of
from geoseg_core.instances.field.model import Iggt
from geoseg_core.instances.finder import ranked_things
from geoseg_core.instances.support import SupportConfig
from geoseg_core.results import ScaleState
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

CLUSTERS = FieldClusterConfig(neighbours=3, epsilon=0.0, min_samples=5, min_cluster=30)


def frames(count=2):
    random = np.random.default_rng(0)
    return FrameSet(tuple(View(f"camera_{n}", random.integers(0, 255, (60, 80, 3), np.uint8)) for n in range(count)))


@pytest.fixture(scope="module")
def scene():
    model = small_iggt()
    return VggtEncoder(model, VggtEncoderConfig(side=56), tuple(model.layers_of_field())).encode(frames())


def test_things_have_pixels_in_the_images_and_come_best_first(scene):
    found = IggtField(CLUSTERS, SupportConfig()).find(scene)
    count = len(found.scores)
    assert count > 0 and [each.shape for each in found.labels] == [(60, 80)] * 2
    assert set(np.unique(found.labels)) - {0} == set(range(1, count + 1))
    assert (np.diff(found.scores) <= 0).all() and found.looks.shape == (count, 8)
    aligned = IggtField(CLUSTERS, SupportConfig()).find(AlignedScene(scene, scene.views, ScaleState()))
    assert all(map(np.array_equal, found.labels, aligned.labels))


def test_weights_of_iggt_make_vggt_give_the_field(tmp_path):
    path = tmp_path / "iggt.safetensors"
    save_file(small_iggt().state_dict(), path, config_metadata(IGGT))
    encoder = load_encoder(GeometryConfig(encoder="vggt", weights=str(path), vggt=VggtEncoderConfig(side=56))).encoder
    assert isinstance(encoder.model, Iggt)
    assert len(IggtField(CLUSTERS, SupportConfig()).find(encoder.encode(frames(1))).labels) == 1


def test_a_scene_without_a_field_is_refused():
    encoder = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56))
    with pytest.raises(BadInput, match="weights of IGGT"):
        IggtField(CLUSTERS, SupportConfig()).find(encoder.encode(frames()))
    assert VGGT.heads


def test_means_and_likeness_by_hand():
    features = torch.tensor([[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]])  # (1, 2, 1, 3): three pixels
    looks, scores = means_of(features, torch.tensor([[[0, 0, 1]]]))
    assert scores.tolist() == pytest.approx([0.5**0.5, 1])
    assert looks.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5]), [0, 1]]


def test_what_lies_on_a_support_or_is_everywhere_is_no_thing():
    labels = np.array([[[0, 0, 0, 1, 1, 2, 2, 3, 3, 3]]])
    supports = np.array([[[0, 0, 0, 1, 0, 1, 1, 0, 0, 0]]])
    assert are_things(labels, supports, 4).tolist() == [True, True, False, True]
    assert are_things(np.repeat(labels, 2, axis=0), np.zeros((2, 1, 10)), 4).all()
    labels[labels == 1] = 0
    assert are_things(labels, supports * 0, 4).tolist() == [False, True, True, True]


def test_things_that_the_image_does_not_show_are_left_out():
    place = replace(vggt_placement((4, 4), side=4, patch=2), offset=(-1, 0))
    labels = np.zeros((1, 4, 4), int)
    labels[0, 3], labels[0, 1], labels[0, 0] = 1, 2, 3
    looks = np.eye(3, dtype=np.float32)
    found = ranked_things(labels, np.array([0.9, 0.5, 0.7]), looks, [place], np.array([8, 5, 7]))
    assert found.scores.tolist() == [0.7, 0.5]
    assert [int(found.labels[0][row, 0]) for row in range(4)] == [0, 1, 2, 0]
    assert found.looks.tolist() == [[0, 0, 1], [0, 1, 0]] and found.classes.tolist() == [7, 5]
