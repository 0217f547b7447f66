"""Images, depth, labels and calibration brought to a size."""

import numpy as np
import pytest

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sizing import MARGIN, place_image, place_map, placement
from geoseg_core.errors import BadConfig


def config(height, width, fit="crop"):
    return ReaderConfig(height=height, width=width, fit=fit)


def test_a_size_of_0_leaves_everything_as_it_is():
    place = placement((3, 5), config(0, 0))
    image = np.random.default_rng(0).integers(0, 255, (3, 5, 3), np.uint8)
    depth = np.arange(15, dtype=np.float32).reshape(3, 5)
    matrix = np.array([[4.0, 0, 2], [0, 4, 1], [0, 0, 1]])
    np.testing.assert_array_equal(place_image(image, place), image)
    np.testing.assert_array_equal(place_map(depth, place), depth)
    np.testing.assert_allclose(place.network_intrinsics(matrix), matrix)


def test_half_of_a_size_is_refused():
    with pytest.raises(BadConfig, match="both 0 or both positive"):
        placement((3, 5), config(0, 7))


def test_intrinsics_are_mapped_so_that_pixel_centres_are_whole_numbers():
    # Halving: old pixels 0 and 1 make new pixel 0, whose centre was at 0.5.
    matrix = placement((4, 8), config(2, 4)).network_intrinsics(np.array([[6.0, 0, 3.5], [0, 6, 1.5], [0, 0, 1]]))
    np.testing.assert_allclose(matrix, [[3, 0, 1.5], [0, 3, 0.5], [0, 0, 1]])


def test_cropping_takes_the_same_from_both_sides_and_moves_the_principal_point():
    place = placement((4, 8), config(4, 4))
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, :, 0] = np.arange(8)
    assert place_image(image, place)[0, :, 0].tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(place.network_intrinsics(np.array([[6.0, 0, 3.5], [0, 6, 1.5], [0, 0, 1]]))[0, 2], 1.5)
    assert place_map(image[:, :, 0], place)[0].tolist() == [2, 3, 4, 5]


def test_padding_adds_grey_without_depth_or_labels():
    place = placement((2, 4), config(4, 4, "pad"))
    image = place_image(np.full((2, 4, 3), 9, np.uint8), place)
    assert image[:, 0, 0].tolist() == [MARGIN, 9, 9, MARGIN]
    assert place_map(np.full((2, 4), 5), place)[:, 0].tolist() == [0, 5, 5, 0]


def test_a_map_of_another_resolution_covers_the_image():
    place = placement((4, 4), config(0, 0))
    doubled = place_map(np.array([[1, 2], [3, 4]]), place)
    assert doubled.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    # 8x8 labels on 4x4 pixels: each pixel's centre lies between two labels, and the later one is taken.
    assert place_map(np.arange(8)[None].repeat(8, 0), place)[0].tolist() == [1, 3, 5, 7]


def test_a_homography_says_where_the_map_is():
    place = placement((2, 6), config(0, 0))
    moved = place_map(np.array([[1, 2, 3], [4, 5, 6]]), place, np.array([[1.0, 0, -2], [0, 1, 0], [0, 0, 1]]))
    assert moved[0].tolist() == [0, 0, 1, 2, 3, 0]


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("source", [(540, 960), (704, 704), (31, 17)])
def test_every_size_comes_out_as_asked(fit, source):
    place = placement(source, config(168, 224, fit))
    assert place_image(np.zeros((*source, 3), np.uint8), place).shape == (168, 224, 3)
    assert place_map(np.zeros(source), place).shape == (168, 224)
