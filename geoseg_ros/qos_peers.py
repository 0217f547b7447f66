"""Peers whose quality of service does not fit ours: they are connected, yet nothing comes through."""

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

NO_LIMIT = Duration(nanoseconds=2**62)


class QosPeers:
    """Looks at one of the node's topics at a time, in turn: asking for all of them at once would delay images."""

    def __init__(self, node: Node, endpoints: Callable[[], Iterable[Any]]) -> None:
        self._node = node
        self._endpoints = endpoints
        self._left: list[Any] = []
        self._found: dict[str, set[str]] = {}

    def look(self) -> set[str]:
        """Examine the next topic; return what is known of all: `topic: node (why)`."""
        if not self._left:
            self._left = list(self._endpoints())
            topics = {each.topic_name for each in self._left}
            self._found = {topic: found for topic, found in self._found.items() if topic in topics}
        if self._left:
            endpoint = self._left.pop()
            self._found[endpoint.topic_name] = self._examine(endpoint)
        return set().union(*self._found.values())

    def _examine(self, endpoint: Any) -> set[str]:
        topic, ours = endpoint.topic_name, _comparable(endpoint.qos_profile)
        is_publisher = hasattr(endpoint, "publish")
        ask = self._node.get_subscriptions_info_by_topic if is_publisher else self._node.get_publishers_info_by_topic
        reasons = set()
        for peer in ask(topic):
            theirs = _comparable(peer.qos_profile)
            verdict, why = qos_check_compatible(*((ours, theirs) if is_publisher else (theirs, ours)))
            if verdict == QoSCompatibility.ERROR:
                reasons.add(f"{topic}: node {peer.node_name!r} ({why.strip()})")
        return reasons


def _comparable(qos: QoSProfile) -> QoSProfile:
    """A copy in which "no limit" is written as the check expects it: discovered peers have huge durations instead."""
    copy = QoSProfile(depth=1, reliability=qos.reliability, durability=qos.durability, liveliness=qos.liveliness)
    for name in ("deadline", "liveliness_lease_duration"):
        if getattr(qos, name) < NO_LIMIT:
            setattr(copy, name, getattr(qos, name))
    return copy
