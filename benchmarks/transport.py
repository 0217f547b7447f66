"""How many images are lost, and how late they are, on the way into our node: transport alone, no task.

    python benchmarks/transport.py [--size 1280x720] [--rate 30] [--seconds 20]

The publisher, the node and this script are three processes; config/fastdds.xml is the profile of all of them. The
counts and times are the node's own, from /diagnostics; the times are those of the newest 200 images a camera.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from camera_publisher import CAMERAS
from records import add_out, print_table, write_record

from geoseg_ros.environment import set_ros_environment

PUBLISHER = Path(__file__).with_name("camera_publisher.py")


def measure(size: str, rate_hz: float, seconds: float, folder: Path) -> list[dict[str, Any]]:
    """One row for each camera: sent, received, lost, latency p50 and p95."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray

    from geoseg_ros.processes import Child, geoseg_command

    newest: dict[str, dict[str, str]] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        newest.update({each.name: {pair.key: pair.value for pair in each.values} for each in message.status})

    rclpy.init()
    listener = rclpy.create_node("transport_benchmark")
    listener.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    parameters = ("--set", f"cameras=[{', '.join(CAMERAS)}]", "--set", "pipeline.tasks=[]")
    bringup = geoseg_command("bringup", "--unsupervised", *parameters)
    cameras = [sys.executable, str(PUBLISHER), "blank", "--size", size]
    cameras += ["--rate", str(rate_hz), "--seconds", str(seconds)]
    with Child("node", bringup, folder / "node.log", {}) as node:
        with Child("cameras", cameras, folder / "cameras.log", {}) as publisher:
            while publisher.status is None:
                rclpy.spin_once(listener, timeout_sec=0.1)
                node.check()
            publisher.check()
            sent = json.loads(publisher.tail().splitlines()[-1])["sets"]
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            rclpy.spin_once(listener, timeout_sec=0.1)
    rclpy.try_shutdown()
    return [_row(camera, sent, newest[f"geoseg: camera {camera}"]) for camera in CAMERAS]


def _row(camera: str, sent: int, values: dict[str, str]) -> dict[str, Any]:
    received = int(values["image received"])
    latency = {f"{part}_ms": float(values[f"{camera} image arrival_ms_{part}"]) for part in ("p50", "p95")}
    return {"camera": camera, "sent": sent, "received": received, "lost": sent - received, **latency}


def main() -> None:
    parser = argparse.ArgumentParser(description="Images lost and late on the way into our node.")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    add_out(parser)
    arguments = parser.parse_args()
    set_ros_environment()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.size, arguments.rate, arguments.seconds, Path(folder))
    print_table(rows)
    settings = {"size": arguments.size, "rate_hz": arguments.rate, "seconds": arguments.seconds, "encoding": "rgb8"}
    print(f"written: {write_record(arguments.out, 'transport', rows, settings)}")


if __name__ == "__main__":
    main()
