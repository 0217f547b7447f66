"""A planner's side of geoseg: hear what stands on the table, and pick the largest thing that the ego camera sees."""

import rclpy
from geoseg_ros.msg import CrossViewMasks, InstanceCloud
from rclpy.node import Node

from geoseg_ros import instances_from_msg, masks_from_msg


class Planner(Node):
    def __init__(self):
        super().__init__("planner")
        self.goal = None  # (object id, [x, y, z] in metres, world frame)
        self.create_subscription(InstanceCloud, "/geoseg/instances", self.on_instances, 10)
        self.create_subscription(CrossViewMasks, "/geoseg/cross_view_masks", self.on_masks, 10)

    def on_instances(self, message):
        seen = [each for each in instances_from_msg(message).values() if "ego" in each.seen_by]
        best = max(seen, key=lambda each: each.box.size.prod(), default=None)
        self.goal = best and (best.instance_id, best.centroid.tolist())

    def on_masks(self, message):
        for number, each in masks_from_msg(message).get("ego", {}).items():
            self.get_logger().info(f"following {number} {each.label}: {each.visibility.name}, {each.mask.sum()} pixels")


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(Planner())
