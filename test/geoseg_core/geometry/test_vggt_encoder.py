"""VGGT behind the encoder contract, at a small size with random weights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_models import small_vggt

from geoseg_core import cli
from geoseg_core.commands.encode import depth_picture, encode_to, read_images
from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import project
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig, VggtScene
from geoseg_core.results import ScaleStatus
from geoseg_core.views import FrameSet, View

POINTS = np.array([[10.0, 20.0], [50.0, 30.0], [33.5, 41.0]])


@pytest.fixture(scope="module")
def encoder() -> VggtEncoder:
    return VggtEncoder(small_vggt(), VggtEncoderConfig(side=56))


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def frames(pose: np.ndarray | None = None) -> FrameSet:
    views = [View("ego", photograph(60, 80, 0), camera_to_world=pose), View("exo", photograph(60, 80, 1))]
    return FrameSet((*views, View("tall", photograph(90, 70, 2))))


@pytest.fixture(scope="module")
def scene(encoder: VggtEncoder) -> VggtScene:
    return encoder.encode(frames())


def test_geometry_stands_at_the_pixels_of_the_images(scene: VggtScene) -> None:
    for view, found in zip(scene.frames.views, scene.views, strict=True):
        assert found.depth_m.shape == found.confidence.shape == view.size
        assert found.points.shape == (*view.size, 3)
        assert (found.confidence >= 0).all() and (found.confidence < 1).all()
        known = found.depth_m > 0
        assert known.any() and np.isnan(found.points[~known]).all()
        pixels, depth = project(found.points[30, 40][None].astype(float), found.intrinsics, found.camera_to_world)
        np.testing.assert_allclose(pixels[0], (40, 30), atol=1e-2)
        assert depth[0] == pytest.approx(found.depth_m[30, 40], rel=1e-4)
    # A landscape keeps all its pixels, a portrait loses some above and below.
    assert (scene.views[0].depth_m > 0).all()
    assert (scene.views[2].depth_m[0] == 0).all() and (scene.views[2].depth_m[45] > 0).all()


def test_the_world_is_the_first_camera_or_its_known_pose(encoder: VggtEncoder, scene: VggtScene) -> None:
    np.testing.assert_allclose(scene.views[0].camera_to_world, np.eye(4), atol=1e-6)
    pose = np.array([[0.0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1]])
    anchored = encoder.encode(frames(pose))
    np.testing.assert_allclose(anchored.views[0].camera_to_world, pose, atol=1e-6)
    expected = pose @ scene.views[1].camera_to_world
    np.testing.assert_allclose(anchored.views[1].camera_to_world, expected, atol=1e-5)
    assert scene.scale.status is ScaleStatus.UNKNOWN


def test_points_of_any_view_are_followed(encoder: VggtEncoder, scene: VggtScene) -> None:
    tracks = scene.track(POINTS, 0, [0, 2])
    assert tracks.points_px.shape == (2, 3, 2) and tracks.visible.shape == tracks.confidence.shape == (2, 3)
    np.testing.assert_allclose(tracks.points_px[0], POINTS, atol=1e-3)
    swapped = FrameSet((scene.frames.views[1], scene.frames.views[0], scene.frames.views[2]))
    expected = encoder.encode(swapped).track(POINTS, 0, [1, 2])
    found = scene.track(POINTS, 1, [0, 2])
    np.testing.assert_allclose(found.points_px, expected.points_px, atol=1e-2)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)


def test_a_point_that_was_cropped_is_not_seen(scene: VggtScene) -> None:
    tracks = scene.track(np.array([[35.0, 1.0], [35.0, 45.0]]), 2, [2])
    assert not tracks.visible[0, 0] and tracks.confidence[0, 0] == 0 and tracks.confidence[0, 1] > 0
    with pytest.raises(BadInput, match="N, 2"):
        scene.track(np.zeros((2, 3)), 0, [1])


def test_features_are_those_that_were_kept(encoder: VggtEncoder, scene: VggtScene) -> None:
    (last,) = scene.features((2,))
    height, width = scene.placements[0].canvas
    assert last.shape == (3, 5 + height * width // 196, 64)
    short = VggtEncoder(encoder.model, VggtEncoderConfig(side=56), keep_layers=(1,))
    assert short.encode(frames()).features((1,))[0].shape == last.shape
    with pytest.raises(BadInput, match="7"):
        scene.features((7,))


def test_autocast_stays_near(encoder: VggtEncoder, scene: VggtScene) -> None:
    found = VggtEncoder(encoder.model, VggtEncoderConfig(side=56, precision="autocast")).encode(frames())
    difference = np.abs(found.views[0].depth_m - scene.views[0].depth_m).max() / scene.views[0].depth_m.max()
    assert 0 < difference < 0.1


def test_more_views_than_the_memory_has_room_for_are_refused(encoder: VggtEncoder) -> None:
    model = encoder.model
    tight = VggtEncoder(model, VggtEncoderConfig(side=56, frame_chunk=1, memory_mib=1))
    # 1 MiB less 3 maps of 56 x 56 x 8 float32; a view takes 16 patches x 32 channels x 4 bytes x (2 * 3 + 20).
    assert tight.cost.views(1, 56 * 56) == (2**20 - 3 * 56 * 56 * 8 * 4) // (16 * 32 * 4 * 26) == 14
    many = FrameSet(tuple(View(f"camera_{index}", photograph(56, 56, index)) for index in range(15)))
    with pytest.raises(BadInput, match="at most 14 views .* got 15"):
        tight.encode(many)
    assert len(tight.encode(FrameSet(many.views[:2])).views) == 2


def test_results_are_written(encoder: VggtEncoder, tmp_path: Path) -> None:
    for name, size in (("left", (60, 80)), ("right", (60, 80))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), photograph(*size, seed=len(name)))
    read = read_images([tmp_path / "left.png", tmp_path / "right.png"])
    assert read.cameras == ("left", "right")
    encode_to(encoder, read, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "cameras.json").read_text())
    assert facts["scale"] == "unknown" and facts["cameras"]["right"]["width"] == 80
    stored = np.load(tmp_path / "out" / "left.npz")
    assert stored["depth"].shape == (60, 80) and (stored["depth"] > 0).all()
    assert (tmp_path / "out" / "cloud.ply").read_bytes().startswith(b"ply\nformat binary_little_endian")
    assert cv2.imread(str(tmp_path / "out" / "picture.png")).shape == (800, 1280, 3)
    assert cv2.imread(str(tmp_path / "out" / "left_depth.png")).shape == (60, 80, 3)


def test_a_depth_picture_is_black_where_nothing_is_known() -> None:
    assert not depth_picture(np.zeros((4, 5), np.float32)).any()
    picture = depth_picture(np.array([[0.0, 1.0, 4.0]], np.float32))
    assert not picture[0, 0].any() and picture[0, 1].any() and not np.array_equal(picture[0, 1], picture[0, 2])


def test_files_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="absent.png"):
        read_images([tmp_path / "absent.png"])
    cv2.imwrite(str(tmp_path / "a.png"), photograph(60, 80, 0))
    words = ["encode", str(tmp_path / "a.png"), "--out", str(tmp_path / "o"), "--weights", str(tmp_path / "none")]
    assert cli.main(words) == 1
    assert "none" in capsys.readouterr().err


def test_weights_that_are_not_here_are_named_with_their_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cv2.imwrite(str(tmp_path / "a.png"), photograph(60, 80, 0))
    assert cli.main(["encode", str(tmp_path / "a.png"), "--out", str(tmp_path / "o"), "--model", "pi3"]) == 1
    assert "geoseg weights pull pi3" in capsys.readouterr().err
