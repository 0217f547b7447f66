"""IGGT at a small size: what a caller may rely on. Exactness against the released model is in test_parity.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_models import IGGT, assert_same, random_images, small_iggt

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.instances.field.model import Iggt
from geoseg_core.instances.field.windows import WindowSelfAttention, cross_index, cut, join, overlapping, scrambled


@pytest.fixture(scope="module")
def model() -> Iggt:
    return small_iggt()


@torch.inference_mode()
def features(model: Iggt, images: torch.Tensor, frame_chunk: int = 8) -> torch.Tensor:
    return model.field(model.aggregator(images, model.layers_of_field()), frame_chunk)


@pytest.mark.parametrize(("height", "width"), [(28, 56), (56, 28), (28, 28), (42, 70), (14, 14)])
def test_every_size_that_is_a_multiple_of_the_patch_has_features(model: Iggt, height: int, width: int) -> None:
    found = features(model, random_images(2, 2, height, width))
    assert found.shape == (2, 2, 8, height, width)
    assert found.isfinite().all()


def test_a_batch_gives_what_its_samples_give(model: Iggt) -> None:
    images = random_images(2, 3, 28, 56)
    assert_same(features(model, images), torch.cat([features(model, each[None]) for each in images]))


def test_thirteen_frames_and_more_work_and_chunks_change_nothing(model: Iggt) -> None:
    images = random_images(1, 14, 28, 28)
    whole = features(model, images, frame_chunk=14)
    assert whole.shape[1] == 14
    for frame_chunk in (1, 5, 12):
        assert_same(features(model, images, frame_chunk), whole, str(frame_chunk))


@torch.inference_mode()
def test_the_geometry_is_that_of_vggt_and_autocast_stays_outside(model: Iggt) -> None:
    images = random_images(1, 2)
    output = model(images, ("depth", "camera", "points"), keep_layers=sorted(model.layers_of_field()))
    assert output.depth is not None and output.points is not None and len(output.pose_encodings) == 2
    exact = model.field(output.tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.field(output.tokens), exact)


def test_the_field_needs_the_point_head() -> None:
    with pytest.raises(BadConfig, match="points"):
        Iggt(replace(IGGT, heads=("camera",)))


def test_a_checkpoint_with_a_training_prefix_loads_and_unread_heads_stay_out(model: Iggt, tmp_path: Path) -> None:
    save_file({f"module.{name}": each for name, each in model.state_dict().items()}, tmp_path / "iggt.safetensors")
    loaded = Iggt.from_checkpoint(tmp_path / "iggt.safetensors", replace(IGGT, heads=("camera", "points")))
    assert not any(name.startswith("track_head") for name in loaded.state_dict())
    images = random_images(1, 2)
    torch.testing.assert_close(features(loaded, images), features(model, images))
    with pytest.raises(BadInput, match="part_head.norm.bias"):
        plain = replace(IGGT, part_head=replace(IGGT.part_head, unused_channels=()))
        Iggt.from_checkpoint(tmp_path / "iggt.safetensors", plain)


def test_windows_are_cut_row_by_row_and_joined_again() -> None:
    x = torch.arange(2 * 3 * 4 * 8.0).view(2, 3, 4, 8)
    windows = cut(x, 4)
    assert windows.shape == (4, 16, 3)
    assert torch.equal(windows[1, 5], x[0, :, 1, 5])  # window 1, row 1, column 1
    assert torch.equal(join(windows, (4, 8), 4), x.movedim(1, -1))


def test_queries_stand_in_the_order_of_the_release() -> None:
    """By the mixed radix (c div w, y div w, c mod w, y mod w, x), number by number."""
    window, channels, height, width = 2, 4, 4, 6
    x = torch.arange(float(channels * height * width)).view(1, channels, height, width)
    order = [
        x[0, c1 * window + c0, y1 * window + y0, column]
        for c1 in range(channels // window)
        for y1 in range(height // window)
        for c0 in range(window)
        for y0 in range(window)
        for column in range(width)
    ]
    assert torch.equal(scrambled(x, window), torch.stack(order).view(-1, window**2, channels))


def test_windows_of_keys_reach_over_their_neighbours_and_zeros() -> None:
    windows = overlapping(1 + torch.arange(64.0).view(1, 1, 8, 8), 4)
    assert windows.shape == (4, 36, 1)
    wide = windows[0, :, 0].view(6, 6)
    assert wide[0].tolist() == [0] * 6 and wide[:, 0].tolist() == [0] * 6
    assert wide[1].tolist() == [0, 1, 2, 3, 4, 5] and wide[5, 5] == 37


def test_the_index_of_the_biases_is_partly_negative_as_released() -> None:
    index = cross_index(8)
    assert index.shape == (64, 144)
    assert index[0, 0] == -3 * 19 - 3 and index[0, -1] == 8 * 19 + 8 and index[-1, 0] == -10 * 19 - 10


@torch.inference_mode()
def test_a_window_sees_nothing_of_far_windows() -> None:
    torch.manual_seed(0)
    module = WindowSelfAttention(32, 2, 8).eval()
    x = torch.randn(1, 32, 8, 48)
    changed = x.clone()
    changed[..., 40:] += 1
    near = module.atten_block.attn(cut(x, 8)) - module.atten_block.attn(cut(changed, 8))
    assert near[:5].abs().max() == 0 and near[5].abs().max() > 0
