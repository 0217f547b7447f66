"""Masks carried through an encoded scene by the union head, at a small size with random weights."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_models import small_vggt

from geoseg_core.cross_view.transferred import state_of
from geoseg_core.cross_view.union_head.config import EgoExoConfig, UnionHeadConfig, UnionTransferConfig
from geoseg_core.cross_view.union_head.looks import Coarse, encoded_pairs, returning, window_of_map
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.transfer import (
    UnionHeadTransfer,
    expected_overlap,
    without_small_parts,
)
from geoseg_core.cross_view.union_head.windows import UNSEEN, Letterbox, Window
from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import PointTracks
from geoseg_core.geometry.network_input import vggt_placement
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig, VggtScene
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet, View

PARITY = Path(__file__).parents[4] / "shared" / "reference" / "vggt_s" / "parity"
HEAD = UnionHeadConfig(
    width=16, heads=2, mask_channels=4, fusion_width=24, fusion_inner=8, fusion_hidden=32, token_inner=8,
    token_hidden=20, upscale_channels=(6, 4),
)  # fmt: skip
CONFIG = UnionTransferConfig("whole", EgoExoConfig(coarse_points=8, dropped=2, points=3), "fp32")


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def scene() -> VggtScene:
    views = [
        View("ego", photograph(60, 80, 0)),
        View("exo", photograph(60, 80, 1)),
        View("tall", photograph(90, 70, 2)),
    ]
    return VggtEncoder(small_vggt(), VggtEncoderConfig(side=56)).encode(FrameSet(tuple(views)))


@pytest.fixture(scope="module")
def head() -> UnionHead:
    torch.manual_seed(0)
    return UnionHead(HEAD)


def marked(size: tuple[int, int] = (60, 80)) -> np.ndarray:
    masks = np.zeros((2, *size), bool)
    masks[0, 20:35, 30:50] = True
    masks[1, 40:50, 10:40] = True
    return masks


@pytest.mark.parametrize("look", ["whole", "zoom", "encode"])
@pytest.mark.parametrize("source", [0, 1])
def test_all_objects_arrive_in_all_views_as_they_would_alone(
    scene: VggtScene, head: UnionHead, look: str, source: int
) -> None:
    transfer = UnionHeadTransfer(head, replace(CONFIG, look=look))
    masks = marked()
    both = transfer(scene, source, masks)
    assert [each.shape for each in both.masks] == [(2, 60, 80), (2, 60, 80), (2, 90, 70)]
    assert (both.masks[source] == masks).all() and (both.scores[source] == 1).all()
    assert both.visibility.shape == both.scores.shape == (3, 2)
    assert ((both.scores >= 0) & (both.scores <= 1)).all()
    alone = transfer(scene, source, masks[1:])
    one_at_a_time = UnionHeadTransfer(head, replace(CONFIG, look=look, pairs_at_once=1))(scene, source, masks)
    for view in range(3):
        assert (both.masks[view][1] == alone.masks[view][0]).mean() > 0.999
        assert (both.masks[view] == one_at_a_time.masks[view]).mean() > 0.999
        assert (both.visibility[view] == Visibility.VISIBLE).tolist() == both.masks[view].any((1, 2)).tolist()


def test_the_scene_is_encoded_again_for_the_close_look_alone(
    scene: VggtScene, head: UnionHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    plain = VggtEncoder.encode

    def counted(encoder: VggtEncoder, frames: FrameSet) -> VggtScene:
        encoded.append(len(frames.views))
        return plain(encoder, frames)

    monkeypatch.setattr(VggtEncoder, "encode", counted)
    for look, wanted in (("whole", []), ("zoom", []), ("encode", [3, 3])):
        encoded.clear()
        UnionHeadTransfer(head, replace(CONFIG, look=look))(scene, 0, marked())
        assert encoded == wanted, look


def test_bfloat16_products_change_little(scene: VggtScene, head: UnionHead) -> None:
    exact = UnionHeadTransfer(head, CONFIG)(scene, 0, marked())
    rounded = UnionHeadTransfer(head, replace(CONFIG, precision="autocast"))(scene, 0, marked())
    assert np.mean([(a == b).mean() for a, b in zip(exact.masks, rounded.masks, strict=True)]) > 0.9


@pytest.mark.parametrize("look", ["whole", "zoom", "encode"])
def test_projected_prompts_are_the_source_points_followed_in_what_is_shown(
    scene: VggtScene, head: UnionHead, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    plain = VggtScene.track

    def counted(self: VggtScene, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        asked.append((len(points_px), len(targets)))
        return plain(self, points_px, source, targets)

    monkeypatch.setattr(VggtScene, "track", counted)
    views = replace(CONFIG.views, prompts="projected")
    found = UnionHeadTransfer(head, replace(CONFIG, look=look, views=views))(scene, 1, marked()[:1])
    assert asked == ([(3, 2)] if look == "whole" else [(3, 1), (8, 1), (3, 2)])
    clusters = UnionHeadTransfer(head, replace(CONFIG, look=look))(scene, 1, marked()[:1])
    assert any((a != b).any() for a, b in zip(found.masks, clusters.masks, strict=True))


def test_a_tracker_matches_two_views_as_it_tracks_them() -> None:
    views = tuple(View(name, photograph(60, 80, seed)) for seed, name in enumerate(("ego", "exo")))
    scene = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56)).encode(FrameSet(views))
    points = np.array([[20.0, 30.0], [60.0, 10.0], [40.0, 55.0]])
    tracks = scene.track(points, 0, [1])
    places = scene.placements
    matched, seen = scene.encoder.matched_points(scene.matching_maps(0), places[0].to_network(points))
    assert np.allclose(places[1].to_source(matched), tracks.points_px[0], atol=1e-3)
    assert np.allclose(seen, tracks.confidence[0], atol=1e-4)
    assert scene.encoder.matched_masks(scene.matching_maps(0), np.zeros((1, *places[0].canvas), bool)) is None


def test_no_masks_give_none(scene: VggtScene, head: UnionHead) -> None:
    found = UnionHeadTransfer(head, CONFIG)(scene, 0, np.zeros((0, 60, 80), bool))
    assert [each.shape for each in found.masks] == [(0, 60, 80), (0, 60, 80), (0, 90, 70)]
    assert found.scores.shape == found.visibility.shape == (3, 0)


def test_bad_masks_sources_and_sets_are_refused(scene: VggtScene, head: UnionHead) -> None:
    transfer = UnionHeadTransfer(head, CONFIG)
    for masks, word in (
        (np.zeros((1, 60, 80), bool), "is empty"),
        (np.ones((1, 60, 80), bool), "covers the whole view"),
        (marked((60, 81)), r"expected \(K, 60, 80\)"),
        (marked()[0], r"expected \(K, 60, 80\)"),
    ):
        with pytest.raises(BadInput, match=word):
            transfer(scene, 0, masks)
    with pytest.raises(BadInput, match="source view from 0 to 2, got 3"):
        transfer(scene, 3, marked())
    top = np.zeros((1, 90, 70), bool)
    top[0, 0, 3] = True
    with pytest.raises(BadInput, match="sees none"):
        transfer(scene, 2, top)
    alone = scene.encoder.encode(FrameSet(scene.frames.views[:1]))
    with pytest.raises(BadInput, match="at least two views"):
        transfer(alone, 0, marked())


@pytest.mark.parametrize("size", [(60, 80), (90, 70), (56, 56)])
def test_logits_return_to_the_pixels_that_they_belong_to(size: tuple[int, int]) -> None:
    place = vggt_placement(size, "crop", 56)
    mask = np.zeros(size, bool)
    mask[size[0] // 2 - 8 : size[0] // 2 + 6, 20:44] = True
    logits = torch.from_numpy(np.where(place.map_to_network(mask), 9.0, -9.0))[None]
    back = returning(place)(logits)[0].numpy()
    assert back.shape == size
    wrong = (back > 0) != mask
    assert not wrong[2:-2].any() or wrong.mean() < 0.02
    unseen = size[0] > size[1]
    assert (back[0] == UNSEEN).all() == unseen


def test_a_window_of_a_map_holds_what_a_linear_map_says_there() -> None:
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    features = torch.stack((columns, rows)) * 2 + 1  # the place of each cell's centre in a frame of 40 x 60
    window = Window((40, 60), 12, 8, 20, 20, (40, 40))
    shown = window_of_map(features, window)
    assert shown.shape == (2, 20, 20)
    torch.testing.assert_close(shown[0, 0], 12 + torch.arange(20.0) + 0.5)
    torch.testing.assert_close(shown[1, :, 0], 8 + torch.arange(20.0) + 0.5)


def test_states_and_scores_by_hand() -> None:
    none = np.zeros((4, 6), bool)
    inside, outside = np.array([[1.0, 1], [2, 2], [3, 3]]), np.array([[9.0, 1], [-2, 2], [3, 3]])
    assert state_of(~none, outside, (4, 6)) == Visibility.VISIBLE
    assert state_of(none, inside, (4, 6)) == Visibility.OCCLUDED
    assert state_of(none, outside, (4, 6)) == Visibility.OUT_OF_VIEW
    logits = torch.tensor([[[0.8473, -30, -30]], [[-30, -30, -30]], [[30, 30, -1.0986]]])
    np.testing.assert_allclose(expected_overlap(logits), [0.7, 0, 2 / 2.25], atol=1e-4)


def test_what_the_head_says_is_not_there_has_no_mask_and_is_not_visible(scene: VggtScene) -> None:
    torch.manual_seed(0)
    says, silent = UnionHead(replace(HEAD, presence=True)), UnionHead(HEAD)
    silent.load_state_dict({name: each for name, each in says.state_dict().items() if not name.startswith("presence")})
    torch.nn.init.zeros_(says.presence.layers[-1].weight)
    plain = UnionHeadTransfer(silent, CONFIG)(scene, 0, marked())
    for bias, chance in ((1.0986, 0.75), (-1.0986, 0.0)):
        torch.nn.init.constant_(says.presence.layers[-1].bias, bias)
        found = UnionHeadTransfer(says, CONFIG)(scene, 0, marked())
        for view in (1, 2):
            assert (found.masks[view] == plain.masks[view] & (chance > 0)).all()
            np.testing.assert_allclose(found.scores[view], chance * plain.scores[view], rtol=1e-3)
            if not chance:
                assert (found.visibility[view] != Visibility.VISIBLE).all()


def test_small_parts_of_a_mask_are_dropped_by_hand() -> None:
    logits = torch.full((6, 9), -1.0)
    logits[1:4, 0:4] = 2.0  # 12 pixels
    logits[0:2, 6:8] = 3.0  # 4
    logits[5, 8] = 4.0  # 1
    logits[4, 4] = 5.0  # touches the first at a corner
    assert without_small_parts(logits, 0.0) is logits
    assert without_small_parts(logits, 1 / 13) is logits
    for least, dropped in ((0.3, [(5, 8)]), (0.31, [(5, 8), (0, 6), (0, 7), (1, 6), (1, 7)])):
        found = without_small_parts(logits, least)
        wanted = logits.clone()
        for place in dropped:
            wanted[place] = UNSEEN
        torch.testing.assert_close(found, wanted)
    assert not (without_small_parts(torch.full((2, 2), -1.0), 0.3) > 0).any()


@pytest.mark.skipif(not PARITY.is_dir(), reason="no ../shared/reference/vggt_s")
def test_the_close_look_shows_what_the_released_code_shows() -> None:
    stored = load_file(PARITY / "D1_geometry.safetensors") | load_file(PARITY / "D1_images.safetensors")
    views = (View("ego", stored["in.ego_image"]), View("exo", stored["in.exo_image"]))
    scene = VggtEncoder(small_vggt(), VggtEncoderConfig(side=518)).encode(FrameSet(views))
    logits = torch.from_numpy(stored["recover.logits518"])[None]
    followed = {1: Letterbox((540, 960), 518).to_frame(stored["in.coarse_points_g2x_518"])}
    (pair,) = encoded_pairs(scene, 0, stored["in.ego_mask_half"][None], Coarse([1], [followed]), EgoExoConfig())
    assert (pair.mask == stored["e2x.src_mask"]).all()
    assert set(map(tuple, pair.source_points_px)) == set(map(tuple, stored["e2x.src_points"]))
    np.testing.assert_allclose(np.sort(pair.target_points_px, 0), np.sort(stored["e2x.tar_points"], 0), atol=1e-3)
    assert ((pair.back(logits)[0].numpy() > 0) == stored["recover.exo_mask"]).mean() > 0.9999

    followed = {0: stored["in.points_x2g_518"] * 704 / 518}
    (pair,) = encoded_pairs(scene, 1, stored["in.exo_mask_quarter"][None], Coarse([0], [followed]), EgoExoConfig())
    assert (pair.mask == stored["x2e.src_mask"]).all()
    assert set(map(tuple, pair.source_points_px)) == set(map(tuple, stored["x2e.src_points"]))
    np.testing.assert_allclose(pair.target_points_px, stored["x2e.tar_points"], atol=1e-3)
    assert ((pair.back(logits)[0].numpy() > 0) == stored["recover.ego_mask"]).mean() > 0.9999
