"""IGGT at a small size: what a caller may rely on. Exactness against the released model is in test_parity.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import IGGT, assert_same, random_images, small_iggt, stirred

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.instances.field.config import IggtConfig, PartHeadConfig
from geoseg_core.instances.field.model import Iggt
from geoseg_core.instances.field.windows import (
    WindowCrossBlock,
    WindowSelfAttention,
    cross_index,
    cut,
    join,
    overlapping,
    scrambled,
)
from geoseg_core.weights.convert import convert

PAPER = replace(IGGT.part_head, fusion="paper", scrambled=False, normalised=True)


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


def test_views_after_the_first_may_come_in_any_order(model: Iggt) -> None:
    images, order = random_images(1, 4), [0, 3, 1, 2]
    assert_same(features(model, images[:, order]), features(model, images)[:, order])


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


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"cross_heads": 24}, "multiple of 24 .of part_head.cross_heads., got 64"),
        ({"window_heads": 64}, "multiple of 128 .of part_head.window_heads., got 64"),
        ({"window": 128}, "multiple of 128 .of part_head.window., got 64"),
    ],
)
def test_channels_that_cannot_be_divided_are_refused(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        Iggt(replace(IGGT, part_head=replace(IGGT.part_head, **sizes)))


@torch.inference_mode()
def test_a_token_layer_that_there_is_not_is_refused(model: Iggt) -> None:
    with pytest.raises(BadInput, match=r"token layers 0 to 2, got \[3, 9\]"):
        model.aggregator(random_images(1, 1), (2, 3, 9))


def test_a_checkpoint_with_a_training_prefix_loads_and_unread_heads_stay_out(model: Iggt, tmp_path: Path) -> None:
    state = {f"module.{name}": each for name, each in model.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "iggt.pth")
    assert convert(tmp_path / "iggt.pth").left_out == ("epoch",)
    loaded = Iggt.from_checkpoint(tmp_path / "iggt.safetensors", replace(IGGT, heads=("camera", "points")))
    assert not any(name.startswith("track_head") for name in loaded.state_dict())
    images = random_images(1, 2)
    torch.testing.assert_close(features(loaded, images), features(model, images))
    with pytest.raises(BadInput, match="part_head.norm.bias"):
        plain = replace(IGGT, part_head=replace(IGGT.part_head, unused_channels=()))
        Iggt.from_checkpoint(tmp_path / "iggt.safetensors", plain)


def test_the_defaults_are_the_released_sizes() -> None:
    head = IggtConfig().part_head
    assert (head.outputs, head.cross_heads, head.window_heads, head.window) == (8, 8, 4, 8)
    assert (head.mlp_ratio, head.neck, head.squeeze, head.branch) == (4.0, 3, 30, 0.01)
    assert (head.closing, head.hidden, head.unused_channels) == (64, 32, (256, 512, 1024, 1024))
    assert (head.fusion, head.scrambled, head.normalised) == ("released", True, False)


def test_every_size_of_the_part_head_is_a_setting() -> None:
    sizes = {"outputs": 5, "mlp_ratio": 1.5, "neck": 4, "squeeze": 16, "closing": 12, "hidden": 10}
    model = stirred(Iggt(replace(IGGT, part_head=replace(IGGT.part_head, **sizes))))
    shapes = {name: tuple(each.shape) for name, each in model.part_head.state_dict().items()}
    assert shapes["scratch.output_conv2.2.weight"] == (5, 10, 1, 1)
    assert shapes["window_cross_attention.atten_block.mlp.fc1.weight"] == (96, 64)
    assert shapes["window_cross_attention.conv_last.weight"] == (64, 12, 3, 3)
    assert shapes["window_self_atten.atten_block.conv_block.cab.0.weight"] == (8, 32, 3, 3)
    assert shapes["window_self_atten.atten_block.conv_block.cab.3.attention.1.weight"] == (2, 32, 1, 1)
    assert features(model, random_images(1, 2)).shape == (1, 2, 5, 28, 42)


@pytest.mark.parametrize(("height", "width"), [(28, 56), (42, 70), (14, 14)])
def test_features_as_in_the_paper_have_length_one_at_every_size(height: int, width: int) -> None:
    model = stirred(Iggt(replace(IGGT, part_head=PAPER)))
    images = random_images(2, 2, height, width)
    found = features(model, images)
    assert found.shape == (2, 2, 8, height, width)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(2, 2, height, width))
    assert_same(torch.cat([features(model, each[None]) for each in images]), found)


def test_normalised_features_are_the_released_ones_of_length_one(model: Iggt) -> None:
    same = Iggt(replace(IGGT, part_head=replace(IGGT.part_head, normalised=True)))
    same.load_state_dict(model.state_dict())
    images = random_images(1, 2)
    released = features(model, images)
    assert_same(features(same.eval(), images), released / released.norm(dim=2, keepdim=True))


@pytest.mark.parametrize(("fusion", "matters"), [("released", [True, False, True]), ("paper", [True, True, True])])
@torch.inference_mode()
def test_the_scales_at_which_geometry_matters(fusion: str, matters: list[bool]) -> None:
    head = stirred(Iggt(replace(IGGT, part_head=replace(IGGT.part_head, fusion=fusion)))).part_head
    generator = torch.Generator().manual_seed(3)
    sizes = ((8, 16), (4, 8), (2, 4), (1, 2))
    maps = [torch.randn(1, n, *size, generator=generator) for n, size in zip((8, 8, 16, 16), sizes, strict=True)]
    geometry = [torch.randn(1, 64, *size, generator=generator) for size in sizes[:3]]
    whole = head(maps, geometry, (2, 4))
    found = []
    for gone in range(3):
        without = [0 * each if scale == gone else each for scale, each in enumerate(geometry)]
        found.append(not torch.equal(head(maps, without, (2, 4)), whole))
    assert found == matters


@torch.inference_mode()
def test_in_the_paper_geometry_is_added_to_the_instance_map() -> None:
    head = stirred(Iggt(replace(IGGT, part_head=PAPER))).part_head
    x, other = torch.randn(2, 1, 64, 8, 8, generator=torch.Generator().manual_seed(1))
    for scale, module in head.geometry_attention.items():
        module.conv_last.weight.zero_()
        module.conv_last.bias.fill_(0.25)
        assert torch.equal(head.with_geometry(int(scale), x, other), x + 0.25)


def test_a_released_checkpoint_does_not_fit_the_fusion_of_the_paper(model: Iggt, tmp_path: Path) -> None:
    torch.save(dict(model.state_dict()), tmp_path / "iggt.pth")
    weights = convert(tmp_path / "iggt.pth").path
    with pytest.raises(BadInput, match=r"missing \(part_head.geometry_attention.2"):
        Iggt.from_checkpoint(weights, replace(IGGT, part_head=PAPER))


@pytest.mark.parametrize(("shift", "first", "last"), [(0, 16, 23), (4, 12, 27)])
@torch.inference_mode()
def test_which_pixels_see_a_pixel_of_the_other_map(shift: int, first: int, last: int) -> None:
    """Column 20 is a key of window 2 alone (columns 14 to 25); shifted, of windows 2 (10 to 21) and 3 (18 to 29)."""
    block, (tokens, context) = window_block(shift, scrambled=False)
    before = block(tokens, context, (8, 32), cross_index(8))
    after = block(tokens, stepped(context), (8, 32), cross_index(8))
    assert changed_columns(before, after) == list(range(first, last + 1))


@torch.inference_mode()
def test_a_query_is_one_pixel_unless_queries_are_scrambled() -> None:
    for mixed in (False, True):
        block, (tokens, context) = window_block(0, scrambled=mixed)
        before = block(tokens, context, (8, 32), cross_index(8))
        columns = changed_columns(before, block(stepped(tokens), context, (8, 32), cross_index(8)))
        assert (columns == [20]) == (not mixed)


def window_block(shift: int, scrambled: bool) -> tuple[WindowCrossBlock, torch.Tensor]:
    """Attention in windows with random weights, and the tokens (1, 8 * 32, 16) of two maps."""
    torch.manual_seed(0)
    config = PartHeadConfig(window_heads=2, scrambled=scrambled)
    return WindowCrossBlock(16, config, shift).eval(), torch.randn(2, 1, 256, 16)


def stepped(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (1, 8 * 32, 16) with other ones in column 20."""
    other = tokens.clone().view(1, 8, 32, 16)
    other[:, :, 20] += torch.arange(16.0)
    return other.view_as(tokens)


def changed_columns(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Columns of maps (1, 8 * 32, C) that differ."""
    return (before != after).view(8, 32, -1).any(dim=2).any(dim=0).nonzero().flatten().tolist()


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
    module = WindowSelfAttention(32, PartHeadConfig(window_heads=2)).eval()
    x = torch.randn(1, 32, 8, 48)
    changed = x.clone()
    changed[..., 40:] += 1
    near = module.atten_block.attn(cut(x, 8)) - module.atten_block.attn(cut(changed, 8))
    assert near[:5].abs().max() == 0 and near[5].abs().max() > 0
