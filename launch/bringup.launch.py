"""Start the nodes of geoseg, each in a process of its own: ros2 launch geoseg_ros bringup.launch.py"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from geoseg_core.resources import resource
from geoseg_ros.bringup import CONFIG, NODES, NodeEntry
from geoseg_ros.environment import ros_environment


def generate_launch_description() -> LaunchDescription:
    """The arguments, the environment and the nodes of the list."""
    return LaunchDescription(
        [
            *(SetEnvironmentVariable(name, value) for name, value in ros_environment().items()),
            argument("config", str(resource(CONFIG)), "YAML file with the parameters"),
            argument("autostart", "true", "configure and activate at once", choices=["true", "false"]),
            argument("use_sim_time", "false", "take the time from /clock", choices=["true", "false"]),
            argument("log_level", "info", "debug, info, warn, error or fatal"),
            *(describe(entry) for entry in NODES),
        ]
    )


def argument(name: str, default: str, description: str, choices: list[str] | None = None) -> DeclareLaunchArgument:
    """One `name:=value` of the command line."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def describe(entry: NodeEntry) -> Node:
    """One node, started again 2 s after it died."""
    flags = {name: ParameterValue(LaunchConfiguration(name), value_type=bool) for name in ("autostart", "use_sim_time")}
    return Node(
        package="geoseg_ros",
        executable=entry.executable,
        name=entry.name,
        parameters=[LaunchConfiguration("config"), flags],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        respawn=True,
        respawn_delay=2.0,
    )
