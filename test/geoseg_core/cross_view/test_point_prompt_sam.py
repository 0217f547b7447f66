"""Masks carried by points and SAM 2, at a small size with random weights, and what SAM is asked, by hand."""

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scenes import render_set, tabletop
from small_models import small_vggt
from small_sam import SIDE, small_sam, small_sam_folder

from geoseg_core.cross_view.point_prompt_config import PointPromptSamConfig
from geoseg_core.cross_view.point_prompt_sam import PointPromptSam, seen_points, view_prompts
from geoseg_core.cross_view.sam2 import Prompt, Sam2, like_prompts, sam2_folder
from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.errors import BadConfig, BadInput, MissingExtra
from geoseg_core.geometry.encoder import PointTracks
from geoseg_core.geometry.rgbd import RgbdEncoder, RgbdScene
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet, View

CONFIG = PointPromptSamConfig(anchors=3)
SIZE = (48, 64)
INTRINSICS = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
FRAMES, LABELS = render_set(tabletop(), size=(96, 128))
MASKS = np.stack([LABELS[0] == number for number in (1, 4, 6)])


@pytest.fixture(scope="module")
def sam() -> Sam2:
    return Sam2(small_sam())


@pytest.fixture(scope="module")
def scene() -> RgbdScene:
    return RgbdEncoder().encode(FRAMES)


class Asked:
    """What a model is asked, call by call."""

    def __init__(self, sam: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
        self.embedded: list[torch.Tensor] = []
        self.decoded: list[dict] = []
        self.embed, self.decode = sam.model.get_image_embeddings, sam.model.forward
        monkeypatch.setattr(sam.model, "get_image_embeddings", self.embedding)
        monkeypatch.setattr(sam.model, "forward", self.decoding)

    def embedding(self, image: torch.Tensor) -> list[torch.Tensor]:
        self.embedded.append(image)
        return self.embed(image)

    def decoding(self, **given: object) -> object:
        self.decoded.append(given)
        return self.decode(**given)


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def plane_scene(*right_m: float) -> RgbdScene:
    """Cameras, moved to the right, that look along z at a wall 2 m away: 0.2 m are 5 px."""
    views = []
    for number, shift in enumerate(right_m):
        pose = np.eye(4)
        pose[0, 3] = shift
        depth = np.full(SIZE, 2.0, np.float32)
        views.append(View(f"camera{number}", photograph(*SIZE, number), 0, INTRINSICS, pose, depth))
    return RgbdEncoder().encode(FrameSet(tuple(views)))


def block(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("source", [0, 2])
def test_all_objects_arrive_in_all_views_as_they_would_alone(scene: RgbdScene, sam: Sam2, source: int) -> None:
    masks = np.stack([LABELS[source] == number for number in (1, 4, 6)])
    transfer = PointPromptSam(sam, CONFIG)
    together = transfer(scene, source, masks)
    assert [each.shape for each in together.masks] == [(3, 96, 128)] * 3
    assert all(each.dtype == bool for each in together.masks)
    assert (together.masks[source] == masks).all() and (together.scores[source] == 1).all()
    assert together.visibility.shape == together.scores.shape == (3, 3)
    assert ((together.scores >= 0) & (together.scores <= 1)).all()
    others = [each.mean((1, 2)) for view, each in enumerate(together.masks) if view != source]
    assert ((np.array(others) > 0.01) & (np.array(others) < 0.99)).any(), "every mask is empty or full"
    for row in range(3):
        alone = transfer(scene, source, masks[row : row + 1])
        for view in range(3):
            assert (alone.masks[view][0] == together.masks[view][row]).mean() > 0.999
            assert alone.scores[view, 0] == pytest.approx(together.scores[view, row], abs=1e-5)
        assert (alone.visibility[:, 0] == together.visibility[:, row]).all()
    for view in range(3):
        seen = together.visibility[view] == Visibility.VISIBLE
        assert seen.tolist() == together.masks[view].any((1, 2)).tolist() == (together.scores[view] > 0).tolist()


def test_the_order_of_the_views_does_not_matter(scene: RgbdScene, sam: Sam2) -> None:
    order = [2, 0, 1]
    turned = RgbdEncoder().encode(FrameSet(tuple(FRAMES.views[index] for index in order)))
    plain, permuted = (PointPromptSam(sam, CONFIG)(*given, MASKS) for given in ((scene, 0), (turned, 1)))
    for place, index in enumerate(order):
        assert (permuted.masks[place] == plain.masks[index]).mean() > 0.999
        np.testing.assert_allclose(permuted.scores[place], plain.scores[index], atol=1e-5)
        assert (permuted.visibility[place] == plain.visibility[index]).all()


def test_a_scene_of_a_network_with_views_of_different_sizes(sam: Sam2) -> None:
    sizes = ((60, 80), (60, 80), (90, 70))
    views = [View(f"camera{number}", photograph(*size, number)) for number, size in enumerate(sizes)]
    predicted = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56)).encode(FrameSet(tuple(views)))
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 20:35, 30:50] = True
    masks[1, 40:50, 10:40] = True
    found = PointPromptSam(sam, replace(CONFIG, least_confidence=0.0))(predicted, 1, masks)
    assert [each.shape for each in found.masks] == [(2, *size) for size in sizes]
    assert (found.masks[1] == masks).all()


def test_sam_is_asked_at_the_places_that_the_tracks_say(sam: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, wall = Asked(sam, monkeypatch), plane_scene(0.0, 0.2, -0.4)
    masks = np.stack([block(10, 20, 30, 45), block(25, 40, 20, 30)])
    PointPromptSam(sam, CONFIG)(wall, 0, masks)
    assert [tuple(each.shape) for each in asked.embedded] == [(1, 3, SIDE, SIDE)] * 2
    assert len(asked.decoded) == 2, "all objects of a view at once"
    anchors = np.stack([mask_anchors(mask, 3).points_px for mask in masks])
    for given, shift in zip(asked.decoded, (-5, 10), strict=True):
        expected = anchors + [shift, 0]
        expected[..., 1] = (expected[..., 1] + 0.5) * 64 / 48 - 0.5  # 64 px wide as the model's input, 48 px high
        np.testing.assert_allclose(given["input_points"][:, 0], expected, atol=1e-4)
        assert given["input_points"].shape == (2, 1, 3, 2) and (given["input_labels"] == 1).all()
        assert given["input_masks"].shape == (2, 1, 16, 16) and given["multimask_output"] is False


def test_prompts_by_hand() -> None:
    wall, masks = plane_scene(0.0, 0.2), np.stack([block(10, 20, 30, 45), block(25, 40, 20, 30)])
    on_it, beside_it, none = np.array([[27.0, 12.4], [50, 40]]), np.array([[50.0, 40]]), np.zeros((0, 2))
    found = view_prompts(wall, 0, 1, masks, [on_it, none], CONFIG)
    assert found[0] is not None and found[1] is None
    np.testing.assert_array_equal(found[0].points_px, on_it)
    np.testing.assert_array_equal(found[0].mask, block(10, 20, 25, 40))
    (lone,) = view_prompts(wall, 0, 1, masks[:1], [beside_it], CONFIG)
    assert lone is not None and lone.mask is None, "a mask that holds none of the points is left out"
    (plain,) = view_prompts(wall, 0, 1, masks[:1], [on_it], replace(CONFIG, mask_prompt=False))
    assert plain is not None and plain.mask is None


def test_points_that_are_hidden_distrusted_or_outside_are_no_prompts() -> None:
    points = np.array([[[1.0, 2], [3, 4], [5, 6], [63.6, 7], [np.nan, 8]]])
    visible, trust = np.array([[True, False, True, True, True]]), np.array([[0.2, 0.9, 0.1, 0.9, 0.9]])
    np.testing.assert_array_equal(seen_points(PointTracks(points, visible, trust), 0, SIZE, 0.2), [[1, 2]])


def test_an_object_that_is_not_seen_has_no_mask(sam: Sam2) -> None:
    masks = np.stack([block(10, 20, 2, 10), block(10, 20, 40, 50)])
    found = PointPromptSam(sam, CONFIG)(plane_scene(0.0, 0.8), 0, masks)  # 20 px to the left
    assert not found.masks[1][0].any() and found.masks[1][1].any()
    assert found.scores[1, 0] == 0 and found.visibility[1].tolist() == [Visibility.OUT_OF_VIEW, Visibility.VISIBLE]


def test_a_view_that_sees_no_object_is_not_embedded(sam: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(sam, monkeypatch)
    found = PointPromptSam(sam, CONFIG)(plane_scene(0.0, 5.0), 0, block(10, 20, 40, 50)[None])
    assert not found.masks[1].any() and not asked.embedded


def test_without_depth_points_alone_are_asked(sam: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    wall, masks = plane_scene(0.0, 0.2), block(10, 20, 30, 45)[None]
    with_mask = PointPromptSam(sam, CONFIG)(wall, 0, masks)
    points = np.array([[[26.0, 12], [30, 15], [38, 18]]])
    monkeypatch.setattr(RgbdScene, "track", lambda *_: PointTracks(points, np.ones((1, 3), bool), np.ones((1, 3))))
    nothing = {"depth_m": np.zeros(SIZE, np.float32), "points": np.full((*SIZE, 3), np.nan, np.float32)}
    blind = [replace(view, **nothing) for view in wall.views]
    asked = Asked(sam, monkeypatch)
    without = PointPromptSam(sam, CONFIG)(replace(wall, views=tuple(blind)), 0, masks)
    assert asked.decoded[0]["input_masks"] is None
    assert (without.masks[1] != with_mask.masks[1]).any()


def test_one_point_without_a_mask_is_ambiguous_and_the_best_answer_counts(
    sam: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, image = Asked(sam, monkeypatch), photograph(*SIZE, 3)
    one = np.array([[20.0, 10]])
    _, overlaps = sam(image, [Prompt(one), Prompt(np.array([[20.0, 10], [25, 12]])), Prompt(one, block(5, 20, 10, 30))])
    assert [each["multimask_output"] for each in asked.decoded] == [False, True, False]
    with torch.inference_mode():
        every = sam.model(**asked.decoded[1]).iou_scores[0, 0]
    assert every.shape == (3,) and overlaps[0] == pytest.approx(float(every.max()), abs=1e-5)


def test_prompts_of_one_kind_go_together() -> None:
    two, mask = np.zeros((2, 2)), np.ones(SIZE, bool)
    prompts = [Prompt(two), Prompt(two[:1]), Prompt(two, mask), Prompt(two), Prompt(two[:1])]
    assert sorted(like_prompts(prompts)) == [[0, 3], [1, 4], [2]]


def test_places_and_logits_by_hand(sam: Sam2) -> None:
    np.testing.assert_allclose(sam.placed(np.array([[-0.5, -0.5], [0, 0], [127.5, 31.5]]), (32, 128)),
                               [[-0.5, -0.5], [-0.25, 0.5], [63.5, 63.5]])  # fmt: skip
    logits = sam.mask_logits(np.stack([np.arange(64) < 32] * 48)[None])
    assert logits.shape == (1, 1, 16, 16)
    np.testing.assert_allclose(logits[0, 0, 0, :6], 10, atol=1e-4)
    np.testing.assert_allclose(logits[0, 0, 0, 10:], -10, atol=1e-4)
    image = np.full((*SIZE, 3), 255, np.uint8)
    white = sam.prepared(image)
    assert white.shape == (1, 3, SIDE, SIDE)
    torch.testing.assert_close(white[0, :, 5, 7], torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-4, rtol=0)


def test_bfloat16_products_change_little(scene: RgbdScene, sam: Sam2) -> None:
    exact = PointPromptSam(sam, CONFIG)(scene, 0, MASKS)
    rounded = PointPromptSam(Sam2(sam.model, "autocast"), CONFIG)(scene, 0, MASKS)
    assert np.mean([(a == b).mean() for a, b in zip(exact.masks, rounded.masks, strict=True)]) > 0.9


def test_no_masks_give_none_and_bad_ones_are_refused(scene: RgbdScene, sam: Sam2) -> None:
    transfer = PointPromptSam(sam, CONFIG)
    found = transfer(scene, 0, np.zeros((0, 96, 128), bool))
    assert [each.shape for each in found.masks] == [(0, 96, 128)] * 3
    for masks, source, word in (
        (np.zeros((1, 96, 128), bool), 0, "is empty"),
        (np.ones((1, 96, 128), bool), 0, "covers the whole view"),
        (MASKS[:, 1:], 0, r"expected \(K, 96, 128\)"),
        (MASKS, 3, "source view from 0 to 2, got 3"),
    ):
        with pytest.raises(BadInput, match=word):
            transfer(scene, source, masks)


@pytest.mark.parametrize("kind", ["sam2", "sam2_video"])
def test_weights_of_a_folder_without_network(
    tmp_path: Path, sam: Sam2, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    folder = small_sam_folder(tmp_path / "sam")
    written = json.loads((folder / "config.json").read_text()) | {"model_type": kind}
    (folder / "config.json").write_text(json.dumps(written))
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    loaded = PointPromptSam.from_config(replace(CONFIG, weights=str(folder), device="cpu"))
    wall, masks = plane_scene(0.0, 0.2), block(10, 20, 30, 45)[None]
    ours, theirs = (transfer(wall, 0, masks) for transfer in (PointPromptSam(sam, CONFIG), loaded))
    assert (ours.masks[1] == theirs.masks[1]).all() and (ours.scores == theirs.scores).all()
    assert loaded.sam.model.dtype == torch.float32


def test_an_id_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, revision = tmp_path / "models--someone--small-sam", "0" * 40
    folder = small_sam_folder(stored / "snapshots" / revision)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert sam2_folder("someone/small-sam") == folder


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    def refused(weights: Path | str, word: str) -> None:
        with pytest.raises(BadInput, match=word):
            PointPromptSam.from_config(replace(CONFIG, weights=str(weights), device="cpu"))

    refused(tmp_path / "none", "got '.*none'; fetch one with `hf download")
    refused("facebook/no-such-model", "got 'facebook/no-such-model'; fetch one")
    refused(tmp_path, "expected the config.json of a SAM 2 model")
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    refused(tmp_path, "model_type sam2 or sam2_video.*got 'sam'")
    folder = small_sam_folder(tmp_path / "sam")
    tensors = load_file(folder / "model.safetensors")
    some = {name: each for name, each in tensors.items() if not name.startswith("mask_decoder.iou")}
    save_file(some, folder / "model.safetensors", {"format": "pt"})
    refused(folder, "expected all tensors of a SAM 2 model, got none for 7")
    (folder / "model.safetensors").write_bytes(b"damaged")
    refused(folder, "expected a SAM 2 model, got")
    (folder / "model.safetensors").unlink()
    refused(folder, "expected a SAM 2 model, got")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadConfig, match="^device: expected cpu"):
        PointPromptSam.from_config(replace(CONFIG, device="cuda:99"))


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"geoseg\[sam\]"):
        PointPromptSam.from_config(replace(CONFIG, weights=str(tmp_path), device="cpu"))
