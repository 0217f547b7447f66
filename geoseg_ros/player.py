"""Player: a bag's messages onto their own topics at their own pace, still serialised, with /clock.

Topics: those of the bag with their types; /clock (rosgraph_msgs/Clock), the bag's time, 50 times a second.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability
from rosgraph_msgs.msg import Clock

from geoseg_core.datasets.bag_file import BagFile
from geoseg_core.datasets.bag_format import LATCHED
from geoseg_core.errors import BadInput
from geoseg_ros.sensor_messages import time_to_msg

CLOCK = "/clock"
CLOCK_PERIOD_S = 0.02
SENSOR_DEPTH, LATCHED_DEPTH = 10, 100
SETTLED_S = 1.0
ACKNOWLEDGE_S = 2


@dataclass
class PlayCounts:
    """What was published, and how late (wall time, milliseconds)."""

    messages: dict[str, int] = field(default_factory=dict)
    lateness_ms: list[float] = field(default_factory=list)


class Player:
    """Publishes a bag; made for one thread, needs no executor.

    Args:
        node: makes the publishers.
        bag: open recording.
        topics: only these; empty: all whose types are installed.

    Attributes:
        counts: filled while it plays.

    Raises:
        BadInput: topics that the bag does not have, or nothing that could be published.
    """

    def __init__(self, node: Node, bag: BagFile, topics: tuple[str, ...] = ()) -> None:
        unknown = sorted(set(topics) - set(bag.topics))
        if unknown:
            raise BadInput(f"topics: expected some of {sorted(bag.topics)}, got {unknown}")
        self.counts = PlayCounts()
        self._bag = bag
        self._logger = node.get_logger()
        self._publishers: dict[str, Publisher] = {}
        for topic, type_name in bag.topics.items():
            if (not topics or topic in topics) and topic != CLOCK:
                self._announce(node, topic, type_name)
        if not self._publishers:
            raise BadInput(f"bag {bag.path}: expected a topic whose type is installed, got {bag.topics}")
        self._clock = node.create_publisher(Clock, CLOCK, SENSOR_DEPTH)
        self._told_ns = -1

    def wait_for_subscribers(self, keep_waiting: Callable[[], bool]) -> None:
        """Return once somebody listens and no more listeners came for a moment."""
        known, since_s = 0, time.monotonic()
        while keep_waiting() and (known == 0 or time.monotonic() - since_s < SETTLED_S):
            count = sum(publisher.get_subscription_count() for publisher in self._publishers.values())
            if count != known:
                known, since_s = count, time.monotonic()
            time.sleep(0.02)

    def play(self, rate: float, keep_playing: Callable[[], bool]) -> None:
        """Publish the whole bag once, `rate` times as fast as it was recorded.

        Raises:
            BadInput: the bag is damaged from here on.
        """
        first_ns = self._bag.span_ns[0]
        start_s = time.monotonic()
        for message in self._bag.messages(self._publishers):
            due_s = start_s + (message.received_ns - first_ns) / rate / 1e9
            if not self._wait_until(due_s, start_s, first_ns, rate, keep_playing):
                return
            self.counts.lateness_ms.append(1e3 * (time.monotonic() - due_s))
            self._publishers[message.topic].publish(message.data)
            self.counts.messages[message.topic] = self.counts.messages.get(message.topic, 0) + 1

    def finish(self) -> None:
        """Wait, not for long, until reliable subscribers have everything."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))

    def _wait_until(
        self, due_s: float, start_s: float, first_ns: int, rate: float, keep_playing: Callable[[], bool]
    ) -> bool:
        """Sleep with /clock going on; False when playing shall end."""
        while keep_playing():
            now_s = time.monotonic()
            played_s = max(min(now_s, due_s) - start_s, 0.0)
            self._publish_clock(first_ns + round(played_s * rate * 1e9), now_s >= due_s)
            if now_s >= due_s:
                return True
            time.sleep(min(due_s - now_s, CLOCK_PERIOD_S))
        return False

    def _publish_clock(self, now_ns: int, due: bool) -> None:
        """Tell the time, but only once for all messages of one instant."""
        if not due or now_ns != self._told_ns:
            self._told_ns = now_ns
            self._clock.publish(Clock(clock=time_to_msg(now_ns)))

    def _announce(self, node: Node, topic: str, type_name: str) -> None:
        message_type = installed_type(type_name)
        if message_type is None:
            self._logger.warning(f"{topic} is left out: its type {type_name} is not installed")
            return
        latched = topic in LATCHED or any(
            isinstance(each.ext, ConnectionExtRosbag2)
            and any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in each.ext.offered_qos_profiles)
            for each in self._bag.connections
            if each.topic == topic
        )
        self._publishers[topic] = node.create_publisher(message_type, topic, quality(latched))


def quality(latched: bool) -> QoSProfile:
    """Reliable, so that reliable and best-effort subscribers both match; latched topics for late comers too."""
    return QoSProfile(
        depth=LATCHED_DEPTH if latched else SENSOR_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def installed_type(type_name: str) -> Any:
    """The Python class of a message type such as "sensor_msgs/msg/Image"; None where it is not installed."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None
