"""The pose of one camera to another from matches and predicted depth."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geoseg_core.geometry.tiny.relative import Matches, relative_pose

FOCALS = (0.9, 1.1)
RATIO = 2.3  # the second view's depth is in a smaller unit


def looking_at_centre(place):
    """(4, 4) camera_to_world of a camera at `place`."""
    ahead = -np.asarray(place) / np.linalg.norm(place)
    right = np.cross((0, 0, -1.0), ahead)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack((right, np.cross(ahead, right), ahead), axis=1), place
    return pose


def two_views(turn, count=300, pixel_noise=0.0, depth_noise=0.0, wrong=0.0, seed=0):
    generator = np.random.default_rng(seed)
    points = generator.uniform(-1, 1, (count, 3)) * (0.4, 0.4, 0.1)
    first = looking_at_centre((0.8 * np.cos(turn), 0.8 * np.sin(turn), 0.8))
    second = looking_at_centre((1.6 * np.cos(turn + 1), 1.6 * np.sin(turn + 1), 1.6))
    pixels, depths = [], []
    for pose, focal in ((first, FOCALS[0]), (second, FOCALS[1])):
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        pixels.append(local[:, :2] / local[:, 2:] * focal + pixel_noise * generator.normal(size=(count, 2)))
        depths.append(local[:, 2] * np.exp(depth_noise * generator.normal(size=count)))
    astray = generator.random(count) < wrong
    pixels[1][astray] = generator.uniform(-0.5, 0.5, (astray.sum(), 2))
    matches = Matches(pixels[0], pixels[1], depths[0], depths[1] / RATIO, np.ones(count))
    return matches, np.linalg.inv(first) @ second


def turned_deg(found, wanted):
    return np.degrees(Rotation.from_matrix(found[:3, :3].T @ wanted[:3, :3]).magnitude())


@pytest.mark.parametrize("turn", [0.0, 1.5, 4.0])
def test_exact_matches_give_the_exact_pose_scale_and_support(turn):
    matches, true = two_views(turn)
    found = relative_pose(matches, FOCALS)
    np.testing.assert_allclose(found.second_to_first, true, atol=1e-9)
    assert found.scale == pytest.approx(RATIO) and found.focals == pytest.approx(FOCALS)
    assert found.support == pytest.approx(300)


def test_noise_wrong_matches_and_wrong_focal_lengths_are_borne():
    errors = []
    for seed in range(8):
        matches, true = two_views(seed, pixel_noise=0.006, depth_noise=0.08, wrong=0.3, seed=seed)
        found = relative_pose(matches, (0.95, 1.05))
        errors.append(turned_deg(found.second_to_first, true))
        assert 150 < found.support < 240  # 70 % of 300 are right
    assert np.median(errors) < 2.5


def test_depth_that_is_wrong_alone_hardly_turns_the_camera():
    """A point whose depth is wrong still lies on its epipolar line."""
    matches, true = two_views(0.7, depth_noise=0.15)
    assert turned_deg(relative_pose(matches, FOCALS).second_to_first, true) < 1.0


def test_few_matches_give_no_support_instead_of_a_guess():
    matches, _ = two_views(0.0, count=5)
    found = relative_pose(matches, FOCALS)
    assert found.support == 0 and np.array_equal(found.second_to_first, np.eye(4))


def test_matches_without_trust_are_left_out():
    matches, true = two_views(2.0, wrong=0.5, seed=3)
    local = np.linalg.norm(matches.second - two_views(2.0, seed=3)[0].second, axis=1)
    trusted = Matches(
        matches.first, matches.second, matches.first_depth, matches.second_depth, (local < 1e-9).astype(float)
    )
    np.testing.assert_allclose(relative_pose(trusted, FOCALS).second_to_first, true, atol=1e-6)
