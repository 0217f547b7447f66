"""The demo's own node: asks the live node to follow objects and collects all that it publishes."""

import time
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image

from geoseg_core.prompts import Prompt
from geoseg_ros.conversions import prompt_to_msg
from geoseg_ros.demo.label_runs import LabelRuns
from geoseg_ros.msg import CrossViewMasks, InstanceCloud
from geoseg_ros.sensor_messages import image_from_msg, time_from_msg
from geoseg_ros.srv import TrackObject

NODE = "/geoseg"
PIPELINE_STATUS = "geoseg: pipeline"
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
CLOUD_EVERY_S = 2.0


class Follower(Node):
    """Collects results by stamp.

    Attributes:
        masks: CrossViewMasks by the stamp of the set, nanoseconds.
        labels: label images by (camera, stamp of the view).
        scores: by the stamp of the set, the confidence of each instance id.
        clouds: InstanceCloud by the stamp of the set, one every two seconds.
        end_to_end_ms: from the camera_info of a set's newest stamp to its masks, both as they arrive here.
        diagnostics: newest values that the node's pipeline says of itself, by key.
        last_result_s: monotonic time of the newest masks.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        super().__init__("geoseg_demo")
        self.masks: dict[int, CrossViewMasks] = {}
        self.labels: dict[tuple[str, int], LabelRuns] = {}
        self.scores: dict[int, dict[int, float]] = {}
        self.clouds: dict[int, InstanceCloud] = {}
        self.end_to_end_ms: list[float] = []
        self.diagnostics: dict[str, str] = {}
        self.last_result_s = time.monotonic()
        self._arrival_s: dict[int, float] = {}
        self.create_subscription(CrossViewMasks, f"{NODE}/cross_view_masks", self._on_masks, RELIABLE)
        self.create_subscription(InstanceCloud, f"{NODE}/instances", self._on_instances, RELIABLE)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, RELIABLE)
        for camera in cameras:
            self._follow_labels(camera)
        self._cameras = tuple(cameras)
        self._track = self.create_client(TrackObject, f"{NODE}/track_object")
        self._state = self.create_client(GetState, f"{NODE}/get_state")

    def _follow_labels(self, camera: str) -> None:
        def on_labels(message: Image) -> None:
            self.labels[camera, time_from_msg(message.header.stamp)] = LabelRuns.of(image_from_msg(message))

        self.create_subscription(Image, f"{NODE}/{camera}/labels", on_labels, RELIABLE)

    def _watch_cameras(self) -> None:
        """Hear when images are sent. Only now: the replay waits for a subscriber, and that must be the live node."""
        for camera in self._cameras:
            self.create_subscription(CameraInfo, f"/{camera}/camera_info", self._on_camera_info, BEST_EFFORT)
        self._cameras = ()

    def ask_state(self) -> Future | None:
        """Ask for the node's lifecycle state; None while its service is not there."""
        return self._state.call_async(GetState.Request()) if self._state.service_is_ready() else None

    def is_active(self, answer: Future) -> bool:
        """Whether the answer to `ask_state` says that the node is active."""
        return answer.done() and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE

    def track(self, prompt: Prompt, label: str, timeout_s: float) -> Future:
        """Ask the node to follow an object from the first set on that it sees within the timeout."""
        request = TrackObject.Request(prompt=prompt_to_msg(prompt, label=label), timeout_s=timeout_s)
        return self._track.call_async(request)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._arrival_s.setdefault(time_from_msg(message.header.stamp), time.monotonic())

    def _on_masks(self, message: CrossViewMasks) -> None:
        stamp_ns, now = time_from_msg(message.header.stamp), time.monotonic()
        self.masks[stamp_ns] = message
        self.last_result_s = now
        self._watch_cameras()
        if stamp_ns in self._arrival_s:
            self.end_to_end_ms.append(1e3 * (now - self._arrival_s[stamp_ns]))

    def _on_instances(self, message: InstanceCloud) -> None:
        stamp_ns = time_from_msg(message.header.stamp)
        self.scores[stamp_ns] = {each.id: each.score for each in message.instances}
        if not self.clouds or stamp_ns - max(self.clouds) >= CLOUD_EVERY_S * 1e9:
            self.clouds[stamp_ns] = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == PIPELINE_STATUS:
                self.diagnostics = {value.key: value.value for value in status.values}
