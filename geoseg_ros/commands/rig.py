"""`geoseg rig`: the simulated workplace, published live, or written straight into a bag with --bag (no ROS)."""

import argparse
from pathlib import Path

from geoseg_ros.environment import set_ros_environment

SAMPLE_SEED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `geoseg rig`."""
    parser.add_argument("--seed", type=int, default=SAMPLE_SEED, help="decides the scene and all motion (default 8)")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="sets a second (default 10)")
    parser.add_argument("--compressed", action="store_true", help="publish JPEG and PNG instead of raw images")
    parser.add_argument("--bag", type=Path, metavar="OUT", help="write a bag instead, as fast as it goes")
    parser.add_argument("--duration", type=float, default=10.1, metavar="S", help="length of that bag (default 10.1)")
    parser.add_argument(
        "--ros-args", nargs=argparse.REMAINDER, default=[], help="what follows goes to ROS: remappings, log level, ..."
    )


def run(arguments: argparse.Namespace) -> int:
    """Publish until SIGINT or SIGTERM, or write the bag.

    Raises:
        BadInput: the bag's folder exists. MissingExtra: MuJoCo or a software GL is not installed.
    """
    if arguments.bag is not None:
        from geoseg_core.rig.recording import record

        count = record(arguments.bag, arguments.seed, arguments.duration, arguments.rate)
        print(f"rig: {count} sets of seed {arguments.seed} in {arguments.bag}")
        return 0
    set_ros_environment()
    from geoseg_ros.nodes.rig import main

    parameters = {"seed": arguments.seed, "rate_hz": arguments.rate, "compressed": arguments.compressed}
    settings = [word for name, value in parameters.items() for word in ("-p", f"{name}:={str(value).lower()}")]
    main(["--ros-args", *settings, *arguments.ros_args])
    return 0
