"""The one list of the nodes that make up geoseg, read by launch/bringup.launch.py and by `geoseg bringup`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeEntry:
    """One node.

    Attributes:
        name: its ROS name.
        executable: its program in lib/geoseg_ros.
        module: where its `create_node()` is, for the nodes that share one process.
    """

    name: str
    executable: str
    module: str


NODES = (NodeEntry("geoseg", "perception", "geoseg_ros.nodes.perception"),)

# The parameters of all of them, for `geoseg_core.resources.resource`.
CONFIG = "config/geoseg.yaml"
