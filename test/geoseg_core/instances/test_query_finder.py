"""Things by the object queries of SegVGGT, at a small size with random weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import SEGVGGT, small_segvggt, small_vggt

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.aligner import AlignedScene
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.geometry.inference import VggtEncoderConfig
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.geometry.vggt.encoder import VggtEncoder
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.finder import SegVggtQueries, looks_of
from geoseg_core.instances.queries.segvggt import SegVggt
from geoseg_core.results import ScaleState
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

ALL = QueryDecodingConfig(least_score=0.0, most_overlap=1.0)


def frames(count=2):
    random = np.random.default_rng(0)
    return FrameSet(tuple(View(f"camera_{n}", random.integers(0, 255, (60, 80, 3), np.uint8)) for n in range(count)))


@pytest.fixture(scope="module")
def scene():
    model = small_segvggt()
    return VggtEncoder(model, VggtEncoderConfig(side=56), tuple(model.layers_of_queries())).encode(frames())


def test_things_have_pixels_in_the_images_and_come_best_first(scene):
    found = SegVggtQueries(ALL).find(scene)
    count = len(found.scores)
    assert count > 0 and [each.shape for each in found.labels] == [(60, 80)] * 2
    assert set(np.unique(found.labels)) - {0} == set(range(1, count + 1))
    assert (np.diff(found.scores) <= 0).all() and len(found.looks) == count
    aligned = SegVggtQueries(ALL).find(AlignedScene(scene, scene.views, ScaleState()))
    assert all(map(np.array_equal, found.labels, aligned.labels))
    assert not SegVggtQueries(QueryDecodingConfig(least_score=1.0)).find(scene).scores.size
    assert found.classes is None, "one class is none"


def test_the_class_head_names_the_class_ids_that_it_learned_from_one_on():
    model = small_segvggt(classes=3)
    encoder = VggtEncoder(model, VggtEncoderConfig(side=56), tuple(model.layers_of_queries()))
    bias = list(model.decoder.class_head.parameters())[-1]
    for number in range(3):
        with torch.no_grad():
            bias.copy_(torch.full((4,), -50.0))
            bias[number] = 50.0
        found = SegVggtQueries(ALL).find(encoder.encode(frames()))
        assert found.classes.tolist() == [number + 1] * len(found.scores) and len(found.scores)


def test_weights_of_segvggt_make_vggt_answer_queries(tmp_path):
    path = tmp_path / "segvggt.safetensors"
    save_file(small_segvggt().state_dict(), path, config_metadata(SEGVGGT))
    encoder = load_encoder(GeometryConfig(encoder="vggt", weights=str(path), vggt=VggtEncoderConfig(side=56))).encoder
    assert isinstance(encoder.model, SegVggt)
    assert len(SegVggtQueries(ALL).find(encoder.encode(frames(1))).labels) == 1


def test_a_scene_without_queries_is_refused():
    encoder = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56))
    with pytest.raises(BadInput, match="weights of SegVGGT"):
        SegVggtQueries(ALL).find(encoder.encode(frames()))


def test_looks_are_means_over_the_patches_of_a_thing():
    # One view of 2 x 2 patches of 2 pixels, after a camera token; thing 1 has the upper patches, thing 2 a lower one.
    last = torch.tensor([[[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [5.0, 5.0]]]])
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, :2], labels[0, 2:, :2] = 1, 2
    looks = looks_of(TokenLayers({0: last * 0, 3: last}, 1, (2, 2)), labels, 2, 2)
    assert looks.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5]), [0, 1]]
