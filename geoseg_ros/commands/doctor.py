"""`geoseg doctor`: what keeps geoseg from working here, and what to do about it."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from geoseg_core.errors import BadInput
from geoseg_ros.commands.bringup import ros_command_line
from geoseg_ros.commands.stopping import Stopping
from geoseg_ros.environment import set_ros_environment

LEVELS = {b"\0": "ok", b"\1": "WARN", b"\2": "ERROR"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `geoseg doctor`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with the parameters, as for bringup")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides", help="set a parameter; repeatable"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="listen to the cameras for so long (default 3)")
    parser.add_argument(
        "--ros-args", nargs=argparse.REMAINDER, default=[], help="what follows goes to ROS: remappings, log level, ..."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what is found; 1 if something keeps geoseg from working.

    Raises:
        BadInput: an option or a parameter is refused.
    """
    if not 0.1 <= arguments.seconds <= 3600:
        raise BadInput(f"--seconds: expected 0.1 to 3600, got {arguments.seconds}")
    ros_arguments = ros_command_line(arguments.config, arguments.overrides, arguments.ros_args)
    set_ros_environment()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from geoseg_ros.doctor import ERROR, OK, Finding, Listener, network_findings, shared_memory_finding, shell_findings

    def findings(listener: Listener) -> Iterator[Finding]:
        yield from shell_findings(shell_environment())
        yield shared_memory_finding(len(listener.config.cameras))
        yield from network_findings(listener.config)
        listener.listen(arguments.seconds, stopping.goes_on)
        yield from listener.findings()

    rclpy.init(args=ros_arguments, signal_handler_options=SignalHandlerOptions.NO)
    node, worst = rclpy.create_node("geoseg_doctor"), OK
    try:
        with Stopping() as stopping:
            for found in findings(Listener(node)):
                worst = max(worst, found.level)
                print(f"{LEVELS[found.level]:5}  {found.subject}: {found.words}", flush=True)
                if found.advice:
                    print(f"       -> {found.advice}", flush=True)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return int(worst >= ERROR)


def shell_environment() -> dict[str, str]:
    """The variables that this process was started with, before geoseg added any."""
    pairs = (pair.partition("=") for pair in Path("/proc/self/environ").read_text(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs if name}
