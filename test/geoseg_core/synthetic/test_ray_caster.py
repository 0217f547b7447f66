"""The ray caster against formulas: depth of planes, spheres, cylinders and rings, and who is in front of whom."""

import numpy as np
import pytest
import torch

from geoseg_core.synthetic.cameras import look_at
from geoseg_core.synthetic.intersections import MEET
from geoseg_core.synthetic.occlusion import shadows
from geoseg_core.synthetic.shapes import LATHE, LINK, ROOM, ROUNDED, Builder, turn_about
from geoseg_core.synthetic.tracer import Geometry, first_hits, ray_planes

SIZE = (45, 61)  # no whole number of tiles
INTRINSICS = np.array([[70.0, 0, 29.3], [0, 72.0, 23.1], [0, 0, 1]])


def scene(build, eye: list[float], target: list[float]) -> Geometry:
    """A room of 6 x 6 x 3 m with what `build` adds, seen by one camera."""
    made = Builder(1)
    made.add(ROOM, [3.0, 3.0, 1.5], [-3.0, -3.0, -1.5], [3.0, 3.0, 1.5], [0, 0, 1.5], None, 0)
    build(made)
    parts = made.primitives(0)
    pose = look_at(np.array(eye), np.array(target), np.array(0.2))
    return Geometry(
        torch.from_numpy(parts.kind), torch.from_numpy(parts.params).float(), torch.from_numpy(parts.bounds),
        torch.zeros(parts.kind.shape, dtype=torch.int64), torch.from_numpy(parts.to_body), torch.from_numpy(pose)[None],
        torch.from_numpy(INTRINSICS)[None], SIZE,
    )  # fmt: skip


def rays_of(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Origin (3,) and directions (H, W, 3) of depth 1, in float64."""
    pose = geometry.camera_to_world[0].numpy()
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).astype(float)
    return pose[:3, 3], pixels @ np.linalg.inv(INTRINSICS).T @ pose[:3, :3].T


def test_the_floor_has_the_depth_of_a_plane() -> None:
    geometry = scene(lambda made: None, [0.0, -1.0, 1.2], [0.2, 0.3, 0.0])
    depth, primitive = first_hits(geometry)
    origin, rays = rays_of(geometry)
    assert (primitive == 0).all()
    plane = -origin[2] / rays[..., 2]
    hit = origin + rays * plane[..., None]
    on_floor = (rays[..., 2] < 0) & (np.abs(hit[..., :2]) < 3).all(axis=-1)
    assert on_floor.mean() > 0.5
    assert np.abs(depth[0].numpy() - plane)[on_floor].max() < 2e-6


def test_a_sphere_has_the_depth_of_its_formula_and_hides_the_floor() -> None:
    centre, radius = np.array([0.1, 0.2, 0.5]), 0.3
    eye, target = [0.0, -1.0, 1.2], [0.1, 0.2, 0.5]
    geometry = scene(lambda made: made.ellipsoid(radius, radius, radius, list(centre)), eye, target)
    depth, primitive = first_hits(geometry)
    origin, rays = rays_of(geometry)
    a, b = (rays**2).sum(-1), (rays @ (origin - centre))
    disc = b**2 - a * ((origin - centre) @ (origin - centre) - radius**2)
    safe = np.abs(disc) > 1e-4
    assert ((disc > 0) == (primitive[0].numpy() == 1))[safe].all()
    inside = (disc > 1e-3) & safe
    wanted = (-b[inside] - np.sqrt(disc[inside])) / a[inside]
    assert inside.sum() > 100
    assert np.abs(depth[0].numpy()[inside] - wanted).max() < 2e-6


def test_a_cube_with_wholly_round_edges_is_a_sphere() -> None:
    eye, target = [0.3, -1.1, 0.9], [0.0, 0.0, 0.4]
    ball = first_hits(scene(lambda made: made.ellipsoid(0.25, 0.25, 0.25, [0, 0, 0.4]), eye, target))
    cube = first_hits(scene(lambda made: made.rounded(0.25, 0.25, 0.25, 0.25, [0, 0, 0.4]), eye, target))
    both = (ball[1] == 1) & (cube[1] == 1)
    assert both.sum() > 100
    assert (ball[1] != cube[1]).sum() <= 2
    off = (ball[0] - cube[0])[both].abs()
    assert off.max() < 2e-3  # where rays graze
    assert off.quantile(0.98) < 1e-5


def test_hits_of_a_ring_lie_on_the_ring_and_its_hole_is_open() -> None:
    geometry = scene(lambda made: made.link(0.3, 0.1, 0.0, [0, 0, 0.5]), [0.0, -0.4, 1.6], [0.0, 0.0, 0.5])
    depth, primitive = first_hits(geometry)
    origin, rays = rays_of(geometry)
    points = origin + rays * depth[0].numpy()[..., None] - np.array([0, 0, 0.5])
    ring = primitive[0].numpy() == 1
    off = np.hypot(np.hypot(points[..., 0], points[..., 1]) - 0.3, points[..., 2]) - 0.1
    assert ring.sum() > 200
    assert np.abs(off[ring]).max() < 4e-5
    through = np.hypot(points[..., 0], points[..., 1])[~ring & (points[..., 2] < -0.45)]
    assert (through < 0.1).any()


def test_a_cylinder_shows_its_cap_and_a_hole_in_the_cap_lets_rays_in() -> None:
    eye, target = [0.0, -0.05, 1.6], [0.0, 0.0, 0.6]
    closed = first_hits(scene(lambda made: made.cone(0.2, 0.2, 0.0, 0.6, [0, 0, 0]), eye, target))[0][0]
    opened = first_hits(
        scene(lambda made: made.cone(0.2, 0.2, 0.0, 0.6, [0, 0, 0], holes=(0.0, 0.1)), eye, target)
    )[0][0]
    middle = 23, 29
    assert abs(closed[middle].item() - 1.0) < 0.02
    assert abs(opened[middle].item() - 1.6) < 0.04  # the bottom
    changed = (closed != opened).sum().item()
    assert 0 < changed < (closed < 1.2).sum().item()


@pytest.mark.parametrize("kind", [LATHE, ROUNDED, LINK])
def test_a_turned_primitive_is_the_same_as_a_turned_camera(kind: int) -> None:
    turn = turn_about(2, 0.7) @ turn_about(0, 0.4)
    build = {
        LATHE: lambda made, turn: made.cone(0.2, 0.1, -0.2, 0.2, [0, 0, 0.8], turn),
        ROUNDED: lambda made, turn: made.rounded(0.2, 0.15, 0.1, 0.03, [0, 0, 0.8], turn),
        LINK: lambda made, turn: made.link(0.15, 0.04, 0.1, [0, 0, 0.8], turn, clip=-0.1),
    }[kind]
    centre, eye = np.array([0, 0, 0.8]), np.array([0.3, -1.0, 0.4])
    still = scene(lambda made: build(made, None), [0, 0, 1], [0, 1, 1])
    turned = scene(lambda made: build(made, turn), [0, 0, 1], [0, 1, 1])
    pose = look_at(centre + eye, centre, np.array(0.0))
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = turn, centre - turn @ centre
    for geometry, camera in ((still, pose), (turned, moved @ pose)):
        geometry.camera_to_world[0] = torch.from_numpy(camera)
    first, second = first_hits(still), first_hits(turned)
    assert (first[1] == 1).sum() > 50
    assert (first[1] != second[1]).sum() <= 2
    both = (first[1] == 1) & (second[1] == 1)
    assert (first[0] - second[0])[both].abs().max() < 1e-4


def test_what_lies_between_a_point_and_the_light_takes_the_light_away() -> None:
    geometry = scene(lambda made: made.box(0.3, 0.3, 0.01, [0, 0, 0.6]), [0.0, -1.4, 1.2], [0.0, 0.0, 0.0])
    depth, primitive = first_hits(geometry)
    matrix = (geometry.camera_to_world[:, :3, :3] @ torch.linalg.inv(geometry.intrinsics)).float()
    rays = torch.stack(ray_planes(matrix, SIZE), dim=1)
    points = geometry.camera_to_world[:, :3, 3, None, None].float() + rays * depth[:, None]
    points[:, 2] += 1e-3
    light = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    share = shadows(geometry, points, light, torch.zeros(1))
    under = (points[:, :2].abs() < 0.29).all(dim=1) & (primitive == 0)
    beside = (points[:, :2].abs() > 0.31).any(dim=1) & (points[:, 2] < 0.1)
    assert under.sum() > 20 and beside.sum() > 20
    assert (share[under] == 0).all()
    assert (share[beside] == 1).all()


def test_a_ray_that_misses_is_told_from_one_that_hits() -> None:
    start = [torch.tensor([[value]]) for value in (0.0, 0.0, 2.0)]
    down = [torch.tensor([[0.0, 0.9]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[-1.0, -1.0]])]
    params = [torch.tensor([[value]]) for value in (0.5, 0.5, 0.5, 0.1, 0, 0, 0, 1, 1)]
    for kind in (ROUNDED,):
        found = MEET[kind](start, down, params)
        assert found[0, 0].item() == pytest.approx(1.5, abs=1e-5)
        assert found[0, 1].item() == float("inf")
