"""The union head at a small size with random weights: options, sizes, batches, refinement, bad input."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead, sample_points, without_points
from geoseg_core.cross_view.union_head.steps import training_output
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.weights.chosen import config_metadata, stored_config
from geoseg_core.weights.convert import convert

SMALL = UnionHeadConfig(
    width=16, heads=2, map_stride=2, mask_channels=4, fusion_stride=3, fusion_width=24, fusion_inner=8,
    fusion_hidden=32, token_inner=8, token_hidden=20, upscale_channels=(6, 4),
)  # fmt: skip


def head_of(config: UnionHeadConfig = SMALL) -> UnionHead:
    torch.manual_seed(3)
    return UnionHead(config).eval()


def pairs_of(batch: int = 3, cells: tuple[int, int] = (6, 9), points: int = 4) -> HeadInput:
    random = torch.Generator().manual_seed(0)
    height, width = 2 * cells[0], 2 * cells[1]
    maps = torch.randn(2, batch, 16, *cells, generator=random)
    masks = torch.zeros(batch, height, width, dtype=torch.bool)
    for row in range(batch):
        masks[row, 2 : 5 + row, 1 : 7 + row] = True
    places = torch.rand(2, batch, points, 2, generator=random) * torch.tensor([width - 1, height - 1])
    return HeadInput(maps[0], maps[1], masks, places[0], places[1])


@pytest.mark.parametrize("cells", [(6, 9), (12, 3)])
@torch.inference_mode()
def test_masks_have_the_size_of_the_image_whatever_its_shape(cells: tuple[int, int]) -> None:
    output = head_of()(pairs_of(2, cells))
    assert output.logits.shape == (2, 2 * cells[0], 2 * cells[1])
    assert output.raw.shape == (2, 1, 4 * cells[0], 4 * cells[1]) and output.token.shape == (2, 16)


@pytest.mark.parametrize("changes", [
    {}, {"fusion": "before", "fusion_stages": 2}, {"fusion": "none"}, {"mask_encoder": "single", "hyper_layers": 1},
    {"blocks": 3, "map_stride": 2, "upscale_stride": 3},
])  # fmt: skip
@torch.inference_mode()
def test_pairs_in_a_batch_do_not_see_each_other(changes: dict) -> None:
    head, pairs = head_of(replace(SMALL, **changes)), pairs_of()
    together = head(pairs).logits
    for row in range(3):
        alone = HeadInput(*(each[row : row + 1] for each in vars(pairs).values() if each is not None))
        torch.testing.assert_close(head(alone).logits[0], together[row], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_without_fusion_and_points_only_the_mask_token_sees_the_source() -> None:
    plain = head_of(replace(SMALL, fusion="none"))
    assert plain(pairs_of(points=0)).logits.shape == (3, 12, 18)
    assert not any("sa_" in name or "downsampling" in name for name in plain.state_dict() if "mask_" not in name)


@torch.inference_mode()
def test_points_can_be_left_out() -> None:
    head, pairs = head_of(), pairs_of()
    torch.testing.assert_close(head(without_points(pairs)).logits, head(pairs_of(points=0)).logits)
    assert not torch.allclose(head(without_points(pairs)).logits, head(pairs).logits, atol=1e-4)


@torch.inference_mode()
def test_a_head_made_without_points_or_prior_does_not_look_at_them(tmp_path: Path) -> None:
    pairs, prior = pairs_of(), torch.full((3, 1, 12, 18), 8.0)
    given = replace(pairs, prior=prior)
    for made, seen in (
        ({"guided": False}, replace(without_points(pairs), prior=prior)),
        ({"prior": False}, pairs),
        ({"guided": False, "prior": False}, without_points(pairs)),
    ):
        config = replace(SMALL, **made)
        path = tmp_path / "head.safetensors"
        save_file(head_of(config).state_dict(), path, config_metadata(config))
        loaded = UnionHead.from_checkpoint(path, stored_config(path, UnionHeadConfig()))
        torch.testing.assert_close(loaded(given).logits, head_of()(seen).logits)
        torch.testing.assert_close(training_output(loaded, given).logits, training_output(head_of(), seen).logits)
        assert not torch.allclose(loaded(given, 0).logits, head_of()(given, 0).logits, atol=1e-4)


@torch.inference_mode()
def test_other_features_are_brought_to_the_width_and_stride_first() -> None:
    config = replace(SMALL, input_width=20, input_shrink=2, map_stride=4)
    head = head_of(config)
    assert (config.given_width, config.given_stride) == (20, 2)
    plain = pairs_of(cells=(6, 12))
    given = torch.randn(2, 3, 20, 6, 12, generator=torch.Generator().manual_seed(1))
    pairs = replace(plain, source_maps=given[0], target_maps=given[1])
    inner = UnionHead(replace(SMALL, map_stride=4)).eval()
    inner.load_state_dict({name: each for name, each in head.state_dict().items() if not name.startswith("input.")})
    brought = replace(pairs, source_maps=head.input(given[0]), target_maps=head.input(given[1]))
    torch.testing.assert_close(head(pairs).logits, inner(brought).logits)
    with pytest.raises(BadInput, match="multiples of 6"):
        head(replace(pairs, source_maps=given[0][..., :9], target_maps=given[1][..., :9], masks=pairs.masks[..., :18]))


@torch.inference_mode()
def test_the_order_of_the_points_does_not_matter() -> None:
    head, pairs = head_of(), pairs_of()
    source, target = pairs.source_points_px.flip(1), pairs.target_points_px.roll(1, 1)
    turned = replace(pairs, source_points_px=source, target_points_px=target)
    torch.testing.assert_close(head(pairs).logits, head(turned).logits, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_refinements_repeat_the_call_with_the_clamped_mask() -> None:
    head, pairs = head_of(), pairs_of()
    first = head(pairs, refinements=0)
    again = head.call(pairs, 1, head.resized_feedback(first.raw))
    assert torch.equal(head(pairs).logits, again.logits) and not torch.equal(first.logits, again.logits)
    fed = head.resized_feedback(torch.full((1, 1, 24, 36), 99.0))
    assert fed.shape == (1, 1, 12, 18)
    torch.testing.assert_close(fed, torch.full_like(fed, 32.0))


def test_a_step_learns_from_the_last_call_alone_and_from_half_without_feedback() -> None:
    head, pairs = head_of().train(), pairs_of(4)
    logits = training_output(head, pairs, 0.5, refinements=2).logits
    with torch.no_grad():
        torch.testing.assert_close(logits[:2], head(pairs, refinements=0).logits[:2])
        torch.testing.assert_close(logits[2:], head(pairs, refinements=2).logits[2:], rtol=1e-4, atol=1e-5)
    logits[2:].sum().backward()
    gradient = head.prompt_encoder.src_point_pe.weight.grad
    assert gradient is not None and bool(torch.isfinite(gradient).all())
    assert training_output(head, pairs_of(1), 1.0).logits.shape == (1, 12, 18)
    assert training_output(head, pairs_of(1), 0.0).logits.shape == (1, 12, 18)


def test_pairs_of_the_same_views_may_share_their_maps() -> None:
    head, pairs = head_of(), pairs_of(3)
    shared = replace(pairs, source_maps=pairs.source_maps[:1], target_maps=pairs.target_maps[:1])
    apart = replace(pairs, source_maps=pairs.source_maps[:1].expand(3, -1, -1, -1),
                    target_maps=pairs.target_maps[:1].expand(3, -1, -1, -1))  # fmt: skip
    with torch.inference_mode():
        torch.testing.assert_close(head(shared).logits, head(apart).logits)


def test_a_head_that_says_whether_an_object_is_there_finds_no_mask_where_it_is_not() -> None:
    head, pairs = UnionHead(replace(SMALL, presence=True)).eval(), pairs_of(2)
    last = head.presence.layers[-1]
    torch.nn.init.zeros_(last.weight)
    for bias, there in ((3.0, True), (-3.0, False)):
        torch.nn.init.constant_(last.bias, bias)
        with torch.inference_mode():
            output = head(pairs)
        assert output.presence is not None and output.presence.tolist() == [bias, bias]
        torch.testing.assert_close(output.masks, (output.logits > 0) & there)
    assert head_of()(pairs).presence is None
    joint = training_output(head.train(), pairs_of(4), 0.5)
    assert joint.presence is not None and joint.presence.shape == (4,)


@torch.inference_mode()
def test_detail_draws_where_the_given_features_are_and_nowhere_else() -> None:
    head = head_of(replace(SMALL, input_width=20, input_shrink=2, map_stride=4, detail=True))
    masks, places = torch.zeros(1, 24, 36, dtype=torch.bool), torch.tensor([[[5.0, 7.0]]])
    masks[0, 4:10, 2:9] = True
    target = torch.zeros(1, 20, 12, 18)
    target[0, :, 3, 5] = 1.0
    pairs = HeadInput(torch.randn(1, 20, 12, 18), target, masks, places, places)
    without = head(pairs, refinements=0).raw
    torch.nn.init.normal_(head.mask_decoder.detail.weight)
    changed = (head(pairs, refinements=0).raw != without)[0, 0]
    expected = torch.zeros_like(changed)
    expected[6:8, 10:12] = True
    assert torch.equal(changed, expected)


def test_detail_needs_features_of_the_size_of_the_first_enlargement() -> None:
    for changes in ({}, {"input_width": 20, "input_shrink": 1}):
        with pytest.raises(BadConfig, match="input_shrink"):
            UnionHead(replace(SMALL, detail=True, **changes))


def test_features_are_sampled_corner_to_corner() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    points = torch.tensor([[[0.0, 0], [7, 5], [7, 0], [3.5, 2.5], [99, 99]]])
    found = sample_points(maps, points, (6, 8))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([0.0, 11, 3, 5.5, 11]))


def test_checkpoints_load_strictly_with_or_without_the_training_prefix(tmp_path: Path) -> None:
    head, pairs = head_of(), pairs_of()
    save_file({f"module.{name}": each for name, each in head.state_dict().items()}, tmp_path / "head.safetensors")
    loaded = UnionHead.from_checkpoint(tmp_path / "head.safetensors", SMALL)
    with torch.inference_mode():
        assert torch.equal(loaded(pairs).logits, head(pairs).logits)
    with pytest.raises(BadInput, match="mis-shaped"):
        UnionHead.from_checkpoint(tmp_path / "head.safetensors", replace(SMALL, token_hidden=24))


def test_shapes_that_do_not_fit_are_refused() -> None:
    head, pairs = head_of(), pairs_of()
    with pytest.raises(BadInput, match=r"masks \(3, 12, 18\), got \(3, 12, 17\)"):
        head(replace(pairs, masks=pairs.masks[..., 1:]))
    with pytest.raises(BadInput, match="maps"):
        head(replace(pairs, target_maps=pairs.target_maps[:, 1:]))
    with pytest.raises(BadInput, match="multiples of 3"):
        head(pairs_of(cells=(6, 8)))


def test_a_checkpoint_as_published_is_converted_and_loaded(tmp_path: Path) -> None:
    head = head_of()
    optimizer = torch.optim.AdamW(head.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [8, 11])
    training_output(head, pairs_of()).logits.sum().backward()
    optimizer.step()
    saved = {"model": head.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(saved | {"epoch": 12}, tmp_path / "main_exp.pth")
    converted = convert(tmp_path / "main_exp.pth")
    assert set(converted.left_out) == {"optimizer", "scheduler", "epoch"}
    loaded = UnionHead.from_checkpoint(converted.path, SMALL)
    with torch.inference_mode():
        assert torch.equal(loaded(pairs_of()).logits, head(pairs_of()).logits)
