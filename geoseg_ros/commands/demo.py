"""`geoseg demo [BAG]`: replay a bag into the live nodes, follow three objects, print what came of it."""

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from geoseg_core.commands.evaluate import SAMPLE_BAG, expected_sets
from geoseg_core.config import build_from_words
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.truth import TruthObject
from geoseg_core.errors import GeosegError
from geoseg_core.evaluation.evaluator import unique_names
from geoseg_core.evaluation.gallery import Gallery
from geoseg_core.evaluation.machine import percentiles
from geoseg_core.evaluation.plots import write_plots
from geoseg_core.evaluation.report import make_report, write_report
from geoseg_core.pipeline import PipelineConfig
from geoseg_core.resources import resource
from geoseg_ros.environment import set_ros_environment

if TYPE_CHECKING:
    from geoseg_ros.demo.live import LiveRun

INTERRUPTED = 128 + signal.SIGINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bag and where the results go."""
    parser.add_argument("bag", type=Path, nargs="?", help="bag of the documented format (default: the sample bag)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for report, pictures and logs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="a parameter of the node, such as pipeline.geometry.encoder=vggt; repeatable",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and print its table.

    Raises:
        BadInput: the bag cannot be read; ChildFailed: a process failed; GeosegError: nothing came back.
    """
    set_ros_environment()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    # rclpy reads the environment when it is loaded.
    from geoseg_ros.demo.live import run_live
    from geoseg_ros.demo.script import choose_requests, first_complete, stand_in_truth

    arguments.out.mkdir(parents=True, exist_ok=True)
    sequence = BagSequence(arguments.bag or resource(SAMPLE_BAG))
    objects = sequence.objects
    first, names = first_complete(sequence, with_labels=bool(objects)), unique_names(objects)
    if not (objects and first.labels):
        print("the bag has no ground truth: three of the instances found in its first set are followed, without IoU")
        objects = ()
        first, names = stand_in_truth(first, pipeline_config(arguments.overrides))
    requests = choose_requests(first, names, sequence.cameras[0])
    print(f"demo: {sequence.path}, {', '.join(sequence.cameras)}, ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']}")
    try:
        live = run_live(sequence, requests, arguments.out, arguments.overrides)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; its processes have ended")
        return INTERRUPTED
    report, written = measure(sequence, objects, live, arguments.out)
    print("\n".join([*table(report, [each.name for each in requests]), *live.notes]))
    print("\n".join(f"written: {each}" for each in written))
    return 0


def pipeline_config(overrides: Sequence[str]) -> PipelineConfig:
    """The pipeline as the node has it with these parameters."""
    prefix = "pipeline."
    words = [each.removeprefix(prefix) for each in overrides if each.startswith(prefix)]
    return build_from_words(PipelineConfig, words)


def measure(
    sequence: BagSequence, objects: Sequence[TruthObject], live: "LiveRun", out: Path
) -> tuple[dict[str, Any], list[Path]]:
    """Compare what was published with the bag; write report, pictures and clouds. Returns the report and all paths.

    Raises:
        GeosegError: nothing was published for any set.
    """
    from geoseg_ros.demo.scoring import Scores

    gallery = Gallery(out, {each.object_id: each.request.name for each in live.followed})
    scores = Scores(objects)
    for labelled in tqdm(sequence, desc="measure", unit="set", total=expected_sets(sequence), disable=None):
        instant = scores.add(labelled, live.follower, live.followed, sequence.cameras[0])
        if instant is not None:
            gallery.add(instant)
    if scores.processed == 0:
        raise GeosegError(f"expected results for the bag's sets, got none; see the logs in {out}")
    method = live.follower.diagnostics.get("encoder", "unknown")
    samples = {"end_to_end": live.follower.end_to_end_ms}
    sets = {"received": scores.received, "processed": scores.processed, "dropped": scores.received - scores.processed}
    latency_ms = {**stage_latency(live.follower.diagnostics), **percentiles(samples)}
    report = make_report(sequence.path.name, "live", method, scores.report(method), sets, latency_ms)
    write_report(out / "report.json", report)
    written = [out / "report.json", *gallery.close(), *write_plots(out, scores.history, samples)]
    print("".join(f"{note}\n" for note in gallery.notes), end="")
    return report, written


def stage_latency(diagnostics: dict[str, str]) -> dict[str, dict[str, float]]:
    """The node's own stage times, from the keys `<stage>_ms_p50` and `<stage>_ms_p95` of its diagnostics."""
    stages = [key.removesuffix("_ms_p50") for key in diagnostics if key.endswith("_ms_p50")]
    return {each: {part: float(diagnostics[f"{each}_ms_{part}"]) for part in ("p50", "p95")} for each in stages}


def table(report: dict[str, Any], names: Sequence[str]) -> list[str]:
    """IoU of each object in each direction, instance figures, latencies and drops."""
    (cross_view,), (instances,) = (report[task].values() for task in ("cross_view", "instances"))
    ways = ("ego_to_exo", "exo_to_ego")
    rows = [(name, *(cross_view[way]["per_object"].get(name) for way in ways)) for name in dict.fromkeys(names)]
    rows.append(("mean", *(cross_view[way]["iou"] for way in ways)))
    width = max(len(row[0]) for row in rows)
    lines = [f"{'object':{width}}  ego→exo IoU  exo→ego IoU"]
    lines += [f"{name:{width}}  {_figure(there):>11}  {_figure(back):>11}" for name, there, back in rows]
    lines.append(f"instances: AP50 {_figure(instances['ap50'])}, id switches {_figure(instances['id_switches'])}")
    lines.append(f"{'stage':{width}}  {'median ms':>11}  {'p95 ms':>11}")
    lines += [f"{stage:{width}}  {ms['p50']:11.1f}  {ms['p95']:11.1f}" for stage, ms in report["latency_ms"].items()]
    sets = report["sets"]
    return [*lines, f"sets: {sets['received']} received, {sets['processed']} processed, {sets['dropped']} dropped"]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
