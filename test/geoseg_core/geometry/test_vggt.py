"""VGGT at a small size: what a caller may rely on. Exactness against the published model is in test_parity.py."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_models import VGGT, assert_same, random_images, small_vggt

from geoseg_core.errors import BadInput
from geoseg_core.geometry.vggt.config import HEADS
from geoseg_core.geometry.vggt.model import Vggt, VggtOutput
from geoseg_core.geometry.vggt.track_head import correlations, sample_features

QUERIES = torch.tensor([[3.0, 5.0], [30.5, 12.25], [41.0, 27.0]])


@pytest.fixture(scope="module")
def model() -> Vggt:
    return small_vggt()


def numbers(output: VggtOutput) -> dict[str, torch.Tensor]:
    tracks = output.tracks
    assert tracks is not None and output.depth is not None and output.points is not None
    return {
        "pose": output.pose_encodings[-1],
        "depth": output.depth,
        "depth_confidence": output.depth_confidence,
        "points": output.points,
        "features": output.track_features,
        "tracks": tracks.points_px[-1],
        "visibility": tracks.visibility,
        "confidence": tracks.confidence,
    }


@torch.inference_mode()
def run(model: Vggt, images: torch.Tensor, **more: object) -> dict[str, torch.Tensor]:
    return numbers(model(images, HEADS, QUERIES, **more))


def test_shapes_and_ranges(model: Vggt) -> None:
    found = run(model, random_images(2, 3))
    assert found["pose"].shape == (2, 3, 9)
    assert found["depth"].shape == found["depth_confidence"].shape == (2, 3, 28, 42)
    assert found["points"].shape == (2, 3, 28, 42, 3)
    assert found["features"].shape == (2, 3, 16, 14, 21)
    assert found["tracks"].shape == (2, 3, 3, 2)
    assert (found["depth"] > 0).all() and (found["depth_confidence"] > 1).all()
    assert (found["pose"][..., 7:] >= 0).all()
    torch.testing.assert_close(found["tracks"][:, 0], QUERIES.expand(2, -1, -1))


def test_a_batch_gives_what_its_samples_give(model: Vggt) -> None:
    images = random_images(2, 3)
    together = run(model, images)
    for index in range(2):
        alone = run(model, images[index : index + 1])
        for name, value in alone.items():
            assert_same(together[name][index : index + 1], value, name)


def test_small_chunks_give_the_same_numbers(model: Vggt) -> None:
    images = random_images(2, 3)
    whole, chunked = run(model, images), run(model, images, frame_chunk=1)
    for name, value in whole.items():
        assert_same(chunked[name], value, name)


def test_only_the_first_view_is_special(model: Vggt) -> None:
    images = random_images(1, 4)
    order = [0, 3, 1, 2]
    straight, mixed = run(model, images), run(model, images[:, order])
    assert_same(mixed["depth"], straight["depth"][:, order])
    first_moved = run(model, images[:, [1, 0, 2, 3]])
    assert (first_moved["depth"][:, 2] - straight["depth"][:, 2]).abs().max() > 1e-3


@torch.inference_mode()
def test_heads_run_and_layers_are_kept_only_where_asked_for(model: Vggt) -> None:
    images = random_images(1, 2)
    output = model(images, ("depth",))
    assert set(output.tokens.layers) == {0, 1, 2}
    assert output.points is None and output.track_features is None and not output.pose_encodings
    torch.testing.assert_close(output.depth, run(model, images)["depth"])
    camera_only = model(images, ("camera",))
    assert set(camera_only.tokens.layers) == {2}
    with_more = model(images, ("camera",), keep_layers=(0,))
    assert set(with_more.tokens.layers) == {0, 2}
    assert torch.equal(with_more.tokens.layers[0], output.tokens.layers[0])
    assert model(images, ("tracks",)).tracks is None


def test_a_single_view_of_the_nominal_size_works(model: Vggt) -> None:
    assert run(model, random_images(1, 1, 42, 42))["depth"].shape == (1, 1, 42, 42)


@torch.inference_mode()
def test_autocast_reaches_the_trunk_and_not_the_heads(model: Vggt) -> None:
    images = random_images(1, 2)
    exact = run(model, images)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(model, images)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert not torch.equal(found["depth"], exact["depth"])
    difference = (found["depth"] - exact["depth"]).abs().max() / exact["depth"].max()
    assert difference < 0.1


@torch.inference_mode()
def test_a_model_wholly_in_bfloat16_keeps_its_tracker_exact() -> None:
    model = small_vggt().to_reduced(torch.bfloat16)
    output = model(random_images(1, 2), HEADS, QUERIES)
    assert output.depth is not None and output.depth.dtype == torch.bfloat16
    assert output.tracks is not None and output.tracks.points_px[-1].dtype == torch.float32
    torch.testing.assert_close(output.tracks.points_px[-1][:, 0], QUERIES[None])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 0, 3, 28, 28), "at least one"),
        (torch.zeros(1, 3, 28, 28), "at least one"),
        (torch.zeros(1, 2, 3, 28, 30), "multiples of 14"),
        (torch.zeros(1, 2, 3, 0, 28), "at least one"),
        (torch.zeros(1, 2, 3, 13, 28), "multiples of 14"),
        (torch.full((1, 2, 3, 28, 28), float("nan")), "NaN"),
    ],
)
def test_images_of_another_kind_are_refused(model: Vggt, images: torch.Tensor, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        model(images)


def test_a_head_that_was_not_built_is_named() -> None:
    config = type(VGGT)(**{**VGGT.__dict__, "heads": ("camera",)})
    with pytest.raises(BadInput, match="depth"):
        Vggt(config)(random_images(1, 1), ("depth",))


def test_a_checkpoint_loads_strictly_and_with_its_training_prefix(model: Vggt, tmp_path: Path) -> None:
    weights = {f"module.{name}": each.clone() for name, each in model.state_dict().items()}
    save_file(weights, tmp_path / "whole.safetensors")
    loaded = Vggt.from_checkpoint(tmp_path / "whole.safetensors", VGGT)
    images = random_images(1, 2)
    for name, value in run(model, images).items():
        torch.testing.assert_close(run(loaded, images)[name], value, msg=name)
    reduced = Vggt.from_checkpoint(tmp_path / "whole.safetensors", VGGT, torch.bfloat16)
    assert reduced.camera_head.embed_pose.weight.dtype == torch.bfloat16
    assert reduced.track_head.tracker.query_ref_token.dtype == torch.float32

    broken = dict(weights)
    del broken["module.aggregator.camera_token"]
    broken["module.surplus"] = torch.zeros(1)
    broken["module.depth_head.norm.bias"] = torch.zeros(3)
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(BadInput) as refused:
        Vggt.from_checkpoint(tmp_path / "broken.safetensors", VGGT)
    message = str(refused.value)
    assert "missing (aggregator.camera_token)" in message and "extra (surplus)" in message
    assert "depth_head.norm.bias (3,) for (64,)" in message


def test_heads_left_out_are_not_read_from_a_checkpoint(model: Vggt, tmp_path: Path) -> None:
    save_file(model.state_dict(), tmp_path / "whole.safetensors")
    config = type(VGGT)(**{**VGGT.__dict__, "heads": ("camera",)})
    loaded = Vggt.from_checkpoint(tmp_path / "whole.safetensors", config)
    assert not any(name.startswith("depth_head") for name in loaded.state_dict())
    with torch.inference_mode():
        images = random_images(1, 2)
        torch.testing.assert_close(loaded(images, ("camera",)).pose_encodings[-1], run(model, images)["pose"])


def test_correlations_are_dot_products_around_the_point_with_x_slowest() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4, 1)
    feature = torch.full((1, 1, 1, 1), 2.0)
    found = correlations(maps, feature, torch.tensor([1.0, 1.0]).view(1, 1, 1, 2), radius=1)[0, 0, 0]
    assert found.tolist() == [0, 8, 16, 2, 10, 18, 4, 12, 20]
    # Half a pixel to the left of the map's edge: half of what lies on it, the rest is nothing.
    edge = correlations(maps, feature, torch.tensor([-0.5, 2.0]).view(1, 1, 1, 2), radius=0)
    assert edge.item() == 8.0
    far = correlations(maps, feature, torch.tensor([float("inf"), float("nan")]).view(1, 1, 1, 2), radius=1)
    assert torch.equal(far, torch.zeros(1, 1, 1, 9))


def test_samples_are_bilinear_and_hold_the_border() -> None:
    maps = torch.arange(12.0).view(1, 3, 4, 1)
    places = torch.tensor([[[1.5, 0.5], [-3.0, 1.0], [9.0, 9.0]]])
    assert sample_features(maps, places).flatten().tolist() == [3.5, 4.0, 11.0]
