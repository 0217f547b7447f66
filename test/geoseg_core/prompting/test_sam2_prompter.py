"""MV-SAM on SAM 2 and any geometry encoder, at a small size with random weights: what must hold of the whole chain."""

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scenes import render_set, tabletop
from small_models import small_pi3, small_vggt
from small_sam import SIDE, small_sam, small_sam_folder

from geoseg_core.cross_view.sam2 import Sam2
from geoseg_core.errors import BadConfig, BadInput, MissingExtra
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.inference import Pi3EncoderConfig, VggtEncoderConfig
from geoseg_core.geometry.pi3.encoder import Pi3Encoder
from geoseg_core.geometry.pointmap import lift
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.geometry.tiny.point_map import PointMaps
from geoseg_core.geometry.vggt.encoder import VggtEncoder
from geoseg_core.prompting.mv_sam.asking import decoded, marked_by
from geoseg_core.prompting.mv_sam.config import MvSamConfig, sam2_decoder
from geoseg_core.prompting.mv_sam.model import NOTHING, MvSam, ScenePrompts
from geoseg_core.prompting.mv_sam.sam2_prompter import (
    Sam2Prompter,
    mean_camera,
    scene_embedding,
    square_maps,
)
from geoseg_core.prompting.session import PromptSession
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata

DECODER = MvSamConfig(image=32, stride=16, fine=4, fine_stride=4, width=32, inner=16, hidden=64, heads=2)
SIZE = (60, 80)


def photograph(seed, size=SIZE):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


def frames(order=(0, 1, 2)):
    return FrameSet(tuple(View(f"camera{number}", photograph(number)) for number in order))


def prompter_of(config=DECODER):
    torch.manual_seed(2)
    decoder = MvSam(config)
    # So that an untrained decoder finds something everywhere, and not the same for each prompt.
    torch.nn.init.constant_(decoder.first, 0.0)
    return Sam2Prompter(decoder, Sam2(small_sam()))


@pytest.fixture(scope="module")
def prompter():
    return prompter_of()


@pytest.fixture(scope="module")
def pi3():
    return Pi3Encoder(small_pi3(), Pi3EncoderConfig(pixels=3000))


def logits_of(prompter, scene, prompts):
    """Logits (V, h, w) of the object that prompts ask for."""
    given = prompter.embed(scene)
    told = [marked_by(each, given) for each in prompts]
    return decoded(prompter.decoder, given.prepared, told)


CLICKS = [
    Prompt("camera0", np.array([[20.0, 30], [50, 12]]), np.array([True, False])),
    Prompt("camera2", np.array([[60.0, 40]]), np.array([True])),
]


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_masks_do_not_depend_on_the_order_of_the_frames(prompter, pi3, order):
    straight = logits_of(prompter, pi3.encode(frames()), CLICKS)
    turned = logits_of(prompter, pi3.encode(frames(order)), CLICKS)
    assert straight.shape == (3, SIDE // 4, SIDE // 4)
    assert float(straight.std()) > 0.1
    assert float((straight[list(order)] - turned).abs().max()) < 1e-5


@pytest.fixture(scope="module")
def measured():
    return RgbdEncoder().encode(render_set(tabletop(), size=(72, 96))[0])


def click(scene):
    return [Prompt(scene.frames.cameras[0], np.array([[40.0, 30]]), np.array([True]))]




def test_masks_do_not_depend_on_where_the_world_is(prompter, measured):
    turn = cv2.Rodrigues(np.array([0.5, -1.0, 2.0]))[0]
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = turn, (3.0, -2.0, 1.0)
    views = [
        replace(view, camera_to_world=move @ view.camera_to_world,
                points=(view.points @ turn.T + move[:3, 3]).astype(np.float32))
        for view in measured.views
    ]  # fmt: skip
    other = replace(measured, views=tuple(views))
    straight, moved = (logits_of(prompter, each, click(each)) for each in (measured, other))
    assert torch.allclose(straight, moved, atol=1e-4)


def test_scenes_of_any_encoder_and_views_of_any_size_are_answered(prompter, measured):
    sizes = (SIZE, SIZE, (90, 70))
    views = [View(f"camera{number}", photograph(number, size)) for number, size in enumerate(sizes)]
    predicted = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56)).encode(FrameSet(tuple(views)))
    for scene in (predicted, measured):
        session = PromptSession(prompter, scene)
        answer = session.add(scene.frames.cameras[1], points=[(30, 20)])
        assert [mask.shape for mask in answer.masks] == [view.size for view in scene.frames.views]
        assert 0 < np.mean([mask.mean() for mask in answer.masks]) < 1
        again = session.add(scene.frames.cameras[0], box=(5, 5, 40, 30), object_id=2)
        assert any((one != other).any() for one, other in zip(answer.masks, again.masks, strict=True))


def test_a_mask_of_one_view_does_not_depend_on_what_another_shows(prompter, measured):
    views = list(measured.frames.views)
    views[2] = replace(views[2], image=photograph(5, views[2].size))
    other = replace(measured, frames=FrameSet(tuple(views)))
    before, after = (logits_of(prompter, each, click(each)) for each in (measured, other))
    assert torch.allclose(before[:2], after[:2], atol=1e-5)
    assert not torch.allclose(before[2], after[2], atol=1e-2)


def test_many_prompts_at_once_are_answered_as_one_by_one(prompter, measured):
    given = prompter.embed(measured)
    random = torch.Generator().manual_seed(0)
    kinds = torch.tensor([[1, 0, 1], [1, 1, NOTHING], [1, NOTHING, NOTHING], [0, 1, 1]])[None]
    views = torch.randint(3, kinds.shape, generator=random)
    pixels = torch.randint(SIDE, (*kinds.shape, 2), generator=random)
    decoder = prompter.decoder
    with torch.no_grad():
        together = decoder.decode(given.prepared, ScenePrompts(kinds, views, pixels))
        for row in range(4):
            there = kinds[0, row] != NOTHING
            alone = ScenePrompts(*(each[:, row : row + 1, there] for each in (kinds, views, pixels)))
            assert torch.allclose(decoder.decode(given.prepared, alone)[0, 0], together[0, row], atol=1e-5)


def test_embeddings_are_those_that_sam_gives_its_own_decoder(prompter):
    sam = prompter.sam
    inputs = torch.cat([sam.prepared(photograph(number)) for number in range(6)])
    maps = PointMaps(torch.zeros(2, 3, SIDE, SIDE, 3), torch.zeros(2, 3, SIDE, SIDE), torch.zeros(2, 3, 3, 4))
    embedding = scene_embedding(sam, inputs.unflatten(0, (2, 3)), maps)
    assert embedding.image.shape == (2, 3, 32, 4, 4) and embedding.fine.shape == (2, 3, 4, 16, 16)
    with torch.no_grad():
        fine, _, image = sam.model.get_image_embeddings(inputs[4:5])
    assert torch.allclose(embedding.image[1, 1], image[0], atol=1e-4)
    assert torch.allclose(embedding.fine[1, 1], fine[0], atol=1e-4)
    # Any size becomes the same square; whether the pixels are bytes or shares of one is no matter.
    shares = torch.from_numpy(photograph(3)).permute(2, 0, 1)[None] / 255
    assert torch.allclose(sam.squared(shares), sam.prepared(photograph(3)), atol=1e-5)


def test_maps_by_hand():
    # 2 x 4 pixels at depth 2, f = 2; the camera stands at (1, 0, 0) and looks along z, as the mean of it alone does.
    pose = np.eye(4)
    pose[0, 3] = 1.0
    depth = np.full((2, 4), 2.0, np.float32)
    depth[1, 3] = 0
    intrinsics = np.array([[2.0, 0, 1.5], [0, 2, 0.5], [0, 0, 1]])
    confidence = np.arange(8, dtype=np.float32).reshape(2, 4)
    view = ViewGeometry(depth, confidence, intrinsics, pose, lift(depth, intrinsics, pose))
    maps = square_maps([view], 8, torch.device("cpu"))
    # Four rows of the square are one of the image, two columns are one.
    assert maps.confidence[0, 0, :, ::2].tolist() == [[0, 1, 2, 3]] * 4 + [[4, 5, 6, 7]] * 4
    assert maps.points[0, 0, 0, 5].tolist() == [0.5, -0.5, 2] and bool(maps.points[0, 0, 7, 7].isnan().all())
    across, down, ahead = (maps.projections[0, 0] @ torch.tensor([0.5, -0.5, 2, 1])).tolist()
    # The middle of the third of four columns, of the first of two rows.
    assert (across / ahead, down / ahead) == pytest.approx((2.5 / 4, 0.5 / 2))


def test_the_mean_camera_by_hand():
    turned = [cv2.Rodrigues(np.array([0.0, angle, 0]))[0] for angle in (0.2, 0.4, 0.6)]
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3] = turned
    poses[:, 0, 3] = 0.0, 1.0, 5.0
    mean = mean_camera(poses)
    np.testing.assert_allclose(mean[:3, :3], turned[1], atol=1e-12)
    assert mean[:3, 3].tolist() == [2, 0, 0]


def test_weights_come_back(prompter, measured, tmp_path):
    tensors = {name: each.contiguous() for name, each in prompter.decoder.state_dict().items()}
    save_file(tensors, tmp_path / "weights.safetensors", config_metadata(DECODER))
    folder = small_sam_folder(tmp_path / "sam")
    loaded = Sam2Prompter.from_weights(tmp_path / "weights.safetensors", str(folder))
    clicks = click(measured)
    assert torch.equal(logits_of(loaded, measured, clicks), logits_of(prompter, measured, clicks))
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors", config_metadata(DECODER))
    with pytest.raises(BadInput, match="missing"):
        Sam2Prompter.from_weights(tmp_path / "other.safetensors", str(folder))


def test_a_decoder_for_other_embeddings_is_refused():
    with pytest.raises(BadConfig, match=r"fine_stride \(32, 16, 4, 4\), got \(256, 16, 32, 4\)"):
        Sam2Prompter(MvSam(sam2_decoder()), Sam2(small_sam()))


def test_the_published_size_is_that_of_the_paper():
    # 4.1 million trained parameters (table 8), of which the upscaling layers are not here.
    count = sum(each.numel() for each in MvSam(sam2_decoder()).parameters())
    assert 3.5e6 < count < 4.1e6


def test_edgetam_without_its_backbone_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "edgetam_video"}))
    save_file({}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingExtra, match=r"geoseg\[edgetam\]"):
        Sam2.from_pretrained(str(tmp_path))
