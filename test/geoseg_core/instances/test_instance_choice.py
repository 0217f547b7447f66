"""Which method finds instances, and networks of random weights inside the whole pipeline, from images alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import IGGT, TINY, small_iggt

from geoseg_core.config import build
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.choice import GeometryConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.instances.choice import NETWORKS, choose_segmenter
from geoseg_core.instances.queries.config import QueryConfig
from geoseg_core.instances.segmenter import InstanceConfig
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.model import TinyInstances
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata
from geoseg_core.weights.store import shipped_files

NETWORK = TinyInstancesConfig(
    layers=2,
    coarse=8,
    fused=16,
    trunk=(16, 16, 16),
    queries=QueryConfig(token_width=32, token_layers=3, queries=12, width=16, heads=2, features=8),
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for name, model, config in (
        ("encoder", TinyGeometry(TINY), TINY),
        ("instances", TinyInstances(NETWORK), NETWORK),
    ):
        save_file(model.state_dict(), folder / f"{name}.safetensors", config_metadata(config))
    return {name: str(folder / f"{name}.safetensors") for name in ("encoder", "instances")}


def pipeline_of(weights: dict[str, str], **values: object) -> ScenePipeline:
    settings = {
        "tasks": ["instances"], "geometry.encoder": "tiny", "geometry.weights": weights["encoder"],
        "instances.weights": weights["instances"], "instances.queries.least_score": 0.0,
        "instances.found.least_confidence": 0.0,
    }  # fmt: skip
    return ScenePipeline(build(PipelineConfig, settings | values))


def frames(seed: int = 0, count: int = 2, size: tuple[int, int] = (90, 120)) -> FrameSet:
    shots = np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)
    names = [f"camera_{number}" for number in range(count)]
    return FrameSet(tuple(View(name, shot, stamp_ns=seed) for name, shot in zip(names, shots, strict=True)))


def method_of(config: InstanceConfig, geometry: GeometryConfig) -> str:
    return choose_segmenter(config, geometry).segmenter.method


def test_measured_depth_finds_instances_by_itself() -> None:
    assert method_of(InstanceConfig(), GeometryConfig(encoder="rgbd")) == "rgbd"
    assert method_of(InstanceConfig(), GeometryConfig(encoder="pi3")) == "rgbd"
    assert method_of(InstanceConfig(method="rgbd"), GeometryConfig(encoder="tiny")) == "rgbd"


def test_measured_depth_needs_no_torch() -> None:
    words = "import sys; from geoseg_core.pipeline import ScenePipeline; ScenePipeline(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], capture_output=True, text=True).stdout == "False\n"


def test_the_usual_network_is_taken_where_it_is_here_and_reads_what_it_was_made_for(weights: dict[str, str]) -> None:
    wanted = "queries" if NETWORKS["tiny"] in shipped_files() else "rgbd"
    assert method_of(InstanceConfig(), GeometryConfig(encoder="tiny")) == wanted
    other = GeometryConfig(encoder="tiny", weights=weights["encoder"])
    assert method_of(InstanceConfig(), other) == "rgbd"
    assert method_of(InstanceConfig(weights=weights["instances"]), other) == "queries"
    assert method_of(InstanceConfig(method="field", weights=weights["instances"]), other) == "field"


def test_a_network_without_features_or_weights_is_an_error_where_it_was_asked_for(tmp_path: Path) -> None:
    for method in ("queries", "field"):
        with pytest.raises(BadConfig, match=f"for {method}, expected an encoder .* choose one of those, .* rgbd"):
            method_of(InstanceConfig(method=method), GeometryConfig())
    missing = str(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="none.safetensors"):
        method_of(InstanceConfig(weights=missing), GeometryConfig(encoder="tiny"))
    with pytest.raises(BadConfig, match="instances.method"):
        build(PipelineConfig, {"instances.method": "depth"})


def test_a_file_of_another_network_is_refused(weights: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="encoder.safetensors"):
        pipeline_of(weights, **{"instances.weights": weights["encoder"]})


@pytest.mark.parametrize("method", ["queries", "field"])
def test_images_alone_give_instances_in_every_view(weights: dict[str, str], method: str) -> None:
    pipeline = pipeline_of(weights, **{"instances.method": method})
    assert pipeline.instances_by == method and pipeline.instance_weights.name == "instances"
    for seed in range(2):
        result = pipeline.process(frames(seed))
        found = result.instances
        assert [image.shape for image in found.labels] == [(90, 120)] * 2
        shown = set(np.unique(np.stack(found.labels))) - {0}
        assert shown and shown <= {each.instance_id for each in found.instances}
        assert set(np.unique(found.cloud.instance_id)) - {0} <= shown and np.isfinite(found.cloud.xyz).all()
        assert result.scale.status == found.scale.status and result.stage_ms["instances"] > 0
    assert pipeline.reset_memory() is None and pipeline.process(frames(2)).instances.labels


@pytest.mark.parametrize("method, count, size", [("field", 1, (90, 120)), ("queries", 1, (90, 120)),
                                                 ("queries", 20, (32, 32))])  # fmt: skip
def test_one_view_and_many(weights: dict[str, str], method: str, count: int, size: tuple[int, int]) -> None:
    settings = {"instances.method": method, "geometry.tiny.pixels": 4096}
    result = pipeline_of(weights, **settings).process(frames(0, count, size))
    assert len(result.instances.labels) == count and result.instances.labels[-1].shape == size


def test_the_field_of_iggt_is_read_where_vggt_has_its_weights(tmp_path: Path) -> None:
    save_file(small_iggt().state_dict(), tmp_path / "iggt.safetensors", config_metadata(IGGT))
    settings = {
        "tasks": ["instances"], "geometry.encoder": "vggt", "geometry.weights": str(tmp_path / "iggt.safetensors"),
        "geometry.vggt.side": 56, "instances.method": "field",
    }  # fmt: skip
    pipeline = ScenePipeline(build(PipelineConfig, settings))
    result = pipeline.process(frames())
    assert pipeline.instances_by == "field" and [image.shape for image in result.instances.labels] == [(90, 120)] * 2


def test_nothing_is_found_where_no_score_suffices(weights: dict[str, str]) -> None:
    result = pipeline_of(weights, **{"instances.queries.least_score": 1.0}).process(frames())
    assert result.instances.instances == () and result.events == ()
    assert not np.stack(result.instances.labels).any()


def test_memory_outlives_a_file(weights: dict[str, str], tmp_path: Path) -> None:
    pipeline = pipeline_of(weights)
    first = pipeline.process(frames()).instances
    ids = pipeline.save_memory(str(tmp_path / "memory.safetensors"))
    assert set(ids) >= {each.instance_id for each in first.instances}
    other = pipeline_of(weights)
    assert set(other.load_memory(str(tmp_path / "memory.safetensors"))) == set(ids)
    again = other.process(frames()).instances
    for one, two in zip(first.labels, again.labels, strict=True):
        np.testing.assert_array_equal(one, two)


def test_prompts_by_depth_choose_among_what_the_network_found(weights: dict[str, str]) -> None:
    tasks = ["instances", "cross_view", "prompts"]
    pipeline = pipeline_of(weights, **{"tasks": tasks, "cross_view.method": "reprojection"})
    labels = pipeline.process(frames()).instances.labels[0]
    number = int(np.bincount(labels[labels > 0]).argmax())
    asked = pipeline.track_object(Prompt("camera_0", mask=labels == number))
    result = pipeline.process(frames())
    assert {mask.object_id for view in result.masks for mask in view.masks} == {asked.object_id}
    assert (result.masks[0].masks[0].mask == (result.instances.labels[0] == asked.object_id)).all()
