"""Everything that the perception node says about a set, built only while somebody listens."""

import numpy as np
from geometry_msgs.msg import Vector3
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.pictures import label_image, overlay
from geoseg_core.results import PromptResult, SceneResult, ViewMasks
from geoseg_core.views import View
from geoseg_ros import conversions, msg
from geoseg_ros.sensor_messages import header_to_msg, image_to_msg

RESULT_QOS = QoSProfile(depth=5)
EVENT_QOS = QoSProfile(depth=100)


class Outputs:
    """The publishers of one node; `publish` may be called from any one thread.

    Args:
        instances_by: name of what gave the instances, for the messages' `method`.
        masks_by: the same of what carried the masks.
        prompts_by: the same of what answered prompts.
    """

    def __init__(
        self, node: Node, cameras: tuple[str, ...], world_frame: str, instances_by: str, masks_by: str, prompts_by: str
    ) -> None:
        self._node = node
        self.publishers: list[Publisher] = []
        self._world_frame = world_frame
        self._instances_by, self._masks_by, self._prompts_by = instances_by, masks_by, prompts_by
        self._masks = self._announce(msg.CrossViewMasks, "~/cross_view_masks")
        self._instances = self._announce(msg.InstanceCloud, "~/instances")
        self._cloud = self._announce(PointCloud2, "~/instances/cloud")
        self._boxes = self._announce(MarkerArray, "~/instances/boxes")
        self._prompt_masks = self._announce(msg.PromptMasks, "~/prompt_masks")
        self._events = self._announce(msg.ObjectEvent, "~/events", EVENT_QOS)
        self._labels = {each: self._announce(Image, f"~/{each}/labels") for each in cameras}
        self._overlays = {each: self._announce(Image, f"~/{each}/overlay") for each in cameras}

    def _announce(self, kind: type, topic: str, qos: QoSProfile = RESULT_QOS) -> Publisher:
        # As for subscriptions, QoS events are left to qos_peers.py.
        events = PublisherEventCallbacks(use_default_callbacks=False)
        created = self._node.create_publisher(kind, topic, qos, event_callbacks=events)
        self.publishers.append(created)
        return created

    def publish(self, result: SceneResult) -> None:
        """Say all of one set, with the stamps of its images."""
        if _is_heard(self._masks):
            self._masks.publish(conversions.masks_to_msg(result, self._world_frame, self._masks_by))
        self._publish_instances(result)
        for event in result.events:
            self._events.publish(conversions.event_to_msg(event, self._world_frame))
        for index, view in enumerate(result.frames.views):
            if _is_heard(self._labels[view.camera]) or _is_heard(self._overlays[view.camera]):
                self._publish_pictures(result, index, view)

    def publish_answer(self, answer: msg.PromptMasks) -> None:
        self._prompt_masks.publish(answer)

    def answer(self, result: PromptResult, request_id: str) -> msg.PromptMasks:
        """The message for the answer to a prompt."""
        return conversions.prompt_result_to_msg(result, self._world_frame, self._prompts_by, request_id)

    def close(self) -> None:
        for publisher in self.publishers:
            self._node.destroy_publisher(publisher)
        self.publishers.clear()

    def _publish_instances(self, result: SceneResult) -> None:
        if result.instances is None or not any(map(_is_heard, (self._instances, self._cloud, self._boxes))):
            return
        message = conversions.instances_to_msg(result.instances, result.frames, self._world_frame, self._instances_by)
        if _is_heard(self._instances):
            self._instances.publish(message)
        if _is_heard(self._cloud):
            self._cloud.publish(message.cloud)
        if _is_heard(self._boxes):
            self._boxes.publish(boxes_to_msg(message))

    def _publish_pictures(self, result: SceneResult, index: int, view: View) -> None:
        masks = next((each for each in result.masks if each.camera == view.camera), ViewMasks(view.camera, ()))
        labels = object_labels(result, index, masks)
        header = header_to_msg(view.stamp_ns, view.frame_id)
        if _is_heard(self._labels[view.camera]):
            self._labels[view.camera].publish(image_to_msg(labels, "16UC1", header))
        if _is_heard(self._overlays[view.camera]):
            names = {each.object_id: each.label for each in masks.masks if each.label}
            picture = overlay(view.image, labels, names)
            self._overlays[view.camera].publish(image_to_msg(picture, "rgb8", header))


def object_labels(result: SceneResult, index: int, masks: ViewMasks) -> np.ndarray:
    """(H, W) uint16 ids of one view: its instances, and over them the objects that are followed."""
    followed = label_image(masks.masks, result.frames.views[index].size)
    if result.instances is None:
        return followed
    return np.where(followed > 0, followed, result.instances.labels[index])


def boxes_to_msg(message: msg.InstanceCloud) -> MarkerArray:
    """Oriented boxes for RViz, after a marker that removes those of the set before."""
    markers = [Marker(header=message.header, action=Marker.DELETEALL)]
    for each in message.instances:
        red, green, blue = (part / 255 for part in colour_of(each.id))
        marker = Marker(header=message.header, ns="instances", id=each.id, type=Marker.CUBE, action=Marker.ADD)
        marker.pose = each.box_pose
        marker.scale = Vector3(x=each.box_size.x, y=each.box_size.y, z=each.box_size.z)
        marker.color = ColorRGBA(r=red, g=green, b=blue, a=0.35 if each.seen_by else 0.12)
        markers.append(marker)
    return MarkerArray(markers=markers)


def _is_heard(publisher: Publisher) -> bool:
    return publisher.get_subscription_count() > 0
