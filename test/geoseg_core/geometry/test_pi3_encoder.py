"""Pi3 and Pi3X behind the encoder contract, at a small size with random weights."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_models import small_pi3, small_pi3x

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.geometry.camera import project
from geoseg_core.geometry.network_input import pi3_placements
from geoseg_core.geometry.pi3.encoder import Pi3Encoder, Pi3EncoderConfig, fit_intrinsics, known_conditions
from geoseg_core.views import FrameSet, View

CONFIG = Pi3EncoderConfig(pixels=3000)


def photograph(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC)


def frames() -> FrameSet:
    intrinsics = np.array([[70.0, 0, 39.5], [0, 72, 29.5], [0, 0, 1]])
    pose = np.array([[0.0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1]])
    depth = np.full((60, 80), 2.0, np.float32)
    depth[:, :40] = np.nan
    ego = View("ego", photograph(0), intrinsics=intrinsics, camera_to_world=pose, depth_m=depth)
    return FrameSet((ego, View("exo", photograph(1), camera_to_world=np.eye(4)), View("bare", photograph(2))))


def test_geometry_stands_at_the_pixels_of_the_images() -> None:
    scene = Pi3Encoder(small_pi3(), CONFIG).encode(frames())
    np.testing.assert_allclose(scene.views[0].camera_to_world, frames().views[0].camera_to_world, atol=1e-5)
    for found in scene.views:
        assert found.depth_m.shape == (60, 80) and (found.depth_m > 0).all()
        assert (found.confidence > 0).all() and (found.confidence < 1).all()
        pixels, _ = project(found.points[30, 40][None].astype(float), found.intrinsics, found.camera_to_world)
        np.testing.assert_allclose(pixels[0], (40, 30), atol=0.05)
    tracks = scene.track(np.array([[40.0, 30.0]]), 0, [0, 1])
    np.testing.assert_allclose(tracks.points_px[0], [[40, 30]], atol=0.05)
    assert tracks.visible[0, 0]
    with pytest.raises(GeosegError, match="VGGT"):
        scene.features((1,))


def test_focal_lengths_are_those_of_the_points() -> None:
    v, u = torch.meshgrid(torch.arange(28.0), torch.arange(42.0), indexing="ij")
    z = 1 + torch.rand(28, 42)
    local = torch.stack(((u - 20.5) / 55 * z, (v - 13.5) / 44 * z, z), dim=-1)
    expected = [[55.0, 0, 20.5], [0, 44.0, 13.5], [0, 0, 1]]
    np.testing.assert_allclose(fit_intrinsics(local[None])[0], expected, rtol=1e-5)


def test_what_is_known_reaches_the_network_in_its_own_pixels() -> None:
    places = pi3_placements([(60, 80)] * 3, 3000)
    known = known_conditions(frames(), places, torch.device("cpu"))
    height, width = places[0].canvas
    assert known.depth is not None and known.intrinsics is not None
    # Unknown depth becomes 0, the known half keeps its 2 m.
    assert (known.depth[0, 0, :, : width // 2 - 1] == 0).all() and (known.depth[0, 0, :, width // 2 + 1 :] == 2).all()
    # The principal point stays in the centre, which the network calls (width / 2, height / 2).
    np.testing.assert_allclose(known.intrinsics[0, 0, :2, 2], (width / 2, height / 2), rtol=1e-5)
    assert known.intrinsics[0, 0, 0, 0].item() == pytest.approx(70 * width / 80)
    assert known.depth_mask is not None and known.depth_mask.tolist() == [[True, False, False]]
    assert known.pose_mask is not None and known.pose_mask.tolist() == [[True, True, False]]


def test_pi3x_listens_to_what_is_known() -> None:
    model = small_pi3x()
    told = Pi3Encoder(model, CONFIG).encode(frames())
    untold = Pi3Encoder(model, replace(CONFIG, conditions=False)).encode(frames())
    assert np.abs(told.views[1].depth_m - untold.views[1].depth_m).max() > 1e-3
    near = Pi3Encoder(model, replace(CONFIG, precision="autocast")).encode(frames())
    assert np.isfinite(near.views[0].points).all()
    broken = replace(frames().views[0], camera_to_world=np.full((4, 4), np.nan))
    with pytest.raises(BadInput, match="camera_to_world"):
        Pi3Encoder(model, CONFIG).encode(FrameSet((broken, frames().views[1])))


def test_more_views_than_the_memory_has_room_for_are_refused() -> None:
    tight = Pi3Encoder(small_pi3(), replace(CONFIG, memory_mib=1))
    # 3000 px of 80x60 are 3 x 5 patches; a view takes 15 x 32 x 4 x 20 bytes of tokens and 15 x 196 x 12 x 4 of maps.
    assert tight.cost.views(1, 15 * 196) == 2**20 // (15 * 32 * 4 * 20 + 15 * 196 * 12 * 4) == 5
    many = FrameSet(tuple(View(f"camera_{index}", photograph(index)) for index in range(8)))
    with pytest.raises(BadInput, match="at most 5 views of 3x5 patches in 1 MiB, got 8; .*`pixels`"):
        tight.encode(many)
    assert len(tight.encode(FrameSet(many.views[:5])).views) == 5


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(BadInput, match="80x0"):
        Pi3Encoder(small_pi3(), CONFIG).encode(FrameSet((View("ego", np.zeros((0, 80, 3), np.uint8)),)))
