"""Which method carries masks, and the union head inside the whole pipeline, at a small size with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_sam import small_sam_folder

from geoseg_core.config import build
from geoseg_core.cross_view.choice import choose_follower
from geoseg_core.cross_view.config import CrossViewConfig
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.choice import GeometryConfig
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompting.regions import PromptConfig
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

ENCODER = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=1, heads=2), fused=(16, 16), coarse=8, fine=8
)
HEAD = UnionHeadConfig(
    width=24, map_stride=4, fusion_stride=4, fusion_width=32, fusion_inner=16, fusion_hidden=16, token_inner=16
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    for name, model, config in (("encoder", TinyGeometry(ENCODER), ENCODER), ("head", UnionHead(HEAD), HEAD)):
        save_file(model.state_dict(), folder / f"{name}.safetensors", config_metadata(config))
    files = {name: str(folder / f"{name}.safetensors") for name in ("encoder", "head")}
    return files | {"sam": str(small_sam_folder(folder / "sam"))}


def pipeline_of(weights: dict[str, str], **values: object) -> ScenePipeline:
    settings = {
        "tasks": ["cross_view", "prompts"], "geometry.encoder": "tiny", "geometry.weights": weights["encoder"],
        "cross_view.method": "union_head", "cross_view.weights": weights["head"], "cross_view.follow.least_score": 0.0,
        "cross_view.sam.weights": weights["sam"],
        "cross_view.sam.least_confidence": 0.0,
    }  # fmt: skip
    return ScenePipeline(build(PipelineConfig, settings | values))


def frames(seed: int = 0, cameras: tuple[str, ...] = ("ego", "exo")) -> FrameSet:
    shots = np.random.default_rng(seed).integers(0, 256, (len(cameras), 90, 120, 3), np.uint8)
    return FrameSet(tuple(View(name, shot, stamp_ns=seed) for name, shot in zip(cameras, shots, strict=True)))


def method_of(config: CrossViewConfig, encoder: str) -> str:
    segmenter = InstanceSegmenter(InstanceConfig())
    return choose_follower(config, GeometryConfig(encoder=encoder), PromptConfig(), segmenter).follower.method


def test_measured_depth_carries_masks_by_itself() -> None:
    assert method_of(CrossViewConfig(), "rgbd") == "reprojection"
    assert method_of(CrossViewConfig(method="reprojection"), "tiny") == "reprojection"
    assert method_of(CrossViewConfig(), "pi3") == "reprojection"


def test_the_head_that_comes_with_the_small_network_follows_on_its_usual_weights_alone(weights: dict[str, str]) -> None:
    assert method_of(CrossViewConfig(), "tiny") == "union_head"
    settings = {"cross_view.method": "auto", "cross_view.weights": ""}
    assert pipeline_of(weights, **settings).masks_by == "tiny"  # by its depth
    assert pipeline_of(weights, **settings | {"geometry.weights": "tiny"}).masks_by == "union_head"
    assert pipeline_of(weights, **settings | {"cross_view.weights": weights["head"]}).masks_by == "union_head"


def test_a_head_without_weights_or_features_is_an_error_where_it_was_asked_for(tmp_path: Path) -> None:
    for method in ("union_head", "point_prompt_sam"):
        with pytest.raises(BadConfig, match=f"{method}, expected an encoder"):
            method_of(CrossViewConfig(method=method), "rgbd")
    with pytest.raises(BadInput, match="none.safetensors"):
        method_of(CrossViewConfig(weights=str(tmp_path / "none.safetensors")), "tiny")


def test_a_file_of_another_network_is_refused(weights: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="encoder.safetensors"):
        method_of(CrossViewConfig(weights=weights["encoder"]), "tiny")


@pytest.mark.parametrize("method", ["union_head", "point_prompt_sam"])
def test_objects_are_followed_on_images_alone_and_outlive_a_file(
    weights: dict[str, str], tmp_path: Path, method: str
) -> None:
    settings = {"cross_view.method": method}
    pipeline = pipeline_of(weights, **settings)
    assert pipeline.masks_by == method
    pipeline.process(frames())
    mask = np.zeros((90, 120), bool)
    mask[20:50, 30:70] = True
    answer = pipeline.segment(Prompt("ego", mask=mask))
    assert [view.masks[0].mask.shape for view in answer.views] == [(90, 120)] * 2
    assert (answer.views[0].masks[0].mask == mask).all() and pipeline.objects() == ()
    tracked = pipeline.track_object(Prompt("exo", mask=mask), label="box")
    result = pipeline.process(frames(1))
    assert [[each.object_id for each in view.masks] for view in result.masks] == [[tracked.object_id]] * 2
    path = str(tmp_path / "memory.safetensors")
    assert pipeline.save_memory(path) == (tracked.object_id,)
    other = pipeline_of(weights, **settings)
    assert other.load_memory(path) == (tracked.object_id,)
    with pytest.raises(BadInput, match="memory file"):
        ScenePipeline(PipelineConfig()).load_memory(path)
    again, first = other.process(frames(2)), pipeline.process(frames(2))
    for one, two in zip(again.masks, first.masks, strict=True):
        assert (one.masks[0].mask != two.masks[0].mask).mean() < 0.02  # features are kept in half precision
    pipeline.reset_memory()
    assert pipeline.objects() == ()


def test_one_camera_alone_follows_too(weights: dict[str, str]) -> None:
    pipeline = pipeline_of(weights)
    pipeline.process(frames(0, ("ego",)))
    mask = np.zeros((90, 120), bool)
    mask[20:50, 30:70] = True
    tracked = pipeline.track_object(Prompt("ego", mask=mask))
    assert (tracked.views[0].masks[0].mask == mask).all()
    assert len(pipeline.process(frames(1, ("ego",))).masks[0].masks) == 1


@pytest.mark.parametrize("mask", ["empty", "whole", "small"])
def test_bad_masks_are_refused_and_nothing_is_lost(weights: dict[str, str], mask: str) -> None:
    pipeline = pipeline_of(weights)
    pipeline.process(frames())
    good = np.zeros((90, 120), bool)
    good[20:50, 30:70] = True
    pipeline.track_object(Prompt("ego", mask=good), label="box")
    known = pipeline.objects()
    bad = {"empty": np.zeros((90, 120), bool), "whole": np.ones((90, 120), bool), "small": np.ones((9, 12), bool)}
    for object_id in (0, known[0].object_id):
        with pytest.raises(BadInput):
            pipeline.track_object(Prompt("ego", mask=bad[mask]), object_id)
    assert pipeline.objects() == known
    assert len(pipeline.process(frames(1)).masks[0].masks) == 1
