"""The simulated workplace as a node: cameras, transforms and ground truth of a MuJoCo scene.

Topics, for each camera C of ego, exo_left, exo_right (docs/bag_format.md): /C/image, /C/camera_info, /C/depth,
/C/ground_truth/labels, or their compressed forms; /tf (ego), /tf_static (exo cameras), /ground_truth/objects.
Frames: world, C_optical_frame. Nothing is subscribed to.
"""

from typing import Any

import rclpy
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from geoseg_core.datasets.bag_format import OBJECTS, TF, TF_STATIC, objects_to_json
from geoseg_core.datasets.bag_writer import encode_depth, encode_jpeg, encode_labels
from geoseg_core.geometry.transforms import pose_parts
from geoseg_core.rig import Rig
from geoseg_core.views import View
from geoseg_ros.commands.stopping import Stopping
from geoseg_ros.player import quality
from geoseg_ros.sensor_messages import calibration_to_msg, header_to_msg, image_to_msg, packed

LIVE_PNG_LEVEL = 1


class RigNode(Node):
    """Renders and publishes at a fixed rate; simulated time goes on by one period for each set."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("geoseg_rig", **arguments)
        seed = self._declare("seed", 8, "decides the things on the table and all motion", IntegerRange(to_value=2**31))
        rate = FloatingPointRange(from_value=0.1, to_value=60.0)
        self._rate_hz = self._declare("rate_hz", 10.0, "sets of all cameras in a second", rate)
        self._compressed = self._declare("compressed", False, "JPEG and PNG instead of raw images")
        self._rig = Rig(seed)
        self._publishers_of: dict[str, Publisher] = {}
        self._put(OBJECTS, String(data=objects_to_json(self._rig.objects)))
        self._fixed_are_known = False
        self.create_timer(1.0 / self._rate_hz, self._publish_set)

    def destroy_node(self) -> None:
        """Free the GL context as well."""
        self._rig.close()
        super().destroy_node()

    def _declare(self, name: str, default: Any, description: str, span: Any = None) -> Any:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        if isinstance(span, IntegerRange):
            descriptor.integer_range = [span]
        if isinstance(span, FloatingPointRange):
            descriptor.floating_point_range = [span]
        return self.declare_parameter(name, default, descriptor).value

    def _publish_set(self) -> None:
        self._rig.step(1.0 / self._rate_hz)
        labelled = self._rig.render(self.get_clock().now().nanoseconds)
        views = labelled.frames.views
        if not self._fixed_are_known:
            self._fixed_are_known = True
            self._put_poses(TF_STATIC, [view for view in views if view.camera in self._rig.static_cameras])
        self._put_poses(TF, [view for view in views if view.camera not in self._rig.static_cameras])
        for view in views:
            header = header_to_msg(view.stamp_ns, view.frame_id)
            self._put(f"/{view.camera}/camera_info", calibration_to_msg(view.intrinsics, view.size, header))
            put_images = self._put_compressed if self._compressed else self._put_raw
            put_images(view, labelled.labels[view.camera], header)

    def _put_raw(self, view: View, labels: Any, header: Header) -> None:
        self._put(f"/{view.camera}/image", image_to_msg(view.image, "rgb8", header))
        self._put(f"/{view.camera}/depth", image_to_msg(view.depth_m, "32FC1", header))
        self._put(f"/{view.camera}/ground_truth/labels", image_to_msg(labels, "16UC1", header))

    def _put_compressed(self, view: View, labels: Any, header: Header) -> None:
        depth = packed(encode_depth(view.depth_m, png_level=LIVE_PNG_LEVEL))
        marks = packed(encode_labels(labels, png_level=LIVE_PNG_LEVEL))
        colour = packed(encode_jpeg(view.image, 90))
        self._put(f"/{view.camera}/image/compressed", CompressedImage(header=header, format="jpeg", data=colour))
        depth_message = CompressedImage(header=header, format="16UC1; compressedDepth png", data=depth)
        self._put(f"/{view.camera}/depth/compressedDepth", depth_message)
        label_message = CompressedImage(header=header, format="png", data=marks)
        self._put(f"/{view.camera}/ground_truth/labels/compressed", label_message)

    def _put_poses(self, topic: str, views: list[View]) -> None:
        self._put(topic, TFMessage(transforms=[pose_to_msg(view, self._rig.world_frame) for view in views]))

    def _put(self, topic: str, message: CameraInfo | CompressedImage | Image | String | TFMessage) -> None:
        if topic not in self._publishers_of:
            latched = topic in (TF_STATIC, OBJECTS)
            self._publishers_of[topic] = self.create_publisher(type(message), topic, quality(latched))
        self._publishers_of[topic].publish(message)


def pose_to_msg(view: View, world_frame: str) -> TransformStamped:
    """Where a view's optical frame is in the world."""
    assert view.camera_to_world is not None
    (x, y, z), quaternion = pose_parts(view.camera_to_world)
    turn = Quaternion(**dict(zip("xyzw", quaternion.tolist(), strict=True)))
    pose = Transform(translation=Vector3(x=x, y=y, z=z), rotation=turn)
    header = header_to_msg(view.stamp_ns, world_frame)
    return TransformStamped(header=header, child_frame_id=view.frame_id, transform=pose)


def create_node(**arguments: Any) -> RigNode:
    """Make the node; rclpy is initialised."""
    return RigNode(**arguments)


def main(arguments: list[str] | None = None) -> None:
    """Publish until SIGINT or SIGTERM."""
    with Stopping() as stopping:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = create_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while stopping.goes_on():
            executor.spin_once(timeout_sec=0.1)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
