"""Choosing an encoder with its weights, and the pipeline on geometry that a small random network predicts."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scenes import render_set, tabletop
from small_models import PI3, PI3X, VGGT, small_pi3, small_pi3x, small_vggt

from geoseg_core import cli
from geoseg_core.config import build, build_from_words
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, device_named, load_encoder
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig, VggtConfig
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.results import ScaleState, ScaleStatus
from geoseg_core.views import FrameSet
from geoseg_core.warm_up import warm_up
from geoseg_core.weights.chosen import UNKNOWN_LICENCE, choose_weights, config_metadata, stored_config
from geoseg_core.weights.registry import checkpoint_named

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[3]
TINY = TinyConfig(channels=(8, 8, 16), width=32, aggregator=AggregatorConfig(2, 2), fused=(8, 8), coarse=8, fine=8)
MODELS = {
    "vggt": (small_vggt, VGGT),
    "pi3": (small_pi3, PI3),
    "pi3x": (small_pi3x, PI3X),
    "tiny": (lambda: TinyGeometry(TINY), TINY),
}
SMALL_INPUTS = {"vggt.side": 56, "pi3.pixels": 3000, "tiny.pixels": 4096}
FRAMES, _ = render_set(tabletop(), size=(48, 64))


def write_model(path: Path, name: str, **metadata: str) -> Path:
    model, config = MODELS[name]
    save_file(model().state_dict(), path, metadata=config_metadata(config) | metadata)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {name: write_model(folder / f"{name}.safetensors", name) for name in MODELS}


def configured(weights: dict[str, Path], name: str = "vggt", **others: object) -> GeometryConfig:
    values = {"encoder": name, "weights": str(weights[name]), "device": "cpu"} | SMALL_INPUTS
    return build(GeometryConfig, values | {key.replace("__", "."): value for key, value in others.items()})


def images_only(frames: FrameSet = FRAMES) -> FrameSet:
    bare = {"camera_to_world": None, "intrinsics": None, "depth_m": None}
    return replace(frames, views=tuple(replace(view, **bare) for view in frames.views))


def test_measured_depth_needs_no_weights() -> None:
    loaded = load_encoder(GeometryConfig())
    assert isinstance(loaded.encoder, RgbdEncoder) and loaded.weights is None


def test_measured_depth_does_not_load_torch() -> None:
    words = "import sys, geoseg_core.pipeline as p; p.ScenePipeline(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", MODELS)
def test_each_encoder_is_built_of_the_size_that_its_file_says(weights: dict[str, Path], name: str) -> None:
    loaded = load_encoder(configured(weights, name))
    assert loaded.weights.name == name and loaded.weights.licence == UNKNOWN_LICENCE
    assert loaded.encoder.model.config.width == 32
    scene = loaded.encoder.encode(images_only())
    assert [view.depth_m.shape for view in scene.views] == [(48, 64)] * 3


def test_settings_reach_the_encoder(weights: dict[str, Path]) -> None:
    loaded = load_encoder(configured(weights, vggt__precision="bf16", vggt__frame_chunk=1))
    assert loaded.encoder.config.side == 56 and loaded.encoder.config.frame_chunk == 1
    assert loaded.encoder.model.aggregator.camera_token.dtype == torch.bfloat16
    assert not hasattr(loaded.encoder.model, "point_head")


@pytest.mark.parametrize("name", [name for name in CHOICES if name != "tiny"])
def test_weights_that_are_not_here_are_named_with_their_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BadInput, match=f"geoseg weights pull {CHOICES[name].weights[0]}"):
        ScenePipeline(build(PipelineConfig, {"geometry.encoder": name}))


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_another_model_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"surplus": torch.zeros(1)}, path)
    with pytest.raises(BadInput, match="1 extra .surplus"):
        load_encoder(configured({name: path}, name))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"device": "toaster"}, "expected auto, cpu or cuda:0, got 'toaster'"),
        ({"device": "cuda:99"}, "CUDA devices, got 'cuda:99'"),
        ({"device": "meta"}, "got 'meta'"),
        ({"streaming": True, "encoder": "rgbd"}, "geometry.streaming: expected one of the encoders .'vggt'"),
        ({"alignment.known_sizes": "mug=big"}, "mug=0.12"),
    ],
)
def test_settings_that_cannot_be_are_refused(weights: dict[str, Path], values: dict, words: str) -> None:
    given = {"encoder": "vggt", "weights": str(weights["vggt"])} | values
    with pytest.raises(BadConfig, match=words):
        ScenePipeline(build(PipelineConfig, {f"geometry.{key}": value for key, value in given.items()}))


def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# The file says what it is


def test_a_configuration_is_laid_over_the_published_one(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    partial = {"width": 64, "aggregator": {"depth": 2}, "heads": ["camera"], "depth_head": {"layers": [0, 1, 1, 1]}}
    save_file({"x": torch.zeros(1)}, path, metadata={"config": json.dumps(partial)})
    found = stored_config(path, VggtConfig())
    assert (found.width, found.aggregator.depth, found.aggregator.heads, found.heads) == (64, 2, 16, ("camera",))
    assert found.depth_head.layers == (0, 1, 1, 1) and found.point_head == VggtConfig().point_head
    save_file({"x": torch.zeros(1)}, path)
    assert stored_config(path, VggtConfig()) == VggtConfig()


def test_a_configuration_comes_back_as_it_was_written(weights: dict[str, Path]) -> None:
    assert stored_config(weights["vggt"], VggtConfig()) == VGGT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "expected an object"),
        ('{"aggregator": 3}', "aggregator.: expected an object"),
        ('{"embed_dim": 64}', "unknown .'embed_dim'"),
        ('{"aggregator": {"size": 1}}', "unknown .'aggregator.size'"),
        ('{"width": "wide"}', "width: expected int"),
        ('{"width": 0}', "width: expected 8"),
        ('{"aggregator": {"depth": 1000000000}}', "aggregator.depth: expected at most"),
        ('{"heads": ["mouth"]}', "heads: expected one of"),
        (f'{{"aggregator": {{"rotary_base": 1{"0" * 400}}}}}', "aggregator.rotary_base: expected float"),
        ("[" * 100_000, "choose the encoder"),
    ],
)
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"config": text})
    with pytest.raises(BadInput, match=words):
        stored_config(path, VggtConfig())


def test_the_licence_is_that_of_the_registry_or_what_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEG_WEIGHTS", str(tmp_path))
    stored = tmp_path / "pi3" / "model.safetensors"
    stored.parent.mkdir()
    write_model(stored, "pi3", licence="mine, says the file")
    published = checkpoint_named("pi3").licence
    named, by_path = choose_weights("pi3"), choose_weights(str(stored))
    assert (named.name, named.path, named.licence) == ("pi3", stored, published)
    assert by_path.licence == published
    assert published in str(named) and str(stored) in str(named)
    converted = write_model(tmp_path / "c.safetensors", "pi3", source_sha256=checkpoint_named("iggt").sha256)
    assert choose_weights(str(converted)).licence == checkpoint_named("iggt").licence
    own = write_model(tmp_path / "own.safetensors", "pi3", licence="Apache-2.0")
    assert choose_weights(str(own)).licence == "Apache-2.0"
    with pytest.raises(BadInput, match="expected one of vggt-1b"):
        choose_weights("vgg")
    with pytest.raises(BadInput, match=r"none\.safetensors"):
        choose_weights(str(tmp_path / "none.safetensors"))


# Words of a command line


def test_words_become_settings() -> None:
    words = ["geometry.vggt.side=392", "geometry.streaming=true", "tasks=prompts, instances", "instances.max_range_m=3"]
    config = build_from_words(PipelineConfig, words)
    assert config.geometry.vggt.side == 392 and config.geometry.streaming is True
    assert config.tasks == ("prompts", "instances") and config.instances.max_range_m == 3.0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("encoder", "NAME=VALUE"),
        ("encoder=magic", "expected one of"),
        ("size=3", "unknown .'size'"),
        ("vggt.side=wide", "vggt.side: expected int, got 'wide'"),
        ("streaming=maybe", "streaming: expected bool"),
    ],
)
def test_words_that_are_no_settings_are_refused(word: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        build_from_words(GeometryConfig, [word])


def test_words_change_an_instance_and_leave_the_rest_of_it() -> None:
    config = build_from_words(GeometryConfig(encoder="tiny", device="cpu"), ["device=cuda"])
    assert (config.encoder, config.device) == ("tiny", "cuda")


# The pipeline on predicted geometry


def pipeline(weights: dict[str, Path], name: str = "vggt", **others: object) -> ScenePipeline:
    return ScenePipeline(PipelineConfig(geometry=configured(weights, name, **others)))


@pytest.mark.parametrize("name", MODELS)
def test_images_alone_give_every_readout(weights: dict[str, Path], name: str) -> None:
    made = pipeline(weights, name)
    result = made.process(images_only())
    assert result.frames.cameras == FRAMES.cameras and not result.frames.missing
    assert [image.shape for image in result.instances.labels] == [(48, 64)] * 3
    expected = ScaleStatus.ESTIMATED if CHOICES[name].metric else ScaleStatus.UNKNOWN
    assert result.scale.status is result.instances.scale.status is expected
    answer = made.segment(Prompt("ego", box_px=np.array([10.0, 10, 40, 40])))
    assert answer.views[0].masks[0].mask.any() and answer.scale == result.scale


def test_tf_that_fits_the_prediction_gives_metres(weights: dict[str, Path]) -> None:
    truth = Similarity(2.5, np.diag([1.0, -1, -1]), np.array([0.5, 0, 1.2]))
    raw = load_encoder(configured(weights)).encoder.encode(images_only()).views
    poses = [truth.pose(view.camera_to_world) for view in raw]
    views = [replace(view, camera_to_world=pose) for view, pose in zip(images_only().views, poses, strict=True)]
    made = pipeline(weights)
    result = made.process(FrameSet(tuple(views)))
    assert (result.scale.status, result.scale.source) == (ScaleStatus.ESTIMATED, "tf_baseline")
    for view, before, pose in zip(made._moment.scene.views, raw, poses, strict=True):
        np.testing.assert_allclose(view.camera_to_world, pose, atol=1e-3)
        np.testing.assert_allclose(view.depth_m, 2.5 * before.depth_m, rtol=1e-3)
    made.reset_memory()
    assert made.process(images_only()).scale == ScaleState()


def test_what_is_followed_stays_when_the_unit_becomes_known(weights: dict[str, Path]) -> None:
    """A made network: the true geometry in a unit of its own."""

    class Shrunk:
        name = "vggt"

        def encode(self, frames: FrameSet):
            scene = RgbdEncoder().encode(FRAMES)
            small = Similarity(0.3, np.eye(3), np.zeros(3))
            return replace(scene, frames=frames, views=tuple(map(small.view, scene.views)), scale=ScaleState())

    known = "mug=0.14"
    loaded = replace(load_encoder(configured(weights)), encoder=Shrunk())
    config = PipelineConfig(geometry=configured(weights, alignment__known_sizes=known))
    made = ScenePipeline(config, loaded)
    stamped = [replace(images_only(), views=tuple(replace(each, stamp_ns=n) for each in images_only().views))
               for n in range(1, 8)]  # fmt: skip
    first = made.process(stamped[0])
    assert first.scale.status is ScaleStatus.UNKNOWN and first.instances.instances
    tall = max(first.instances.instances, key=lambda each: each.box.size.max())
    view = next(index for index, labels in enumerate(first.instances.labels) if (labels == tall.instance_id).any())
    v, u = np.median(np.argwhere(first.instances.labels[view] == tall.instance_id), axis=0)
    number = made.track_object(
        Prompt(FRAMES.cameras[view], np.array([[u, v]]), np.array([True])), label="mug"
    ).object_id
    results = [made.process(frames) for frames in stamped[1:]]
    assert (results[1].scale.status, results[1].scale.source) == (ScaleStatus.ESTIMATED, "known_size")
    last = {each.instance_id: each for each in results[-1].instances.instances}
    assert [each.label for each in made.objects()] == ["mug"] and number in last
    assert last[number].box.size.max() == pytest.approx(0.14, rel=0.05)
    assert last[number].seen_by


def test_warming_up_shares_the_weights(weights: dict[str, Path]) -> None:
    made = pipeline(weights)
    warm_up(ScenePipeline(made.config, made.loaded))
    made.reset_memory()
    assert made.process(images_only()).scale == ScaleState()


def test_a_stream_runs_and_starts_anew_when_the_memory_is_reset(weights: dict[str, Path]) -> None:
    made = pipeline(weights, streaming=True)
    for _ in range(3):
        assert made.process(images_only()).frames.cameras == FRAMES.cameras
    assert made.loaded.encoder.sequence == 1
    made.reset_memory()
    made.process(images_only())
    assert made.loaded.encoder.sequence == 2


# The commands


def test_encode_says_licence_and_takes_settings(
    weights: dict[str, Path], shared_photo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["encode", str(shared_photo), "--out", str(tmp_path / "o"), "--weights", str(weights["vggt"])]
    assert cli.main([*words, "--set", "vggt.side=56", "--set", "device=cpu"]) == 0
    assert f"encoder vggt, weights vggt ({weights['vggt']}), licence: {UNKNOWN_LICENCE}" in capsys.readouterr().out
    assert json.loads((tmp_path / "o" / "cameras.json").read_text())["encoder"] == "vggt"
    assert cli.main([*words, "--set", "vggt.size=56"]) == 1
    assert "unknown ['vggt.size']" in capsys.readouterr().err


@pytest.fixture
def shared_photo(tmp_path: Path) -> Path:
    import cv2

    path = tmp_path / "a.png"
    cv2.imwrite(str(path), FRAMES.views[0].image)
    return path
