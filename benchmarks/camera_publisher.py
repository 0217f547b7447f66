"""A process of its own that publishes cameras like a driver would: raw images, stamped when they are sent.

    python benchmarks/camera_publisher.py blank --size 1280x720 --rate 30 --seconds 20
    python benchmarks/camera_publisher.py bag BAG --sets 40 --rate 10 --seconds 20

It waits for subscribers, then publishes by a steady clock; sets of a bag are played forth and back. The last line of
its output is a JSON object: sets sent, and by how much the latest one was late.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Transform, TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from tf2_msgs.msg import TFMessage

from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.geometry.transforms import pose_parts
from geoseg_core.views import View
from geoseg_ros.environment import set_ros_environment
from geoseg_ros.sensor_messages import calibration_to_msg, header_to_msg, image_to_msg

CAMERAS = ("ego", "exo_left", "exo_right")
WAIT_FOR_SUBSCRIBERS_S = 60.0


@dataclass
class Frames:
    """The messages of one set: (topic, message) in the order of sending; all have a header."""

    images: list[tuple[str, Any]] = field(default_factory=list)
    transforms: list[TransformStamped] = field(default_factory=list)


def blank_frames(size: tuple[int, int]) -> list[Frames]:
    """One set of grey rgb8 images of (width, height) with camera_info."""
    frames = Frames()
    intrinsics = np.array([[size[0], 0, size[0] / 2], [0, size[0], size[1] / 2], [0, 0, 1.0]])
    for camera in CAMERAS:
        header = header_to_msg(0, f"{camera}_optical_frame")
        frames.images.append((f"{camera}/camera_info", calibration_to_msg(intrinsics, (size[1], size[0]), header)))
        pixels = np.full((size[1], size[0], 3), 90, np.uint8)
        frames.images.append((f"{camera}/image", image_to_msg(pixels, "rgb8", header)))
    return [frames]


def bag_frames(bag: str, sets: int) -> list[Frames]:
    """The first sets of a bag as raw rgb8 images, 16UC1 depth, camera_info and transforms."""
    return [_labelled_frames(each.frames.views) for _, each in zip(range(sets), BagSequence(bag), strict=False)]


def _labelled_frames(views: tuple[View, ...]) -> Frames:
    frames = Frames()
    for view in views:
        assert view.intrinsics is not None and view.camera_to_world is not None and view.depth_m is not None
        header = header_to_msg(0, view.frame_id)
        millimetres = np.rint(view.depth_m * 1000).astype(np.uint16)
        frames.transforms.append(_transform(view.frame_id, view.camera_to_world))
        frames.images += [
            (f"{view.camera}/camera_info", calibration_to_msg(view.intrinsics, view.size, header)),
            (f"{view.camera}/depth", image_to_msg(millimetres, "16UC1", header)),
            (f"{view.camera}/image", image_to_msg(view.image, "rgb8", header)),
        ]
    return frames


def _transform(frame_id: str, camera_to_world: np.ndarray) -> TransformStamped:
    (x, y, z), quaternion = pose_parts(camera_to_world)
    transform = Transform()
    transform.translation.x, transform.translation.y, transform.translation.z = float(x), float(y), float(z)
    for name, value in zip("xyzw", quaternion, strict=True):
        setattr(transform.rotation, name, float(value))
    return TransformStamped(header=header_to_msg(0, "world"), child_frame_id=frame_id, transform=transform)


class CameraPublisher(Node):
    """Publishes sets of messages at a rate."""

    def __init__(self, frames: list[Frames], is_one_stamp: bool) -> None:
        """`is_one_stamp`: all views of a set are stamped when the first one is sent, else each one when it is."""
        super().__init__("cameras")
        self._frames, self._is_one_stamp = frames, is_one_stamp
        kinds = {topic: type(message) for topic, message in frames[0].images}
        self._topics = {
            topic: self.create_publisher(kind, f"/{topic}", qos_profile_sensor_data) for topic, kind in kinds.items()
        }
        self._tf = self.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))

    def wait_for_subscribers(self) -> None:
        """Until every image topic has one, at most a minute."""
        deadline = time.monotonic() + WAIT_FOR_SUBSCRIBERS_S
        while time.monotonic() < deadline:
            if all(each.get_subscription_count() for each in self._topics.values()):
                return
            time.sleep(0.05)
        raise SystemExit("cameras: nobody subscribed to the image topics")

    def run(self, rate_hz: float, seconds: float) -> dict[str, float]:
        """Publish; what was sent."""
        begin, latest_ms, count = time.monotonic(), 0.0, round(rate_hz * seconds)
        for number, frames in zip(range(count), self._forth_and_back(), strict=False):
            due = begin + number / rate_hz
            time.sleep(max(due - time.monotonic(), 0))
            latest_ms = max(latest_ms, 1e3 * (time.monotonic() - due))
            self._send(frames)
        return {"sets": count, "latest_ms": latest_ms}

    def _forth_and_back(self) -> Iterator[Frames]:
        return itertools.cycle([*self._frames, *self._frames[-2:0:-1]])

    def _send(self, frames: Frames) -> None:
        stamp = self.get_clock().now().to_msg()
        for each in frames.transforms:
            each.header.stamp = stamp
        if frames.transforms:
            self._tf.publish(TFMessage(transforms=frames.transforms))
        for topic, message in frames.images:
            message.header.stamp = stamp if self._is_one_stamp else self.get_clock().now().to_msg()
            self._topics[topic].publish(message)


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish cameras like a driver would.")
    parser.add_argument("kind", choices=("blank", "bag"))
    parser.add_argument("bag", nargs="?")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    width, _, height = arguments.size.partition("x")
    blank = arguments.kind == "blank"
    frames = blank_frames((int(width), int(height))) if blank else bag_frames(arguments.bag, arguments.sets)
    set_ros_environment()
    rclpy.init()
    cameras = CameraPublisher(frames, is_one_stamp=not blank)
    cameras.wait_for_subscribers()
    time.sleep(1.0)
    print(json.dumps(cameras.run(arguments.rate, arguments.seconds)), flush=True)
    time.sleep(1.0)
    cameras.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
