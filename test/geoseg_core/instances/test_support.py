"""Support planes: found whatever the depth camera's noise, while objects keep their lowest millimetres."""

import numpy as np
import pytest
from scenes import FLOOR, TABLE, WALL, Solid, look_at, render, render_set, tabletop

from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.instances.support import SupportConfig, SupportFinder
from geoseg_core.views import FrameSet, View

FRAMES, LABELS = render_set(tabletop())


def geometry(noise_m: float = 0.0) -> tuple[ViewGeometry, ...]:
    random = np.random.default_rng(3)
    views = [
        View(view.camera, view.image, 0, view.intrinsics, view.camera_to_world,
             view.depth_m + (random.normal(0, noise_m, view.depth_m.shape) * view.depth_m**2).astype(np.float32))
        for view in FRAMES.views
    ]  # fmt: skip
    return RgbdEncoder().encode(FrameSet(tuple(views))).views


@pytest.mark.parametrize(("noise_m", "kept", "cleared"), [(0.0, 0.97, 0.96), (0.001, 0.88, 0.95)])
def test_table_floor_and_wall_are_support_and_objects_are_not(noise_m: float, kept: float, cleared: float) -> None:
    masks = SupportFinder(SupportConfig()).update(geometry(noise_m))
    for mask, labels in zip(masks, LABELS, strict=True):
        things = (labels > 0) & (labels < 100)
        assert (~mask[things]).mean() > kept
        assert mask[np.isin(labels, (TABLE, FLOOR, WALL))].mean() > cleared


def test_planes_are_followed_without_being_searched_again() -> None:
    finder = SupportFinder(SupportConfig())
    first = finder.update(geometry())
    planes = len(finder.planes)
    second = finder.update(geometry())
    assert len(finder.planes) == planes
    assert all((before == after).mean() > 0.999 for before, after in zip(first, second, strict=True))


def test_the_noise_of_the_camera_is_measured() -> None:
    finder = SupportFinder(SupportConfig())
    finder.update(geometry(0.002))
    assert 0.0005 < finder.noise() < 0.0025  # across the plane; along the ray it is 0.002


def test_without_any_depth_there_is_no_plane_and_up_is_the_z_axis() -> None:
    empty = np.zeros((240, 320), np.float32)
    view = View("ego", np.zeros((240, 320, 3), np.uint8), 0, FRAMES.views[0].intrinsics, np.eye(4), empty)
    finder = SupportFinder(SupportConfig())
    masks = finder.update(RgbdEncoder().encode(FrameSet((view,))).views)
    assert not masks[0].any() and not finder.planes
    assert finder.up().tolist() == [0, 0, 1]


@pytest.mark.parametrize(("half", "is_support"), [((0.3, 0.01, 0.2), True), ((0.15, 0.01, 0.15), False)])
def test_an_upright_board_is_a_support_and_a_smaller_one_is_a_thing(
    half: tuple[float, float, float], is_support: bool
) -> None:
    frames, labels = render_set([Solid(7, (0, 0.3, half[2]), half, colour=(220, 220, 215))])
    masks = SupportFinder(SupportConfig()).update(RgbdEncoder().encode(frames).views)
    for mask, truth in zip(masks, labels, strict=True):
        share = mask[truth == 7].mean()
        assert share > 0.9 if is_support else share < 0.1


def test_the_halves_of_a_bent_wall_stay_two_planes_while_they_are_followed() -> None:
    halves = [Solid(7, (x, 0.5, 0), (0.45, 0.01, 0.6), yaw=-0.02 * np.sign(x)) for x in (-0.45, 0.45)]
    views = RgbdEncoder().encode(FrameSet((render(halves, "ego", look_at((0, -0.6, 0.3), (0, 0.5, 0)))[0],))).views
    finder = SupportFinder(SupportConfig())
    first = finder.update(views)[0]
    for _ in range(20):
        last = finder.update(views)[0]
    tilts = sorted(float(plane.normal[0]) for plane in finder.planes)
    assert len(tilts) == 2 and tilts[0] < -0.015 and tilts[1] > 0.015
    assert first.mean() > 0.9 and (first == last).mean() > 0.99
