"""`geoseg bringup`: every node of the list in one process with one executor, as launch starts them in several.

That process is the child of another one, which starts it again when it dies (supervisor.py); with `--unsupervised` it
is the process of the command itself.
"""

import argparse
import importlib
import os
from pathlib import Path

import rclpy
from rclpy.exceptions import NotInitializedException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.resources import resource
from geoseg_ros.bringup import CONFIG, NODES, NodeEntry
from geoseg_ros.commands.stopping import Stopping
from geoseg_ros.environment import set_ros_environment
from geoseg_ros.processes import die_with_parent, geoseg_command
from geoseg_ros.serving import serve
from geoseg_ros.shared_memory import lost_ports, prepare_shared_memory
from geoseg_ros.supervisor import STARTED, Supervisor

ENDINGS = (ExternalShutdownException, NotInitializedException, RuntimeError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `geoseg bringup`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with the parameters of all nodes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides", help="set a parameter; repeatable"
    )
    parser.add_argument(
        "--unsupervised", action="store_true", help="start nothing again: systemd, a container or nobody does"
    )
    # How the supervisor starts its child: where to say that the nodes have started.
    parser.add_argument("--notification-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--ros-args", nargs=argparse.REMAINDER, default=[], help="what follows goes to ROS: remappings, log level, ..."
    )


def run(arguments: argparse.Namespace) -> int:
    """Until SIGINT or SIGTERM: serve the nodes, or see to it that a child does.

    Raises:
        GeosegError: a file is not there, an override has no value, or a node does not start.
    """
    ros_arguments = ros_command_line(arguments.config, arguments.overrides, arguments.ros_args)
    if not arguments.unsupervised:
        return Supervisor(lambda fd: child_command(arguments, fd), arguments.ros_args, lost_ports).run()
    if arguments.notification_fd is not None:
        die_with_parent()
        os.set_inheritable(arguments.notification_fd, False)
    set_ros_environment()
    with Stopping() as stopping:
        try:
            spin(ros_arguments, arguments.notification_fd)
        except ENDINGS:
            # After a signal the context is gone, which a node that is just starting meets in many ways.
            if stopping.goes_on():
                raise
    return 0


def child_command(arguments: argparse.Namespace, notification_fd: int) -> list[str]:
    """The command line with which the supervisor starts the nodes."""
    words = ["bringup", "--unsupervised", "--notification-fd", str(notification_fd)]
    if arguments.config is not None:
        words += ["--config", str(arguments.config)]
    for override in arguments.overrides:
        words += ["--set", override]
    return geoseg_command(*words, "--ros-args", *arguments.ros_args)


def spin(ros_arguments: list[str], notification_fd: int | None) -> None:
    """Start the nodes, say so, and serve them until the context is shut down.

    Raises:
        BrokenPipeError: whoever wanted to know that they have started is gone.
    """
    prepare_shared_memory()
    try:
        rclpy.init(args=ros_arguments)
    except RuntimeError as error:
        raise BadInput(f"expected arguments that ROS 2 understands, got {' '.join(ros_arguments)}: {error}") from error
    # A second thread over image topics loses most of the images: one thread receives, each node's worker computes.
    executor = SingleThreadedExecutor()
    nodes: list[Node] = []
    try:
        for entry in NODES:
            nodes.append(start(entry))
            executor.add_node(nodes[-1])
        if notification_fd is not None:
            os.write(notification_fd, STARTED)
        serve(executor)
    finally:
        for node in nodes:
            node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()


def ros_command_line(config: Path | None, overrides: list[str], others: list[str]) -> list[str]:
    """What rclpy is started with: the parameter file, then single parameters, then what the user adds."""
    config = config or resource(CONFIG)
    if not config.is_file():
        raise BadInput(f"--config: expected a YAML file with parameters, got {config}, which is not there")
    words = ["--ros-args", "--params-file", str(config)]
    for override in overrides:
        name, equals, value = override.partition("=")
        if not (name and equals):
            raise BadInput(f"--set: expected NAME=VALUE, got {override!r}")
        words += ["-p", f"{name}:={value}"]
    return words + others


def start(entry: NodeEntry) -> Node:
    """Make one node; what keeps it from starting is told with its name."""
    try:
        return importlib.import_module(entry.module).create_node()
    except (GeosegError, ParameterException) as error:
        raise GeosegError(f"node {entry.name} did not start: {error}") from error
