"""Recorder: topics of the bag format into a rosbag2 folder as they come, serialised bytes and nothing else.

Topics are looked for all the time, so that cameras may start later. Those of the format are taken (see
docs/bag_format.md), of all cameras or of those that are named.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection

from geoseg_core.datasets.bag_format import LATCHED, OBJECTS, TF, TF_STATIC, camera_topics, find_cameras
from geoseg_core.datasets.bag_writer import add_topic, message_types, open_bag
from geoseg_ros.player import installed_type

SEARCH_PERIOD_S = 0.2
QUEUE = 100


class Recorder(Node):
    """Records until it is closed; spin it with a single-threaded executor.

    Attributes:
        counts: messages by topic.

    Raises:
        BadInput: the path is taken or cannot be written.
    """

    def __init__(self, path: str | Path, cameras: Sequence[str] = ()) -> None:
        super().__init__("geoseg_record")
        self.counts: Counter[str] = Counter()
        self._first_ns = 0
        self._cameras = tuple(cameras)
        self._connections: dict[str, Connection] = {}
        self._refused: set[str] = set()
        self._writer = open_bag(path)
        self._search()
        self.create_timer(SEARCH_PERIOD_S, self._search)

    def is_full(self, duration_s: float) -> bool:
        """Whether the first message came longer ago than this; never, for 0."""
        passed_ns = self.get_clock().now().nanoseconds - self._first_ns
        return 0 < duration_s * 1e9 < passed_ns and self._first_ns > 0

    def close(self) -> None:
        """Finish the file; what was recorded is complete."""
        self._writer.close()

    def _search(self) -> None:
        """Subscribe to what is published by now and belongs into the bag."""
        found = dict(self.get_topic_names_and_types())
        cameras = self._cameras or find_cameras(found)
        wanted = {TF, TF_STATIC, OBJECTS, *(topic for camera in cameras for topic in camera_topics(camera))}
        for topic in sorted(wanted & set(found) - set(self._connections) - self._refused):
            if self.count_publishers(topic):
                self._subscribe(topic, found[topic][0])

    def _subscribe(self, topic: str, type_name: str) -> None:
        message_type = installed_type(type_name)
        if message_type is None or type_name not in message_types().types:
            self._refused.add(topic)
            self.get_logger().warning(f"{topic} is left out: its type {type_name} is not one of the format")
            return
        self._connections[topic] = add_topic(self._writer, topic, type_name)

        def write(data: bytes) -> None:
            now_ns = self.get_clock().now().nanoseconds
            self._first_ns = self._first_ns or now_ns
            self._writer.write(self._connections[topic], now_ns, data)
            self.counts[topic] += 1

        self.create_subscription(message_type, topic, write, self._matching_quality(topic), raw=True)

    def _matching_quality(self, topic: str) -> QoSProfile:
        """As strict as all publishers of the topic are, so that every one of them is heard."""
        offered = [each.qos_profile for each in self.get_publishers_info_by_topic(topic)]
        reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in offered)
        latched = topic in LATCHED and all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
        return QoSProfile(
            depth=QUEUE,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
