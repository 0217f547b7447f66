"""What tests of live nodes share: cameras that publish a rendered scene, a node in a process of its own, waiting."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from scenes import cameras, render, tabletop, workplace
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from geoseg_core.geometry.transforms import pose_parts
from geoseg_core.views import View
from geoseg_ros.sensor_messages import calibration_to_msg, header_to_msg, image_to_msg, packed

ROOT = Path(__file__).resolve().parent.parent
SMALL = (48, 64)
domains = itertools.count()
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def transforms_to_msg(view: View, stamp_ns: int) -> TFMessage:
    """The pose of a view's optical frame in the world."""
    (x, y, z), (qx, qy, qz, qw) = (part.tolist() for part in pose_parts(view.camera_to_world))
    place = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    header = header_to_msg(stamp_ns, "world")
    return TFMessage(transforms=[TransformStamped(header=header, child_frame_id=view.frame_id, transform=place)])


class LiveCameras:
    """Publishes views of a scene on the topics of their cameras; of each what it has.

    Args:
        views: one for each camera; taken from the shared test scene where there are none.
    """

    def __init__(
        self, node: Node, names: tuple[str, ...] = ("ego", "exo_left"), views: list[View] | None = None
    ) -> None:
        poses = cameras()
        solids = workplace() + tabletop()
        self.views = {
            each.camera: each for each in views or [render(solids, name, poses[name], SMALL)[0] for name in names]
        }
        self._node = node
        self.publishers: dict[str, Any] = {}
        for name in self.views:
            for topic, kind in (("image", Image), ("depth", Image), ("camera_info", CameraInfo)):
                self.publishers[f"{name}/{topic}"] = node.create_publisher(kind, f"{name}/{topic}", 10)
        self._tf_static = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.publish_poses()

    def publish_poses(self) -> None:
        for view in self.views.values():
            if view.camera_to_world is not None:
                self._tf_static.publish(transforms_to_msg(view, 0))

    def messages(self, name: str, stamp_ns: int) -> dict[str, Any]:
        """image, and as far as known depth and camera_info, of one camera at one instant."""
        view = self.views[name]
        header = header_to_msg(stamp_ns, view.frame_id)
        found = {"image": image_to_msg(view.image, "rgb8", header)}
        if view.depth_m is not None:
            found["depth"] = image_to_msg(view.depth_m, "32FC1", header)
        if view.intrinsics is not None:
            found["camera_info"] = calibration_to_msg(view.intrinsics, view.size, header)
        return found

    def publish(self, stamp_ns: int | None = None, names: tuple[str, ...] | None = None, **changed: Any) -> int:
        """One set; `changed` replaces messages, e.g. ego_image=message. Returns the stamp."""
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        for name in names or tuple(self.views):
            for topic, message in reversed(self.messages(name, stamp_ns).items()):
                self.publishers[f"{name}/{topic}"].publish(changed.get(f"{name}_{topic}", message))
        return stamp_ns


class Bench:
    """A node of the test with its executor; collects what it hears."""

    def __init__(self, name: str = "bench") -> None:
        self.node = rclpy.create_node(name)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heard: dict[str, list[Any]] = {}

    def listen(self, kind: type, topic: str, qos: Any = 10) -> list[Any]:
        """The list that fills with the messages of a topic, each of them once, whoever listens besides."""
        if topic not in self.heard:
            self.heard[topic] = []
            self.node.create_subscription(kind, topic, self.heard[topic].append, qos)
        return self.heard[topic]

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def until(
        self, condition: Callable[[], Any], each: Callable[[], Any] = lambda: None, timeout_s: float = 20.0
    ) -> Any:
        """Spin until the condition holds, calling `each` at 10 Hz; returns what the condition gave."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            each()
            self.spin(0.1)
            if found := condition():
                return found
        raise AssertionError(f"nothing within {timeout_s} s; heard { ({k: len(v) for k, v in self.heard.items()}) }")

    def call(self, kind: type, name: str, request: Any, each: Callable[[], Any] = lambda: None) -> Any:
        """A service call, answered."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, each)
        future = client.call_async(request)
        self.until(future.done, each)
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()


@contextmanager
def bench(name: str = "bench") -> Iterator[Bench]:
    """rclpy and a bench; needs the fixture ros_environment."""
    rclpy.init()
    made = Bench(name)
    try:
        yield made
    finally:
        made.close()
        rclpy.shutdown()


@contextmanager
def perception(
    environment: dict[str, str], log: Path, module: str = "geoseg_ros.nodes.perception", **parameters: Any
) -> Iterator[subprocess.Popen]:
    """The perception node in its own process, its output in the file `log`; `__` in a name stands for a dot."""
    settings = {"cameras": ["ego", "exo_left"]} | {name.replace("__", "."): each for name, each in parameters.items()}
    words = [part for name, each in settings.items() for part in ("-p", f"{name}:={_yaml(each)}")]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", *words],
            env=with_modules(environment), stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def with_modules(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that finds the packages and what tests share."""
    paths = [str(ROOT), str(ROOT / "test"), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


def values(status: Any) -> dict[str, str]:
    """The key-value pairs of a DiagnosticStatus."""
    return {each.key: each.value for each in status.values}


def stamp_of(message: Any) -> int:
    """Nanoseconds of a message's header."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


@dataclass
class Live:
    """A running node, its cameras and a bench to talk to it."""

    bench: Bench
    cameras: LiveCameras
    log: Path
    process: subprocess.Popen

    def spin_until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """As Bench.until, while all cameras publish at 10 Hz."""
        return self.bench.until(condition, self.cameras.publish, timeout_s)

    def publish_marked(self, colour: tuple[int, int, int]) -> None:
        """A set whose first image has a first pixel of that colour, for `faulty_node`."""
        stamp_ns = time.time_ns()
        image = self.cameras.messages("ego", stamp_ns)["image"]
        image.data[:3] = packed(np.array(colour, np.uint8))
        self.cameras.publish(stamp_ns, ego_image=image)

    def call(self, kind: type, name: str, **request: Any) -> Any:
        """A call of one of the node's services, while all cameras publish."""
        return self.bench.call(kind, f"/geoseg/{name}", kind.Request(**request), self.cameras.publish)

    def status(self, name: str) -> Any:
        """The newest DiagnosticStatus of a part ("pipeline", "camera ego", "connections"), or None."""
        newest = self.bench.heard["/diagnostics"][-1:]
        return next((each for array in newest for each in array.status if each.name == f"geoseg: {name}"), None)

    def value(self, name: str, key: str) -> str:
        """One value of the newest status of a part, "" where there is none."""
        status = self.status(name)
        return values(status).get(key, "") if status else ""


@contextmanager
def live_node(
    folder: Path, module: str = "geoseg_ros.nodes.perception", views: list[View] | None = None, **parameters: Any
) -> Iterator[Live]:
    """A node in its own process on a domain of its own, with two small cameras and diagnostics heard.

    Args:
        views: what its cameras see, as LiveCameras takes them.
    """
    from geoseg_ros.environment import ros_environment

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ros_environment().items():
            patch.setenv(name, value)
        patch.setenv("ROS_DOMAIN_ID", str(1 + (os.getpid() + 50 + next(domains)) % 100))
        log = folder / "node.log"
        with bench() as made, perception(dict(os.environ), log, module, **parameters) as process:
            made.listen(DiagnosticArray, "/diagnostics")
            yield Live(made, LiveCameras(made.node, views=views), log, process)
