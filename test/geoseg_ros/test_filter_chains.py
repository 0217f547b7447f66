"""Chains of message_filters, or anything with registerCallback, as inputs of our own synchroniser."""

import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode

from geoseg_core.synchronizer import DEPTH, IMAGE
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.diagnostics import Statistics
from geoseg_ros.inputs import Inputs
from geoseg_ros.parameters import NodeConfig
from geoseg_ros.sensor_messages import header_to_msg, image_to_msg


class Chain:
    """Has what every filter of message_filters has."""

    def registerCallback(self, callback):  # noqa: N802
        self.signal = callback


def test_a_chain_feeds_the_synchroniser(ros_environment):
    rclpy.init()
    node = LifecycleNode("chains")
    sets = []
    config = NodeConfig(cameras=("ego",))
    inputs = Inputs(node, config, CameraRig(("ego",), "world"), Statistics(print), sets.append, print, print)
    images, depths = Chain(), Chain()
    inputs.connect(images, "ego", IMAGE)
    inputs.connect(depths, "ego", DEPTH)
    header = header_to_msg(1_000_000_000, "ego")
    images.signal(image_to_msg(np.zeros((2, 2), np.uint8), "mono8", header))
    depths.signal(image_to_msg(np.zeros((2, 2), np.uint16), "16UC1", header))
    assert [set(each.synced.items["ego"]) for each in sets] == [{IMAGE, DEPTH}]
    inputs.close()
    node.destroy_node()
    rclpy.shutdown()
