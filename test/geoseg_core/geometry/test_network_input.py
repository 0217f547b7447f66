"""Images to the network's size and the way back."""

import numpy as np
import pytest
import torch

from geoseg_core.errors import BadInput
from geoseg_core.geometry.network_input import (
    Placement,
    common_canvas,
    network_images,
    pi3_placements,
    pi3_size,
    resample,
    vggt_placement,
)

LANDSCAPE, PORTRAIT = (480, 640), (640, 480)


@pytest.mark.parametrize("source", [LANDSCAPE, PORTRAIT, (333, 777), (100, 90)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_pixels_find_their_way_back(source: tuple[int, int], fit: str) -> None:
    place = vggt_placement(source, fit)
    points = np.array([[0.0, 0.0], [source[1] - 1, source[0] - 1], [12.25, 30.5]])
    np.testing.assert_allclose(place.to_source(place.to_network(points)), points, atol=1e-9)
    # Corners of the image, not centres of its corner pixels, meet those of its place.
    corner = place.to_network(np.array([-0.5, -0.5]))
    np.testing.assert_allclose(corner, (place.offset[1] - 0.5, place.offset[0] - 0.5), atol=1e-9)


def test_a_portrait_is_cropped_above_and_below() -> None:
    place = vggt_placement(PORTRAIT)
    # 640 * 518 / 480 = 690.67, 49.3 patches, 686 px; (686 - 518) // 2 = 84 px are lost above.
    assert (place.resized, place.offset, place.canvas) == ((686, 518), (-84, 0), (518, 518))


def test_cameras_of_image_and_network_see_a_point_at_the_same_place() -> None:
    place = vggt_placement(PORTRAIT, "pad")
    matrix = np.array([[500.0, 0, 240], [0, 510, 320], [0, 0, 1]])
    point = np.array([0.2, -0.3, 1.7])
    seen = matrix @ point
    in_network = place.network_intrinsics(matrix) @ point
    np.testing.assert_allclose(in_network[:2] / in_network[2], place.to_network(seen[:2] / seen[2]))
    np.testing.assert_allclose(place.source_intrinsics(place.network_intrinsics(matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_slanted_map_comes_back_exactly_where_the_network_saw(fit: str) -> None:
    place = vggt_placement(PORTRAIT, fit)
    v, u = torch.meshgrid(torch.arange(place.canvas[0]), torch.arange(place.canvas[1]), indexing="ij")
    slanted = 500.0 + u + 2.0 * v
    values, seen = place.map_to_source(slanted[None])
    assert values.shape == (1, *PORTRAIT)
    at = place.to_network(np.array([100.0, 320.0]))
    assert values[0, 320, 100].item() == pytest.approx(500 + at[0] + 2 * at[1], abs=1e-3)
    assert seen[320, 100] and bool(seen[0, 0]) == (fit == "pad")


def test_no_depth_is_made_up_at_an_edge() -> None:
    place = vggt_placement((100, 100), side=56)
    step = torch.ones(1, 56, 56)
    step[:, :, 28:] = 3
    values, seen = place.map_to_source(step)
    assert seen.all() and set(values.round(decimals=4).unique().tolist()) == {1.0, 3.0}


def test_masks_come_back_to_their_pixels() -> None:
    place = vggt_placement(PORTRAIT)
    image = np.zeros(PORTRAIT, bool)
    image[200:300, 100:250] = True
    rows, columns = np.meshgrid(np.arange(518), np.arange(518), indexing="ij")
    there = place.to_source(np.stack((columns, rows), axis=-1)).round().astype(int)
    mask = image[there[..., 1].clip(0, 639), there[..., 0].clip(0, 479)]
    back = place.nearest_to_source(mask)
    assert (back != image).sum() < 300  # less than the outline of 500 px
    assert not place.nearest_to_source(np.ones((518, 518), bool))[:70].any()


def test_logits_that_stand_alone_come_back_as_those_on_a_margin() -> None:
    """Bilinear between the centres of pixels, whichever way it is done."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32))
    alone = Placement((15, 20), (6, 8), (0, 0), (6, 8))
    margin = Placement((15, 20), (6, 8), (1, 0), (7, 8))
    padded = torch.cat((logits[:, :1], logits), dim=1)  # as the border goes on
    assert torch.allclose(alone.logits_to_source(logits, -9.0), margin.logits_to_source(padded, -9.0), atol=1e-5)


def test_images_of_different_sizes_share_a_canvas_with_white_margins() -> None:
    places = common_canvas([vggt_placement(LANDSCAPE), vggt_placement((720, 1280))])
    assert [each.canvas for each in places] == [(392, 518)] * 2
    assert places[1].resized == (294, 518) and places[1].offset == (49, 0)
    black = [np.zeros((*LANDSCAPE, 3), np.uint8), np.zeros((720, 1280, 3), np.uint8)]
    images = network_images(black, places, "bicubic")
    assert images.shape == (2, 3, 392, 518)
    assert images[0].max() == 0 and (images[1, :, 49:343] == 0).all()
    assert (images[1, :, :49] == 1).all() and (images[1, :, 343:] == 1).all()


def test_cropped_images_show_their_middle() -> None:
    image = np.zeros((*PORTRAIT, 3), np.uint8)
    image[310:330] = 255
    (place,) = common_canvas([vggt_placement(PORTRAIT)])
    rows = network_images([image], [place], "bicubic")[0, 0, :, 0]
    assert rows[259] == 1 and rows[:240].max() == 0 and rows[280:].max() == 0


def test_pi3_takes_the_size_of_the_first_image() -> None:
    assert pi3_size(LANDSCAPE) == (434, 574)
    places = pi3_placements([LANDSCAPE, PORTRAIT])
    assert places[1] == Placement(PORTRAIT, (434, 574), (0, 0), (434, 574))


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(13, 20), (61, 70), (31, 20)])
def test_resampling_is_that_of_pillow(kernel: str, size: tuple[int, int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    method = {"bicubic": pillow.Resampling.BICUBIC, "lanczos": pillow.Resampling.LANCZOS}[kernel]
    theirs = np.asarray(pillow.fromarray(image).resize(size[::-1], method)).astype(int)
    different = np.abs(resample(image, size, kernel).astype(int) - theirs)
    assert different.max() <= 1 and (different > 0).mean() < 0.002


@pytest.mark.parametrize("size", [(13, 20), (61, 70), (31, 20)])
def test_quick_resampling_is_bicubic_but_for_a_level_or_two(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    different = np.abs(resample(image, size, "quick").astype(int) - resample(image, size, "bicubic").astype(int))
    assert different.max() <= 2 and (different > 0).mean() < 0.02


def test_an_image_thinner_than_a_patch_is_refused() -> None:
    with pytest.raises(BadInput, match="1000x3"):
        vggt_placement((3, 1000))
    with pytest.raises(BadInput, match="9000x1"):
        pi3_size((1, 9000))
