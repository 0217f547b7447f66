"""The `geoseg` command: one subcommand a module, loaded only when it is asked for.

A command module has `add_arguments(parser)` and `run(arguments) -> int` (the exit status).
"""

import argparse
import importlib
import os
import sys
from typing import TextIO

from geoseg_core.errors import GeosegError

COMMANDS = {
    "bringup": ("geoseg_ros.commands.bringup", "start the perception nodes, and again when they die"),
    "doctor": ("geoseg_ros.commands.doctor", "look for what keeps geoseg from working here, and say what to do"),
    "replay": ("geoseg_ros.commands.replay", "publish a bag on its own topics, with /clock"),
    "record": ("geoseg_ros.commands.record", "record camera topics, tf and ground truth into a bag"),
    "rig": ("geoseg_ros.commands.rig", "publish the simulated MuJoCo workplace"),
    "demo": ("geoseg_ros.commands.demo", "replay a bag into live nodes and print a table of results"),
    "evaluate": ("geoseg_core.commands.evaluate", "process every set of a bag in lockstep and write a report"),
    "evaluate-geometry": ("geoseg_core.commands.evaluate_geometry", "measure cameras, depth and tracks from images"),
    "evaluate-masks": ("geoseg_core.commands.evaluate_masks", "measure masks carried between views from images"),
    "evaluate-instances": ("geoseg_core.commands.evaluate_instances", "measure all things that are found in images"),
    "evaluate-prompts": ("geoseg_core.commands.evaluate_prompts", "measure masks of all views that prompts ask for"),
    "evaluate-tracks": ("geoseg_core.commands.evaluate_tracks", "measure objects followed over time from images"),
    "compare": ("geoseg_core.commands.compare", "compare two report.json files"),
    "encode": ("geoseg_core.commands.encode", "cameras, depth and a cloud of photographs of one scene"),
    "parity": ("geoseg_core.commands.parity", "compare the models with stored numbers of the published ones"),
    "train": ("geoseg_core.commands.train", "train a model, or go on with a training"),
    "worlds": ("geoseg_core.commands.worlds", "look at procedural scenes with their ground truth"),
    "weights": ("geoseg_core.commands.weights", "list, fetch, verify and convert published weights"),
    "config": ("geoseg_ros.commands.config", "print or write the generated YAML and parameter reference"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; errors of ours end it with one line on stderr and status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="geoseg", description="Cross-view object perception for ROS 2.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, (module_name, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name == chosen:
            try:
                module = importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                if error.name not in ("geoseg_ros", "rclpy"):
                    raise
                print(f"geoseg {name}: needs ROS 2 (no {error.name}); README.md says how to set it up", file=sys.stderr)
                return 1
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except GeosegError as error:
        print(f"geoseg {parsed.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who read what it says, such as `head`, has enough
        return 1
    finally:
        _let_go_of_closed(sys.stdout)
        _let_go_of_closed(sys.stderr)


def _let_go_of_closed(stream: TextIO) -> None:
    """What nobody took would be written again at the end, and Python then exits with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
