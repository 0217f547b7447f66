"""The small network: shapes, what depends on what, and its encoder with random weights."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg_core.cross_view.union_head.config import UnionHeadConfig, UnionTransferConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.errors import BadInput
from geoseg_core.geometry.inference import TinyEncoderConfig
from geoseg_core.geometry.tiny.cameras import solve_cameras
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.encoder import TinyEncoder
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.vggt.config import AggregatorConfig
from geoseg_core.views import FrameSet, View

SMALL = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=1, heads=2, registers=1), fused=(16, 16)
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TinyGeometry(SMALL).eval()


def images(views=2, height=48, width=64, seed=0):
    return torch.rand(1, views, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_outputs_have_the_documented_shapes(model):
    output = model(images(3))
    assert output.log_depth.shape == output.log_spread.shape == (1, 3, 48, 64)
    assert output.log_focal.shape == (1, 3)
    assert output.coarse.shape == (1, 3, 64, 6, 8) and output.fine.shape == (1, 3, 32, 12, 16)
    assert output.tokens.layers[0].shape == (1, 3, 3 * 4 + 2, 64)
    assert output.maps.shape == (1, 3, 64 + 16, 12, 16)


@torch.inference_mode()
def test_layers_that_are_asked_for_are_kept_and_change_nothing():
    deep = TinyGeometry(replace(SMALL, aggregator=replace(SMALL.aggregator, depth=3))).eval()
    plain, kept = deep(images(2)), deep(images(2), keep_layers=(0,))
    assert sorted(plain.tokens.layers) == [2] and sorted(kept.tokens.layers) == [0, 2]
    assert torch.equal(plain.log_depth, kept.log_depth)


@torch.inference_mode()
def test_the_maps_for_heads_hold_both_descriptors(model):
    output = model(images(2))
    coarse, fine = model.descriptors(output.maps[0])
    assert torch.equal(coarse, output.coarse[0])
    assert torch.allclose(fine, output.fine[0], atol=1e-5)


@torch.inference_mode()
def test_a_batch_gives_what_each_scene_gives_alone(model):
    first, second = images(seed=1), images(seed=2)
    both = model(torch.cat((first, second)))
    for index, scene in enumerate((first, second)):
        assert torch.allclose(both.log_depth[index], model(scene).log_depth[0], atol=1e-5)


@torch.inference_mode()
def test_other_views_after_the_first_change_places_with_their_results(model):
    scene = images(3, seed=3)
    plain, swapped = model(scene), model(scene[:, [0, 2, 1]])
    assert torch.allclose(plain.log_depth[:, [0, 2, 1]], swapped.log_depth, atol=1e-5)
    assert torch.allclose(plain.log_focal[:, [0, 2, 1]], swapped.log_focal, atol=1e-5)


@torch.inference_mode()
def test_views_see_each_other(model):
    scene, other = images(seed=4), images(seed=5)
    changed = torch.stack((scene[:, 0], other[:, 1]), dim=1)
    assert not torch.allclose(model(scene).log_depth[:, 0], model(changed).log_depth[:, 0], atol=1e-4)


@torch.inference_mode()
def test_the_first_camera_is_the_world_and_intrinsics_fit_the_input(model):
    cameras = solve_cameras(model(images(3)))
    assert np.array_equal(cameras.camera_to_world[0], np.eye(4)) and cameras.scales[0] == 1
    assert np.array_equal(cameras.intrinsics[:, :2, 2], np.tile((31.5, 23.5), (3, 1)))


def test_sizes_that_no_patch_divides_are_refused(model):
    with pytest.raises(BadInput, match="16"):
        model(images(height=50))


def test_more_views_than_the_memory_has_room_for_are_refused_by_name(model):
    # 700 bytes for each of 80 x 48 pixels: four views in 11 MiB.
    config = TinyEncoderConfig(pixels=64 * 64, memory_mib=11)
    views = [View(f"camera_{number}", np.zeros((48, 64, 3), np.uint8)) for number in range(5)]
    encoder = TinyEncoder(deepcopy(model), config)
    assert len(encoder.encode(FrameSet(tuple(views[:4]))).views) == 4
    words = "at most 4 views of 3x5 patches in 11 MiB, got 5; give fewer views, a smaller `pixels`, or more `memory"
    with pytest.raises(BadInput, match=words):
        encoder.encode(FrameSet(tuple(views)))


def test_the_encoder_keeps_the_contract_at_the_pixels_of_the_images(model):
    generator = np.random.default_rng(0)
    shots = [generator.integers(0, 256, size, np.uint8) for size in ((120, 160, 3), (90, 120, 3))]
    frames = FrameSet(tuple(View(name, shot) for name, shot in zip(("ego", "exo"), shots, strict=True)))
    scene = TinyEncoder(deepcopy(model)).encode(frames)
    assert [view.depth_m.shape for view in scene.views] == [(120, 160), (90, 120)]
    assert all((view.depth_m > 0).all() and np.isfinite(view.points).all() for view in scene.views)
    tracks = scene.track(np.array([[10.0, 20.0], [100.0, 60.0], [159.0, 119.0]]), 0, [1])
    assert tracks.points_px.shape == (1, 3, 2) and tracks.visible.shape == (1, 3)
    assert (tracks.points_px > -0.6).all() and (tracks.points_px < (120, 90)).all()
    with pytest.raises(BadInput, match="layers"):
        scene.features((7,))


@torch.inference_mode()
def test_a_view_is_matched_with_views_of_other_sets(model):
    encoder = TinyEncoder(deepcopy(model))
    shots = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
    kept = encoder.encode(FrameSet((View("ego", shots[0]),))).matching_maps(0)[0]
    later = encoder.encode(FrameSet(tuple(View(name, shot) for name, shot in zip("ab", shots, strict=True))))
    maps = torch.stack((kept, later.matching_maps(0)[1]))
    points, seen = encoder.matched_points(maps, np.array([[10.0, 20.0], [40.0, 30.0]]))
    assert points.shape == (2, 2) and ((seen >= 0) & (seen <= 1)).all()
    same, _ = encoder.matched_points(torch.stack((kept, kept)), np.array([[10.0, 20.0], [40.0, 30.0]]))
    assert np.abs(same - [[10, 20], [40, 30]]).max() < 16
    masks = np.zeros((2, *later.placements[1].canvas), bool)
    assert encoder.matched_masks(maps, masks).shape == masks.shape


@pytest.mark.parametrize("look", ["whole", "zoom", "encode"])
def test_masks_are_carried_by_a_union_head_on_its_descriptors(model, look):
    shots = np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), np.uint8)
    frames = FrameSet(tuple(View(name, shot) for name, shot in zip(("ego", "exo"), shots, strict=True)))
    scene = TinyEncoder(deepcopy(model)).encode(frames)
    head = UnionHead(UnionHeadConfig(
        width=80, map_stride=4, fusion_stride=4, fusion_width=32, fusion_inner=16, fusion_hidden=16, token_inner=16,
    ))  # fmt: skip
    masks = np.zeros((2, 120, 160), bool)
    masks[0, 20:60, 30:70], masks[1, 80:110, 20:140] = True, True
    for source in (0, 1):
        found = UnionHeadTransfer(head, UnionTransferConfig(look))(scene, source, masks)
        assert [each.shape for each in found.masks] == [(2, 120, 160)] * 2
        assert (found.masks[source] == masks).all()


@torch.inference_mode()
def test_weights_in_bf16_hardly_change_what_comes_out(model):
    scene = images(seed=4)
    exact, found = model(scene), deepcopy(model).to_reduced(torch.bfloat16)(scene)
    for name in ("log_depth", "log_spread", "log_focal", "coarse", "fine"):
        wanted, got = getattr(exact, name), getattr(found, name)
        assert got.dtype == torch.float32
        assert (got - wanted).abs().max() < 0.03 * wanted.abs().max().clamp(min=1)


def test_automatic_precision_suits_the_device(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert TinyEncoderConfig().on(cpu) == TinyEncoderConfig(precision="bf16", packed=True)
    assert TinyEncoderConfig(precision="fp32").on(cpu) == TinyEncoderConfig(precision="fp32", packed=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert TinyEncoderConfig().on(cpu) == TinyEncoderConfig(precision="fp32", packed=False)
