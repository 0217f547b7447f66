"""`geoseg replay BAG`: publish a bag on its own topics, with /clock, at the pace in which it was recorded."""

import argparse
from pathlib import Path

from geoseg_core.datasets.bag_file import BagFile
from geoseg_core.errors import BadInput
from geoseg_ros.commands.stopping import Stopping
from geoseg_ros.environment import set_ros_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `geoseg replay`."""
    parser.add_argument("bag", type=Path, help="an .mcap file or a rosbag2 folder")
    parser.add_argument("--rate", type=float, default=1.0, help="times as fast as it was recorded (default 1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end; time then jumps back")
    parser.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="publish only these")
    parser.add_argument("--wait-for-subscribers", action="store_true", help="begin when somebody listens")


def run(arguments: argparse.Namespace) -> int:
    """Play until the end of the bag, SIGINT or SIGTERM.

    Raises:
        BadInput: the bag or an option cannot be used.
    """
    if not 0.001 <= arguments.rate <= 1000:
        raise BadInput(f"--rate: expected 0.001 to 1000, got {arguments.rate}")
    set_ros_environment()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from geoseg_ros.player import PlayCounts, Player

    with BagFile(arguments.bag) as bag, Stopping() as stopping:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("geoseg_replay")
        counts = PlayCounts()
        try:
            player = Player(node, bag, tuple(arguments.topics))
            counts = player.counts
            if arguments.wait_for_subscribers:
                print("replay: waiting for subscribers", flush=True)
                player.wait_for_subscribers(stopping.goes_on)
            print(f"replay: {arguments.bag} at rate {arguments.rate:g}", flush=True)
            player.play(arguments.rate, stopping.goes_on)
            while arguments.loop and stopping.goes_on():
                player.play(arguments.rate, stopping.goes_on)
            player.finish()
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
        print(summary(counts.messages, counts.lateness_ms), flush=True)
    return 0


def summary(messages: dict[str, int], lateness_ms: list[float]) -> str:
    """One line: how much was published and how well the pace was kept."""
    late = sorted(lateness_ms) or [0.0]
    return (
        f"replay: {sum(messages.values())} messages on {len(messages)} topics, lateness median "
        f"{late[len(late) // 2]:.1f} ms, 95 % {late[int(0.95 * (len(late) - 1))]:.1f} ms, most {late[-1]:.1f} ms"
    )
