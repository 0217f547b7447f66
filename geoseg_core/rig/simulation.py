"""Rig: the simulated workplace, stepped and seen. Exact colour, depth, labels and poses from a seed."""

import mujoco
import numpy as np

from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.rig import scene
from geoseg_core.rig.motion import ArmPath, HeadPath, Obstacle, arm_poses
from geoseg_core.rig.rendering import Renderer
from geoseg_core.views import FrameSet, View

SETTLE_S = 0.6
ROBOT_BODIES = ("robot_base", "upper_arm", "forearm", "hand", "finger_left", "finger_right")
GL_TO_OPTICAL = np.diag([1.0, -1.0, -1.0])


class Rig:
    """A table with things on it, an arm that pushes and hides them, a moving ego and two fixed exo cameras.

    The world frame has its origin on the floor below the table's centre, z up. The same seed and the same steps
    give the same pictures. One rig belongs to one thread (its GL context does).

    Args:
        seed: decides which things stand where, what they look like, and all motion.
        width, height: pixels of every camera.
        fine: draw with anti-aliased edges, rounder shapes and sharper shadows, at four times the cost.

    Attributes:
        cameras: names of the cameras, ego first.
        static_cameras: those that do not move.
        objects: what the label numbers stand for: things (role object), then robot and table.
    """

    world_frame = "world"

    def __init__(self, seed: int = 0, width: int = 640, height: int = 480, fine: bool = False) -> None:
        self.cameras = tuple(scene.FOVY_DEG)
        self.static_cameras = tuple(scene.EXO_POSES_M)
        self.model, self._things = scene.build(seed)
        scene.set_quality(self.model, fine)
        self._data = mujoco.MjData(self.model)
        self._size = (height, width)
        self._head, self._arm = HeadPath(seed), ArmPath(seed)
        count = len(self._things)
        self.objects = (
            *(TruthObject(i, thing.name, thing.class_name) for i, thing in enumerate(self._things, 1)),
            TruthObject(count + 1, "robot", "robot", "robot"),
            TruthObject(count + 2, "table", "table", "support"),
        )
        self._label_of_body = self._body_labels()
        self._renderer: Renderer | None = None
        self._time_s = -SETTLE_S
        self._pose_moving_bodies()
        self._simulate(SETTLE_S)

    @property
    def stamp_ns(self) -> int:
        """Simulated time since the start, nanoseconds."""
        return round(self._time_s * 1e9)

    def step(self, duration_s: float) -> None:
        """Let time pass: the head walks, the arm works, the things are pushed."""
        steps = max(round(duration_s / self.model.opt.timestep), 1)
        for _ in range(steps):
            if self._arm.needs_plan():
                self._arm.plan(self._obstacles(), [self.camera_to_world(name)[:3, 3] for name in self.cameras])
            self._arm.advance(self.model.opt.timestep)
            self._pose_moving_bodies()
            self._simulate(self.model.opt.timestep)

    def render(self, stamp_ns: int | None = None) -> LabelledSet:
        """What all cameras see now, with exact depth, calibration, poses and labels.

        Args:
            stamp_ns: the time to write on the views; by default the simulated time.
        """
        stamp_ns = self.stamp_ns if stamp_ns is None else stamp_ns
        if self._renderer is None:
            self._renderer = Renderer(self.model, self._size[1], self._size[0])
        views, labels = [], {}
        for camera in self.cameras:
            image, depth_m, bodies = self._renderer.render(self._data, camera)
            labels[camera] = self._label_of_body[bodies]
            views.append(
                View(
                    camera, image, stamp_ns, self.intrinsics(camera), self.camera_to_world(camera), depth_m,
                    f"{camera}_optical_frame",
                )
            )  # fmt: skip
        return LabelledSet(FrameSet(tuple(views)), labels)

    def intrinsics(self, camera: str) -> np.ndarray:
        """Pinhole matrix (3, 3) in pixels; pixel centres at integers, square pixels, no distortion."""
        height, width = self._size
        focal_px = height / 2 / np.tan(np.radians(scene.FOVY_DEG[camera]) / 2)
        return np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])

    def camera_to_world(self, camera: str) -> np.ndarray:
        """Pose (4, 4) of a camera's optical frame (x right, y down, z forward) now."""
        found = self._data.camera(camera)
        return _matrix(found.xmat.reshape(3, 3) @ GL_TO_OPTICAL, found.xpos)

    def object_to_world(self, object_id: int) -> np.ndarray:
        """Pose (4, 4) of a thing's body frame now."""
        body = self._data.body(self.objects[object_id - 1].name)
        return _matrix(body.xmat.reshape(3, 3), body.xpos)

    def close(self) -> None:
        """Free the GL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _body_labels(self) -> np.ndarray:
        labels = np.zeros(self.model.nbody, np.uint16)
        for truth in self.objects:
            names = ROBOT_BODIES if truth.role == "robot" else (truth.name,)
            labels[[self.model.body(name).id for name in names]] = truth.id
        return labels

    def _obstacles(self) -> list[Obstacle]:
        return [Obstacle(self._data.body(thing.name).xpos[:2].copy(), thing.radius_m) for thing in self._things]

    def _pose_moving_bodies(self) -> None:
        position, target = self._head.at(self._time_s)
        poses = {"ego": (position, scene.look_at(position, target)), **arm_poses(self._arm.tip, self._arm.yaw)}
        for name, (place, quaternion) in poses.items():
            index = self.model.body(name).mocapid[0]
            self._data.mocap_pos[index] = place
            self._data.mocap_quat[index] = quaternion

    def _simulate(self, duration_s: float) -> None:
        steps = round(duration_s / self.model.opt.timestep)
        mujoco.mj_step(self.model, self._data, steps)
        # mj_step ends before positions follow the new state; pictures and poses must agree with each other
        mujoco.mj_kinematics(self.model, self._data)
        mujoco.mj_camlight(self.model, self._data)
        self._time_s += duration_s


def _matrix(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix
