"""Three RGB-D cameras live: sets lost, latency, and what ROS adds to the core's own time.

    python benchmarks/live.py [--rate 10] [--seconds 20] [--bag BAG]

Raw images of a bag (rgb8 and 16UC1, restamped) come from a publisher process; the perception node runs in another,
with all tasks, and follows three objects; this process listens. Overhead is counted for each set: from its stamp to
the arrival of its masks here, less the time that the core took for that set (which the node's process writes down).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from records import add_out, print_table, write_record

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.evaluation.evaluator import unique_names
from geoseg_core.resources import resource
from geoseg_ros.environment import set_ros_environment

HERE = Path(__file__).resolve()
WARM_UP_SETS = 10


def run_node(record: Path) -> None:
    """The perception node as it is, with a pipeline that writes down the stamp and time of every set."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from geoseg_core.pipeline import PipelineConfig, ScenePipeline
    from geoseg_core.results import SceneResult
    from geoseg_core.views import FrameSet
    from geoseg_ros.nodes.perception import PerceptionNode

    class TimedPipeline(ScenePipeline):
        def process(self, frames: FrameSet) -> SceneResult:
            begin = time.perf_counter()
            result = super().process(frames)
            print(frames.stamp_ns, 1e3 * (time.perf_counter() - begin), file=lines, flush=True)
            return result

    class TimedNode(PerceptionNode):
        def make_pipeline(self, config: PipelineConfig) -> ScenePipeline:
            return TimedPipeline(config)

    rclpy.init(args=sys.argv)
    executor = SingleThreadedExecutor()
    with record.open("w") as lines:
        node = TimedNode()
        node.trigger_configure()
        node.trigger_activate()
        executor.add_node(node)
        try:
            executor.spin()
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        finally:
            node.destroy_node()
            rclpy.try_shutdown()


class Listener:
    """Notes when the masks and the clouds of each set arrive."""

    def __init__(self) -> None:
        import rclpy
        from geoseg_ros.msg import CrossViewMasks, InstanceCloud
        from geoseg_ros.srv import TrackObject

        self.node = rclpy.create_node("live_benchmark")
        self.masks_ms: dict[int, float] = {}
        self.clouds_ms: dict[int, float] = {}
        self.track = self.node.create_client(TrackObject, "/geoseg/track_object")
        self.node.create_subscription(CrossViewMasks, "/geoseg/cross_view_masks", self._noting(self.masks_ms), 100)
        self.node.create_subscription(InstanceCloud, "/geoseg/instances", self._noting(self.clouds_ms), 100)

    def _noting(self, table: dict[int, float]) -> Callable[[Any], None]:
        from geoseg_ros.sensor_messages import time_from_msg

        def note(message: Any) -> None:
            stamp_ns = time_from_msg(message.header.stamp)
            table[stamp_ns] = (time.time_ns() - stamp_ns) / 1e6

        return note


def measure(bag: Path, rate_hz: float, seconds: float, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of p50 and p95 in milliseconds, and the counts of sets."""
    import rclpy
    from geoseg_ros.srv import TrackObject

    from geoseg_ros.conversions import prompt_to_msg
    from geoseg_ros.demo.script import choose_requests
    from geoseg_ros.processes import Child

    sequence = BagSequence(bag)
    first = next(iter(sequence))
    requests = choose_requests(first, unique_names(sequence.objects), sequence.cameras[0])[::2]
    rclpy.init()
    listener, record = Listener(), folder / "core.txt"
    node_command = [sys.executable, str(HERE), "--node", str(record), "--ros-args", "-p"]
    node_command += [f"cameras:=[{', '.join(sequence.cameras)}]"]
    publisher_command = [sys.executable, str(HERE.with_name("camera_publisher.py")), "bag", str(bag)]
    publisher_command += ["--rate", str(rate_hz), "--seconds", str(seconds)]
    with Child("node", node_command, folder / "node.log", {}) as node:
        while not listener.track.wait_for_service(timeout_sec=0.5):
            node.check()
        for each in requests:
            request = TrackObject.Request(prompt=prompt_to_msg(each.prompt, label=each.name), timeout_s=60.0)
            listener.track.call_async(request)
        with Child("cameras", publisher_command, folder / "cameras.log", {}) as publisher:
            while publisher.status is None:
                rclpy.spin_once(listener.node, timeout_sec=0.02)
                node.check()
            publisher.check()
            sent = json.loads(publisher.tail().splitlines()[-1])
        _spin_for(listener, 2.0)
    rclpy.try_shutdown()
    core_ms = {int(stamp): float(ms) for stamp, ms in (line.split() for line in record.read_text().splitlines())}
    counts = {"sent": sent["sets"], "masks": len(listener.masks_ms), "lost": sent["sets"] - len(listener.masks_ms)}
    return _rows(listener, core_ms), {**counts, "publisher_latest_ms": round(sent["latest_ms"], 1)}


def _spin_for(listener: Listener, seconds: float) -> None:
    import rclpy

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rclpy.spin_once(listener.node, timeout_sec=0.02)


def _rows(listener: Listener, core_ms: dict[int, float]) -> list[dict[str, Any]]:
    stamps = sorted(set(listener.masks_ms) & set(core_ms))[WARM_UP_SETS:]
    overhead = [listener.masks_ms[each] - core_ms[each] for each in stamps]
    cloud_overhead = [listener.clouds_ms[each] - core_ms[each] for each in stamps if each in listener.clouds_ms]
    return [
        _row("core", [core_ms[each] for each in stamps]),
        _row("stamp to masks", [listener.masks_ms[each] for each in stamps]),
        _row("overhead, masks", overhead),
        _row("overhead, cloud", cloud_overhead),
    ]


def _row(name: str, values: Sequence[float]) -> dict[str, Any]:
    p50, p95 = np.percentile(values, (50, 95)).tolist() if len(values) else (None, None)
    return {"time": name, "sets": len(values), "p50_ms": p50, "p95_ms": p95}


def main() -> None:
    parser = argparse.ArgumentParser(description="Three RGB-D cameras live.")
    parser.add_argument("--bag", type=Path, help="a bag with ground truth (default: the sample bag)")
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--node", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    add_out(parser)
    arguments = parser.parse_args()
    set_ros_environment()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if arguments.node:
        run_node(arguments.node)
        return
    bag = arguments.bag or resource(SAMPLE_BAG)
    with tempfile.TemporaryDirectory() as folder:
        rows, counts = measure(bag, arguments.rate, arguments.seconds, Path(folder))
    print_table(rows)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    settings = {"bag": bag.name, "rate_hz": arguments.rate, "seconds": arguments.seconds, **counts}
    print(f"written: {write_record(arguments.out, 'live', rows, settings)}")


if __name__ == "__main__":
    main()
