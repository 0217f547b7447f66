"""Cameras and guided places from descriptors that know where in the room they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from geoseg_core.datasets.correspondence import correspondences
from geoseg_core.geometry.tiny.cameras import at_pixels, follow_between, solve_cameras
from geoseg_core.geometry.tiny.evidence import Evidence
from geoseg_core.geometry.tiny.guidance import Way, expected_cells
from geoseg_core.geometry.tiny.matching import cell_centres
from geoseg_core.geometry.tiny.model import TinyOutput
from geoseg_core.geometry.tiny.relative import RelativePose, parameters_of
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

SIZE = HEIGHT, WIDTH = 144, 192


@pytest.fixture(scope="module")
def scene():
    return Worlds(WorldsConfig(width=WIDTH, height=HEIGHT, difficulty=0.0, arm=False, exo_max=2, exo_min=2)).batch([5])


@pytest.fixture(scope="module")
def output(scene):
    """True depth and focal lengths; descriptors are random Fourier features of the points of the room."""
    generator = torch.Generator().manual_seed(0)
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    pixels = torch.stack((u, v, torch.ones_like(u)), dim=-1).float()
    rays = torch.einsum("bvij,hwj->bvhwi", scene.intrinsics.inverse(), pixels) * scene.depth[..., None]
    pose = scene.camera_to_world
    world = torch.einsum("bvij,bvhwj->bvhwi", pose[..., :3, :3], rays) + pose[:, :, None, None, :3, 3]

    def told(stride, sharpness, count):
        waves = world @ (sharpness * torch.randn(3, count // 2, generator=generator))
        maps = torch.cat((waves.sin(), waves.cos()), dim=-1).movedim(-1, 2).flatten(0, 1)
        return 3 * torch.nn.functional.avg_pool2d(maps, stride).unflatten(0, (1, -1))

    log_focal = (scene.intrinsics[..., 0, 0] / WIDTH).log()
    log_depth = scene.depth.clamp(min=1e-3).log()
    spread = torch.full_like(log_depth, -2.0)
    tokens = TokenLayers({}, 2, (9, 12))
    maps = (told(8, 20, 64), told(4, 40, 32), told(4, 40, 48))
    return TinyOutput(tokens, log_depth, spread, log_focal, *maps, torch.tensor(0.0))


def turned_deg(found, wanted):
    return np.degrees(Rotation.from_matrix(found[:3, :3].T @ wanted[:3, :3]).magnitude())


def relative(scene, source, target):
    first, second = (scene.camera_to_world[0, view].double().numpy() for view in (source, target))
    return np.linalg.inv(second) @ first


def test_cameras_are_found(scene, output):
    solved = solve_cameras(output)
    for view in (1, 2):
        true = relative(scene, view, 0)
        assert turned_deg(solved.camera_to_world[view], true) < 1.5
        np.testing.assert_allclose(solved.camera_to_world[view][:3, 3], true[:3, 3], atol=0.05)
    np.testing.assert_allclose(solved.scales, 1.0, atol=0.08)


def test_the_true_pose_is_likelier_than_others(scene, output):
    focals = output.log_focal[0, :2].exp().tolist()
    true = parameters_of(RelativePose(relative(scene, 1, 0), 1.0, (focals[0], focals[1]), 0.0))
    generator = np.random.default_rng(0)
    others = true + generator.normal(size=(50, 9)) * ([0.3] * 3 + [0.3] * 3 + [0.3] + [0.0] * 2)
    found = Evidence(output, 0, 1).log_likelihood(np.concatenate((true[None], others)))
    assert found.argmax() == 0


def test_evidence_does_not_ask_which_view_is_the_first(scene, output):
    focals = output.log_focal[0, :2].exp().tolist()
    there = RelativePose(relative(scene, 1, 0), 1.0, (focals[0], focals[1]), 0.0)
    back = RelativePose(relative(scene, 0, 1), 1.0, (focals[1], focals[0]), 0.0)
    found = [
        Evidence(output, *views).log_likelihood(parameters_of(pose)[None])[0]
        for views, pose in (((0, 1), there), ((1, 0), back))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_descriptors_that_say_nothing_are_guided_by_the_pose(scene, output):
    """On a plain wall the likeliest place is the one that depth and pose expect."""
    blank = replace(output, coarse=torch.zeros_like(output.coarse))
    points = cell_centres(*SIZE)[None]
    true = correspondences(scene, points, 0, 1)
    way = solve_cameras(output).way(0, 1)
    guided, _ = follow_between(blank, points, 0, 1, way)
    alone, _ = follow_between(blank, points, 0, 1)
    off = [(found - true.points_px).norm(dim=-1)[true.visible].median().item() for found in (guided, alone)]
    assert off[0] < 8 < 30 < off[1]


def test_a_view_without_a_pose_guides_nothing(output):
    solved = solve_cameras(output)
    solved.supports[2] = 0.0
    assert solved.way(0, 2) is None and solved.way(2, 1) is None and solved.way(0, 1) is not None


def test_expected_places_by_hand():
    """A camera that moved by 0.5 to the right sees a point 2 ahead by 0.25 focal lengths further to the left."""
    moved = np.eye(4)
    moved[0, 3] = -0.5
    start = torch.tensor([[(WIDTH - 1) / 2, (HEIGHT - 1) / 2]])
    found = expected_cells(start, torch.tensor([1.0]), Way(moved, (1.0, 1.0), 2.0), SIZE)
    place = cell_centres(*SIZE)[found[0].argmax()]
    assert (place - (start[0] - torch.tensor([0.25 * WIDTH, 0.0]))).abs().max() <= 4
    behind = expected_cells(start, torch.tensor([-1.0]), Way(moved, (1.0, 1.0), 2.0), SIZE)
    assert not behind.any()


def test_depth_at_pixels_is_that_of_the_nearest():
    values = torch.arange(12.0).reshape(3, 4)
    assert at_pixels(values, torch.tensor([[1.4, 1.6], [9.0, -3.0]])).tolist() == [9.0, 3.0]
