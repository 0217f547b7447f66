"""`geoseg record OUT`: the topics of the bag format into a rosbag2 folder that every player takes."""

import argparse
import shutil
from pathlib import Path

from geoseg_core.errors import BadInput
from geoseg_ros.commands.stopping import Stopping
from geoseg_ros.environment import set_ros_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `geoseg record`."""
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--cameras", nargs="+", default=[], metavar="NAME", help="only these (default: all there are)")
    parser.add_argument("--duration", type=float, default=0.0, metavar="S", help="seconds after the first message")


def run(arguments: argparse.Namespace) -> int:
    """Record until SIGINT, SIGTERM or the end of the duration.

    Raises:
        BadInput: the folder exists, or nothing came.
    """
    if arguments.duration < 0:
        raise BadInput(f"--duration: expected seconds, 0 for no end, got {arguments.duration}")
    set_ros_environment()
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from geoseg_ros.recorder import Recorder

    with Stopping() as stopping:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            recorder = Recorder(arguments.out, arguments.cameras)
            executor = SingleThreadedExecutor()
            executor.add_node(recorder)
            print(f"record: {arguments.out}, stop with Ctrl-C", flush=True)
            while stopping.goes_on() and not recorder.is_full(arguments.duration):
                executor.spin_once(timeout_sec=0.1)
            recorder.close()
        finally:
            rclpy.try_shutdown()
    if not recorder.counts:
        shutil.rmtree(arguments.out)
        raise BadInput(
            "record: expected messages on /<camera>/image, /<camera>/camera_info, /tf, ..., none came; "
            "are the cameras running, with the same ROS_DOMAIN_ID? (see docs/bag_format.md)"
        )
    print("\n".join(f"record: {count:7d} {topic}" for topic, count in sorted(recorder.counts.items())), flush=True)
    return 0
