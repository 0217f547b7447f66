"""The workplace as a MuJoCo model, from a seed: room, table, things on it, robot arm and camera mounts."""

from dataclasses import dataclass

import mujoco
import numpy as np

from geoseg_core.rig import shapes, textures

TABLE_TOP_M = 0.74
TABLE_HALF_M = (0.7, 0.45)
PLACE_HALF_M = (0.46, 0.27)
ROBOT_BASE_M = (0.0, 0.56, TABLE_TOP_M + 0.28)
UPPER_ARM_M = 0.58
FOREARM_M = 0.56
GAP_M = 0.03
TEXTURE_PX = 96
FOVY_DEG = {"ego": 58.0, "exo_left": 38.0, "exo_right": 38.0}
EXO_POSES_M = {
    "exo_left": ((-1.12, -0.72, 1.55), (0.03, 0.03, 0.70)),
    "exo_right": ((1.15, -0.50, 1.60), (0.0, 0.0, 0.70)),
}
FINE = {"offsamples": 4, "shadowsize": 1024, "numslices": 28, "numstacks": 16}
QUICK = {"offsamples": 0, "shadowsize": 512, "numslices": 16, "numstacks": 8}
PLAIN = {"floor": (0.51, 0.50, 0.50), "wall": (0.77, 0.755, 0.715)}
PALETTE = np.array(
    [[0.80, 0.13, 0.11], [0.95, 0.93, 0.86], [0.10, 0.33, 0.68], [0.97, 0.76, 0.10], [0.12, 0.50, 0.27],
     [0.93, 0.46, 0.09], [0.42, 0.20, 0.55], [0.11, 0.12, 0.14], [0.16, 0.62, 0.66], [0.85, 0.42, 0.55]]
)  # fmt: skip
PALETTE_NAMES = ("red", "white", "blue", "yellow", "green", "orange", "purple", "black", "teal", "pink")


@dataclass(frozen=True)
class Thing:
    """An object that was placed: its body's name, its class and its footprint."""

    name: str
    class_name: str
    radius_m: float


def build(seed: int) -> tuple[mujoco.MjModel, tuple[Thing, ...]]:
    """Compile the workplace of a seed; the same seed gives the same model."""
    generator = np.random.default_rng(seed)
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.004
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.stat.extent = 1.0
    spec.stat.center = [0, 0, TABLE_TOP_M]
    _set_visuals(spec)
    _add_room(spec, generator)
    _add_robot(spec)
    _add_cameras(spec)
    things = _add_things(spec, generator)
    return spec.compile(), things


def set_quality(model: mujoco.MjModel, fine: bool) -> None:
    """Choose how much work drawing is: smooth edges and shadows, or what software GL draws ten times a second."""
    for name, value in (FINE if fine else QUICK).items():
        setattr(model.vis.quality, name, value)
    if not fine:  # large and nearly uniform: texture there costs much and shows little
        for name, colour in PLAIN.items():
            material = model.material(name)
            model.mat_texid[material.id] = -1
            material.rgba[:3] = colour


def _set_visuals(spec: mujoco.MjSpec) -> None:
    visual = spec.visual
    visual.map.znear = 0.05
    visual.map.zfar = 12.0
    visual.map.shadowclip = 1.0
    visual.map.shadowscale = 0.9
    visual.headlight.ambient = [0.32, 0.32, 0.34]
    visual.headlight.diffuse = [0.18, 0.18, 0.18]
    visual.headlight.specular = [0.05, 0.05, 0.05]
    visual.global_.offwidth = 640
    visual.global_.offheight = 480
    spec.worldbody.add_light(
        pos=[0.5, -0.6, 3.0], dir=[-0.16, 0.22, -1.0], type=mujoco.mjtLightType.mjLIGHT_SPOT, castshadow=True,
        cutoff=42, exponent=1, diffuse=[0.62, 0.60, 0.56], specular=[0.25, 0.25, 0.25], attenuation=[1, 0, 0],
    )  # fmt: skip
    spec.worldbody.add_light(
        pos=[-1.8, 1.4, 2.6], dir=[0.6, -0.45, -0.8], type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=False, diffuse=[0.20, 0.22, 0.26], specular=[0.05, 0.05, 0.05],
    )  # fmt: skip


def _add_material(spec: mujoco.MjSpec, name: str, image: np.ndarray, shininess: float = 0.3, **extra: object) -> None:
    """A material painted with an image: (size, size, 3) for planes, (6, size, size, 3) for solids."""
    cube = image.ndim == 4
    texture = spec.add_texture(
        name=name, nchannel=3, width=image.shape[-2], height=image.shape[-3] * (6 if cube else 1),
        type=mujoco.mjtTexture.mjTEXTURE_CUBE if cube else mujoco.mjtTexture.mjTEXTURE_2D,
    )  # fmt: skip
    texture.data = image.tobytes()
    material = spec.add_material(name=name, specular=0.3, shininess=shininess, **extra)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_room(spec: mujoco.MjSpec, generator: np.random.Generator) -> None:
    seeds = generator.integers(0, 2**31, 3)
    plane = textures.plane_points(256)
    browns = np.array([[0.62, 0.44, 0.28], [0.46, 0.30, 0.17]])
    greys = np.array([[0.47, 0.47, 0.48], [0.55, 0.54, 0.52]])
    creams = np.array([[0.80, 0.78, 0.73], [0.74, 0.73, 0.70]])
    _add_material(spec, "table_wood", textures.paint(plane, textures.wood, browns, int(seeds[0]), 0.1))
    floor = textures.paint(2 * plane, textures.plaster, greys, int(seeds[1]), 0.05)
    _add_material(spec, "floor", floor, texrepeat=[3, 3])
    wall = textures.paint(plane, textures.plaster, creams, int(seeds[2]), 0.05)
    _add_material(spec, "wall", wall, texrepeat=[2, 1])
    spec.add_material(name="steel", rgba=[0.62, 0.64, 0.67, 1], specular=0.7, shininess=0.6)
    world = spec.worldbody
    plane_type = mujoco.mjtGeom.mjGEOM_PLANE
    world.add_geom(type=plane_type, size=[3, 3, 0.1], material="floor")
    for axis, side in ((0, 1), (0, -1), (1, 1), (1, -1)):
        position, normal = np.array([0.0, 0.0, 1.5]), np.zeros(3)
        position[axis], normal[axis] = 2.4 * side, -side
        world.add_geom(type=plane_type, size=[3, 1.5, 0.1], pos=position, quat=_facing(normal), material="wall")
    table = world.add_body(name="table")
    table.add_geom(type=shapes.BOX, size=[*TABLE_HALF_M, 0.02], pos=[0, 0, TABLE_TOP_M - 0.02],
                   material="table_wood", friction=[0.9, 0.02, 0.003], condim=6)  # fmt: skip
    for x in (-0.64, 0.64):
        for y in (-0.39, 0.39):
            table.add_geom(type=shapes.BOX, size=[0.03, 0.03, 0.35], pos=[x, y, 0.35], material="table_wood")


def _facing(normal: np.ndarray) -> np.ndarray:
    """Quaternion (w x y z) whose z axis is a horizontal `normal` and whose y axis is up."""
    up = np.array([0.0, 0.0, 1.0])
    rotation = np.stack([np.cross(up, normal), up, normal], axis=1)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    return quaternion


def _add_robot(spec: mujoco.MjSpec) -> None:
    """Base column (static), two arm links, hand and two fingers (all posed by mocap)."""
    spec.add_material(name="robot_white", rgba=[0.86, 0.87, 0.88, 1], specular=0.4, shininess=0.5)
    spec.add_material(name="robot_dark", rgba=[0.17, 0.18, 0.20, 1], specular=0.4, shininess=0.5)
    spec.add_material(name="robot_accent", rgba=[0.90, 0.38, 0.06, 1], specular=0.4, shininess=0.5)
    base = spec.worldbody.add_body(name="robot_base", pos=ROBOT_BASE_M)
    height = ROBOT_BASE_M[2]
    base.add_geom(type=shapes.CYLINDER, size=[0.075, height / 2, 0], pos=[0, 0.0, -height / 2], material="robot_dark")
    base.add_geom(type=shapes.SPHERE, size=[0.085, 0, 0], material="robot_accent")
    for name, length, radius in (("upper_arm", UPPER_ARM_M, 0.05), ("forearm", FOREARM_M, 0.042)):
        link = spec.worldbody.add_body(name=name, mocap=True)
        free = {"contype": 0, "conaffinity": 0}
        link.add_geom(type=shapes.CAPSULE, size=[radius, 0, 0], fromto=[0, 0, 0.06, 0, 0, length - 0.06],
                      material="robot_white", **free)  # fmt: skip
        link.add_geom(type=shapes.SPHERE, size=[radius * 1.35, 0, 0], pos=[0, 0, length], material="robot_accent",
                      **free)  # fmt: skip
    hand = spec.worldbody.add_body(name="hand", mocap=True)
    hand.add_geom(type=shapes.CYLINDER, size=[0.032, 0.05, 0], pos=[0, 0, 0.185], material="robot_dark")
    hand.add_geom(type=shapes.BOX, size=[0.085, 0.03, 0.032], pos=[0, 0, 0.112], material="robot_white")
    for side, name in ((-1, "finger_left"), (1, "finger_right")):
        finger = spec.worldbody.add_body(name=name, mocap=True)
        finger.add_geom(type=shapes.BOX, size=[0.009, 0.014, 0.045], pos=[0.009 * side, 0, 0.045],
                        material="robot_dark")  # fmt: skip


def _add_cameras(spec: mujoco.MjSpec) -> None:
    mount = spec.worldbody.add_body(name="ego", mocap=True)
    mount.add_camera(name="ego", fovy=FOVY_DEG["ego"])
    for name, (position, target) in EXO_POSES_M.items():
        quaternion = look_at(np.array(position), np.array(target))
        spec.worldbody.add_camera(name=name, pos=position, quat=quaternion, fovy=FOVY_DEG[name])


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Quaternion (w x y z) of a MuJoCo camera (x right, y up, looks along -z) that sees `target`."""
    backward = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(backward, right), backward], axis=1).ravel())
    return quaternion


def _add_things(spec: mujoco.MjSpec, generator: np.random.Generator) -> tuple[Thing, ...]:
    """Eight to twelve kinds, painted and placed apart from each other."""
    names = list(generator.permutation(list(shapes.KINDS)))[: int(generator.integers(8, 13))]
    cube = textures.cube_points(TEXTURE_PX)
    placed: list[np.ndarray] = []
    things = []
    for order, kind_name in enumerate(sorted(names, key=lambda each: -shapes.KINDS[each].radius_m)):
        kind = shapes.KINDS[kind_name]
        spot = _free_spot(kind.radius_m, placed, generator)
        if spot is None:
            continue
        placed.append(np.array([*spot, kind.radius_m]))
        first, second = generator.choice(len(PALETTE), 2, replace=False)
        pattern = textures.PATTERNS[order % len(textures.PATTERNS)]
        image = textures.paint(cube, pattern, PALETTE[[first, second]], int(generator.integers(2**31)))
        name = f"{PALETTE_NAMES[_main_colour(image, (first, second))]}_{kind_name}"
        _add_material(spec, name, image, shininess=0.5)
        angle = generator.uniform(-np.pi, np.pi)
        body = spec.worldbody.add_body(
            name=name, pos=[*spot, TABLE_TOP_M + kind.rest_height_m + 0.001],
            quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
        )  # fmt: skip
        body.add_freejoint()
        kind.build(spec, body, name)
        things.append(Thing(name, kind.class_name, kind.radius_m))
    return tuple(things)


def _main_colour(image: np.ndarray, candidates: tuple[int, int]) -> int:
    """Which of two palette entries more pixels of a texture are near to."""
    pixels = image.reshape(-1, 3) / 255
    first, second = (np.linalg.norm(pixels - PALETTE[index], axis=1) for index in candidates)
    return candidates[0] if (first < second).mean() >= 0.5 else candidates[1]


def _free_spot(radius_m: float, placed: list[np.ndarray], generator: np.random.Generator) -> np.ndarray | None:
    """A place on the table that keeps its distance from those that are taken."""
    for _ in range(2000):
        spot = generator.uniform([-PLACE_HALF_M[0], -PLACE_HALF_M[1]], PLACE_HALF_M)
        if all(np.hypot(*(spot - other[:2])) > radius_m + other[2] + GAP_M for other in placed):
            return spot
    return None
