"""Procedural textures: deterministic, within range, and not flat."""

import numpy as np
import pytest

from geoseg_core.rig import textures


@pytest.mark.parametrize("pattern", [*textures.PATTERNS, textures.wood, textures.plaster])
def test_pattern_is_seeded_within_range_and_not_flat(pattern):
    points = textures.cube_points(24)
    value = pattern(points, np.random.default_rng(3))
    assert value.shape == (6, 24, 24)
    assert value.min() >= 0 and value.max() <= 1
    assert np.ptp(value) > 0.05
    assert np.array_equal(value, pattern(points, np.random.default_rng(3)))


def test_faces_of_the_cube_meet_at_the_edges():
    """The seam of +x and +z, where a solid pattern must not break."""
    faces = textures.cube_points(64)
    right_of_front, left_of_right = faces[4][:, -1], faces[0][:, 0]
    assert np.abs(right_of_front - left_of_right).max() < 2.1 / 64


def test_paint_mixes_the_two_colours():
    colours = np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    image = textures.paint(textures.plane_points(8), lambda points, _: np.ones(points.shape[:-1]), colours, 1, 0.0)
    assert (image == [255, 127, 0]).all()
