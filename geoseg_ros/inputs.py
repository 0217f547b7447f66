"""Subscriptions of the perception node: cameras, calibration and tf into the synchroniser and the rig."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from geoseg_core.errors import BadInput
from geoseg_core.synchronizer import DEPTH, IMAGE, SyncedSet, Synchronizer, TimeJump
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.diagnostics import Statistics
from geoseg_ros.parameters import NodeConfig
from geoseg_ros.sensor_messages import time_from_msg
from geoseg_ros.stock_synchronizer import StockSynchronizer
from geoseg_ros.transit import Transit
from geoseg_ros.worker import Arrival

SENSOR_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
TF_QOS = QoSProfile(depth=100)
STATIC_TF_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# A wait-set entry for every QoS event of every subscription costs more than all images; peers are looked at by
# qos_peers.py instead, which also knows their names.
NO_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)


class Inputs:
    """All that the node hears.

    Args:
        on_set: called with each complete set.
        on_jump: called when the stamps' time has jumped, before the sets of the new time.
        on_change: called with a camera whose calibration, resolution or fixed place is another than before.
    """

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        rig: CameraRig,
        statistics: Statistics,
        on_set: Callable[[Arrival], None],
        on_jump: Callable[[TimeJump], None],
        on_change: Callable[[str, str], None],
    ) -> None:
        self._node = node
        self._rig = rig
        self._statistics = statistics
        self._on_set, self._on_jump, self._on_change = on_set, on_jump, on_change
        self._clock = node.get_clock()
        streams = {camera: (IMAGE, DEPTH) for camera in config.cameras}
        kind = Synchronizer if config.synchronizer == "builtin" else StockSynchronizer
        self.synchronizer = kind(streams, config.sync, statistics.synchronised)
        self.subscriptions: list[Subscription] = []
        for camera in config.cameras:
            self._subscribe_camera(camera)
        self._subscribe(TFMessage, "/tf", partial(self._take_transforms, static=False), TF_QOS)
        self._subscribe(TFMessage, "/tf_static", partial(self._take_transforms, static=True), STATIC_TF_QOS)

    def _subscribe_camera(self, camera: str) -> None:
        for type_, topic, kind in (
            (Image, "image", IMAGE),
            (CompressedImage, "image/compressed", IMAGE),
            (Image, "depth", DEPTH),
            (CompressedImage, "depth/compressedDepth", DEPTH),
        ):
            self._subscribe(type_, f"{camera}/{topic}", partial(self._take_sent, camera, kind, Transit()), SENSOR_QOS)
        self._subscribe(CameraInfo, f"{camera}/camera_info", partial(self._take_info, camera), SENSOR_QOS)

    def _subscribe(self, kind: type, topic: str, callback: Callable[..., None], qos: QoSProfile) -> None:
        created = self._node.create_subscription(kind, topic, callback, qos, event_callbacks=NO_EVENTS)
        self.subscriptions.append(created)

    def connect(self, source: Any, camera: str, kind: str) -> None:
        """Take a stream from a chain of message_filters (anything with registerCallback) instead of a topic."""
        source.registerCallback(partial(self.take, camera, kind))

    def _take_sent(self, camera: str, kind: str, transit: Transit, message: Any, info: dict[str, int]) -> None:
        self.take(camera, kind, message, transit.waited_ns(info["source_timestamp"], time.time_ns()))

    def take(self, camera: str, kind: str, message: Any, waited_ns: int = 0) -> None:
        """One image or depth image, from wherever it comes, and how long it waited on its way."""
        stamp_ns = time_from_msg(message.header.stamp)
        self._statistics.arrived(camera, kind, (self._clock.now().nanoseconds - stamp_ns) / 1e6)
        now_ns = time.monotonic_ns()
        self._pass_on(self.synchronizer.add(camera, kind, stamp_ns, message, now_ns), now_ns - waited_ns)

    def poll(self) -> None:
        """Call this regularly: it notices cameras that fell silent."""
        now_ns = time.monotonic_ns()
        self._pass_on(self.synchronizer.poll(now_ns), now_ns)

    def clear(self) -> None:
        """Begin anew after a jump of the clock."""
        self.synchronizer.clear()

    def close(self) -> None:
        for subscription in self.subscriptions:
            self._node.destroy_subscription(subscription)
        self.subscriptions.clear()

    def _pass_on(self, sets: list[SyncedSet], arrived_ns: int) -> None:
        jump = self.synchronizer.take_jump()
        if jump is not None:
            self._on_jump(jump)
        for synced in sets:
            self._on_set(Arrival(synced, arrived_ns))

    def _take_info(self, camera: str, info: CameraInfo) -> None:
        try:
            if self._rig.take_info(camera, info):
                self._on_change(camera, "its calibration changed")
        except BadInput as error:
            self._statistics.refuse(camera, "camera_info", error)

    def _take_transforms(self, message: TFMessage, static: bool) -> None:
        try:
            for camera in self._rig.take_transforms(message, static):
                self._on_change(camera, "it stands in another place")
        except BadInput as error:
            self._statistics.refuse("tf_static" if static else "tf", "transform", error)
