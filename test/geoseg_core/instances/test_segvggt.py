"""SegVGGT at a small size: geometry as of VGGT, and queries that read all its layers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_models import SEGVGGT, VGGT, assert_same, random_images, small_segvggt

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.vggt.config import VggtConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.instances.queries.decoding import found_instances
from geoseg_core.instances.queries.segvggt import NEW, SegVggt, SegVggtConfig, SegVggtOutput


@pytest.fixture(scope="module")
def model() -> SegVggt:
    return small_segvggt()


def masks(output: SegVggtOutput) -> torch.Tensor:
    assert output.queries is not None
    return output.queries.mask_logits


@torch.inference_mode()
def test_the_geometry_is_that_of_vggt_with_the_same_weights_and_names(model: SegVggt) -> None:
    plain = Vggt(replace(VGGT, heads=("camera", "depth"))).eval()
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(NEW)}
    plain.load_state_dict(own)
    images = random_images(2, 3)
    found, wanted = model(images), plain(images)
    assert torch.equal(found.depth, wanted.depth) and torch.equal(found.depth_confidence, wanted.depth_confidence)
    assert torch.equal(found.pose_encodings[-1], wanted.pose_encodings[-1])


@pytest.mark.parametrize(("height", "width"), [(28, 56), (42, 70), (14, 14)])
@torch.inference_mode()
def test_masks_are_of_half_the_size_of_the_images(model: SegVggt, height: int, width: int) -> None:
    output = model(random_images(2, 3, height, width), heads=())
    assert masks(output).shape == (2, 6, 3, height // 2, width // 2)
    assert output.queries.class_logits.shape == (2, 6, 2)
    assert output.depth is None and output.queries.view_shares is None
    assert all(len(found.labels) == 3 for found in found_instances(output.queries, (height, width)))


@torch.inference_mode()
def test_a_batch_gives_what_its_samples_give_and_chunks_change_nothing(model: SegVggt) -> None:
    images = random_images(2, 3, 28, 56)
    whole = masks(model(images))
    assert_same(whole, torch.cat([masks(model(each[None])) for each in images]))
    assert_same(masks(model(images, frame_chunk=1)), whole)


@torch.inference_mode()
def test_views_after_the_first_may_come_in_any_order(model: SegVggt) -> None:
    images, order = random_images(1, 4), [0, 3, 1, 2]
    assert_same(masks(model(images[:, order])), masks(model(images))[:, :, order])


@torch.inference_mode()
def test_shares_of_the_views_add_up_and_change_nothing(model: SegVggt) -> None:
    images = random_images(1, 3)
    plain, shared = model(images), model(images, shares=True, steps=True)
    assert_same(masks(shared), masks(plain))
    assert shared.queries.view_shares.shape == (3, 1, 6, 3)
    torch.testing.assert_close(shared.queries.view_shares.sum(dim=-1), torch.ones(3, 1, 6))
    assert len(shared.queries.earlier) == 2
    assert model(images, shares=True).queries.earlier == ()


@torch.inference_mode()
def test_what_a_view_shows_reaches_the_masks_of_the_others(model: SegVggt) -> None:
    images = random_images(1, 3)
    other = images.clone()
    other[:, 2] = 1 - other[:, 2]
    assert not torch.allclose(masks(model(images))[:, :, 0], masks(model(other))[:, :, 0], atol=1e-4)


@torch.inference_mode()
def test_only_the_layers_that_were_chosen_are_read() -> None:
    model = SegVggt(replace(SEGVGGT, queries=replace(SEGVGGT.queries, insertion="late")))
    assert len(model.decoder.layers) == 2 and model.config.queries.layers == (1, 2)
    assert masks(model(random_images(1, 2))).shape[1] == 6


def test_weights_are_read_back_also_in_a_smaller_type(model: SegVggt, tmp_path: Path) -> None:
    path = tmp_path / "segvggt.safetensors"
    save_file(model.state_dict(), path)
    images = random_images(1, 2)
    with torch.inference_mode():
        wanted = masks(model(images))
        assert torch.equal(masks(SegVggt.from_checkpoint(path, SEGVGGT)(images)), wanted)
        small = masks(SegVggt.from_checkpoint(path, SEGVGGT, torch.bfloat16)(images))
    assert (small.float() - wanted).abs().mean() < 0.05 * wanted.abs().mean()
    with pytest.raises(BadInput, match="decoder.layers.2"):
        SegVggt.from_checkpoint(path, replace(SEGVGGT, queries=replace(SEGVGGT.queries, insertion="early")))


@pytest.mark.parametrize("sizes", [{"token_width": 64}, {"token_layers": 4}, {"features": 8}])
def test_queries_that_do_not_fit_the_trunk_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(BadConfig, match=r"of the trunk and the feature head, \(32, 3, 16\)"):
        SegVggt(replace(SEGVGGT, queries=replace(SEGVGGT.queries, **sizes)))


def test_the_defaults_are_those_of_vggt_1b_with_queries_in_all_layers() -> None:
    with torch.device("meta"):
        model = SegVggt(SegVggtConfig())
    assert len(model.decoder.layers) == 24 and model.decoder.queries.shape == (1, 400, 1024)
    names = {name for name in model.state_dict() if not name.startswith(NEW)}
    with torch.device("meta"):
        assert names == set(Vggt(VggtConfig(heads=("camera", "depth"))).state_dict())
