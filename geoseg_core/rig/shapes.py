"""The catalogue of things that can stand on the table. Each is one body of one or more geoms."""

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

BOX = mujoco.mjtGeom.mjGEOM_BOX
CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER
SPHERE = mujoco.mjtGeom.mjGEOM_SPHERE
CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE
ELLIPSOID = mujoco.mjtGeom.mjGEOM_ELLIPSOID
MESH = mujoco.mjtGeom.mjGEOM_MESH
LATHE_SEGMENTS = 40


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its class, the height of its origin over the table, its footprint, and how it is built."""

    class_name: str
    rest_height_m: float
    radius_m: float
    build: Callable[[mujoco.MjSpec, mujoco.MjsBody, str], None]


def _solid(body: mujoco.MjsBody, shape: int, size: tuple[float, ...], material: str, **extra: object) -> None:
    """A geom that is seen and that collides. Six friction dimensions, so that round things stop rolling."""
    body.add_geom(
        type=shape, size=[*size, 0.0, 0.0][:3], material=material, density=350, condim=6,
        friction=[0.9, 0.02, 0.003], **extra,
    )  # fmt: skip


def _lathe(spec: mujoco.MjSpec, body: mujoco.MjsBody, profile: list[tuple[float, float]], material: str) -> None:
    """A closed (radius, height) profile turned about z, seen but without contacts."""
    angle = np.linspace(0, 2 * np.pi, LATHE_SEGMENTS, endpoint=False)
    outline = np.array(profile)
    rows = len(outline)
    vertices = np.stack(
        [
            np.outer(np.cos(angle), outline[:, 0]).ravel(),
            np.outer(np.sin(angle), outline[:, 0]).ravel(),
            np.tile(outline[:, 1], LATHE_SEGMENTS),
        ],
        axis=1,
    )
    faces = []
    for column in range(LATHE_SEGMENTS):
        here, there = column * rows, (column + 1) % LATHE_SEGMENTS * rows
        for row in range(rows - 1):
            faces += [(here + row, there + row, there + row + 1), (here + row, there + row + 1, here + row + 1)]
    name = f"{body.name}_lathe"
    spec.add_mesh(
        name=name, uservert=vertices.ravel(), userface=np.array(faces).ravel(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )  # fmt: skip
    body.add_geom(type=MESH, meshname=name, material=material, contype=0, conaffinity=0, mass=0)


def _hull(body: mujoco.MjsBody, radius: float, half_height: float, **extra: object) -> None:
    """An unseen cylinder that carries the mass and the contacts of a lathe shape."""
    body.add_geom(
        type=CYLINDER, size=[radius, half_height, 0], group=4, density=350, condim=6,
        friction=[0.9, 0.02, 0.003], **extra,
    )  # fmt: skip


def _single(shape: int, *size: float, **extra: object) -> Callable[[mujoco.MjSpec, mujoco.MjsBody, str], None]:
    return lambda spec, body, material: _solid(body, shape, size, material, **extra)


def _mug(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    outer, inner, half = 0.042, 0.037, 0.05
    profile = [(0.0, -half), (outer - 0.004, -half), (outer, -half + 0.006), (outer, half), (inner, half),
               (inner, -half + 0.008), (0.0, -half + 0.008)]  # fmt: skip
    _lathe(spec, body, profile, material)
    _hull(body, outer, half)
    angles = np.linspace(-1.3, 1.3, 8)
    ring = np.stack([outer - 0.004 + 0.034 * np.cos(angles), 0 * angles, 0.034 * np.sin(angles)], axis=1)
    for start, end in zip(ring[:-1], ring[1:], strict=True):
        _solid(body, CAPSULE, (0.006,), material, fromto=[*start, *end])


def _bowl(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    angle = np.linspace(0.25, 1.45, 10)
    outer = [(0.08 * np.sin(a), 0.045 - 0.085 * np.cos(a) + 0.012) for a in angle]
    inner = [(radius * 0.93, height + 0.004) for radius, height in reversed(outer)]
    _lathe(spec, body, [(0.0, outer[0][1]), *outer, *inner, (0.0, inner[-1][1])], material)
    _hull(body, 0.05, 0.01, pos=[0, 0, -0.015])
    _hull(body, 0.078, 0.02, pos=[0, 0, 0.02])


def _bottle(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    profile = [(0.0, -0.1), (0.036, -0.1), (0.038, -0.095), (0.038, 0.03), (0.03, 0.055), (0.015, 0.075),
               (0.0145, 0.1), (0.018, 0.1), (0.018, 0.118), (0.0, 0.118)]  # fmt: skip
    _lathe(spec, body, profile, material)
    _hull(body, 0.038, 0.065, pos=[0, 0, -0.035])
    _hull(body, 0.018, 0.045, pos=[0, 0, 0.073])


def _cup(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    profile = [(0.0, -0.055), (0.03, -0.055), (0.043, 0.055), (0.039, 0.055), (0.027, -0.048), (0.0, -0.048)]
    _lathe(spec, body, profile, material)
    _hull(body, 0.034, 0.055)


def _hammer(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    _solid(body, CAPSULE, (0.0145,), material, fromto=[-0.12, 0, 0, 0.08, 0, 0])
    body.add_geom(type=BOX, size=[0.0175, 0.045, 0.0165], pos=[0.1, 0, 0], material="steel", density=900, condim=6)
    body.add_geom(type=CYLINDER, size=[0.02, 0.012, 0], pos=[0.1, 0.052, 0], quat=[0.7071068, 0.7071068, 0, 0],
                  material="steel", density=900, condim=6)  # fmt: skip


def _screwdriver(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    along = [0.7071068, 0, 0.7071068, 0]
    _solid(body, CYLINDER, (0.019, 0.055), material, pos=[-0.055, 0, 0], quat=along)
    _solid(body, SPHERE, (0.0188,), material, pos=[-0.108, 0, 0])
    body.add_geom(type=CYLINDER, size=[0.007, 0.06, 0], pos=[0.06, 0, 0], quat=along, material="steel", density=900)
    body.add_geom(type=BOX, size=[0.008, 0.009, 0.004], pos=[0.12, 0, 0], material="steel", density=900)


def _dumbbell(spec: mujoco.MjSpec, body: mujoco.MjsBody, material: str) -> None:
    along = [0.7071068, 0, 0.7071068, 0]
    _solid(body, CYLINDER, (0.014, 0.06), "steel", quat=along)
    for side in (-1, 1):
        _solid(body, CYLINDER, (0.038, 0.024), material, pos=[0.065 * side, 0, 0], quat=along)


KINDS: dict[str, Kind] = {
    "cereal_box": Kind("box", 0.085, 0.075, _single(BOX, 0.06, 0.028, 0.085)),
    "book": Kind("book", 0.02, 0.125, _single(BOX, 0.1, 0.07, 0.02)),
    "block": Kind("block", 0.035, 0.05, _single(BOX, 0.035, 0.035, 0.035)),
    "can": Kind("can", 0.055, 0.04, _single(CYLINDER, 0.036, 0.055)),
    "tub": Kind("tub", 0.03, 0.06, _single(CYLINDER, 0.055, 0.03)),
    "ball": Kind("ball", 0.042, 0.045, _single(SPHERE, 0.042)),
    "pill": Kind("roll", 0.03, 0.09, _single(CAPSULE, 0.03, 0.055, quat=[0.7071068, 0, 0.7071068, 0])),
    "melon": Kind("fruit", 0.042, 0.065, _single(ELLIPSOID, 0.062, 0.044, 0.042)),
    "mug": Kind("mug", 0.05, 0.075, _mug),
    "bowl": Kind("bowl", 0.025, 0.085, _bowl),
    "bottle": Kind("bottle", 0.1, 0.04, _bottle),
    "cup": Kind("cup", 0.055, 0.045, _cup),
    "hammer": Kind("tool", 0.0205, 0.13, _hammer),
    "screwdriver": Kind("tool", 0.0195, 0.125, _screwdriver),
    "dumbbell": Kind("weight", 0.038, 0.09, _dumbbell),
}
