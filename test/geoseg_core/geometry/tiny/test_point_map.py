"""Points of all views at the pixels of the small network's input."""

import numpy as np
import pytest
import torch
from small_models import TINY

from geoseg_core.geometry.inference import TinyEncoderConfig
from geoseg_core.geometry.tiny.cameras import solve_cameras
from geoseg_core.geometry.tiny.encoder import TinyEncoder
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.geometry.tiny.point_map import point_maps, scenes_point_maps
from geoseg_core.views import FrameSet, View

SIZE = (64, 96)


@pytest.fixture(scope="module")
def scene():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    views = tuple(View(f"camera_{n}", random.integers(0, 255, (*SIZE, 3), np.uint8)) for n in range(3))
    config = TinyEncoderConfig(precision="fp32", pixels=SIZE[0] * SIZE[1])
    return TinyEncoder(TinyGeometry(TINY), config).encode(FrameSet(views))


def test_they_are_those_of_the_encoder_where_its_input_is_the_image(scene):
    assert scene.placements[0].canvas == SIZE
    maps = point_maps(scene.output, scene.cameras)
    for view, geometry in enumerate(scene.views):
        known = geometry.depth_m > 0
        points, confidence = maps.points[0, view].numpy(), maps.confidence[0, view].numpy()
        assert np.allclose(points[known], geometry.points[known], rtol=1e-3, atol=1e-3)
        assert np.allclose(confidence[known], geometry.confidence[known], atol=1e-5)


def test_a_point_is_projected_back_to_the_middle_of_its_pixel(scene):
    maps = point_maps(scene.output, scene.cameras)
    row, column = 20, 70
    for view in range(3):
        point = torch.cat((maps.points[0, view, row, column], torch.ones(1)))
        u, v, depth = maps.projections[0, view] @ point
        assert float(u / depth) == pytest.approx((column + 0.5) / SIZE[1], abs=1e-4)
        assert float(v / depth) == pytest.approx((row + 0.5) / SIZE[0], abs=1e-4)


def test_scenes_together_are_scenes_one_by_one():
    torch.manual_seed(1)
    network, images = TinyGeometry(TINY).eval().requires_grad_(False), torch.rand(2, 2, 3, *SIZE)
    together = scenes_point_maps(network(images))
    for number in range(2):
        one = network(images[number : number + 1])
        alone = point_maps(one, solve_cameras(one))
        assert torch.allclose(together.confidence[number], alone.confidence[0], atol=1e-4)
        assert torch.allclose(together.points[number, 0], alone.points[0, 0], rtol=1e-3, atol=1e-3)
        assert torch.allclose(together.projections[number, 0], alone.projections[0, 0], rtol=1e-3, atol=1e-3)
