"""`geoseg demo [BAG]`: replay a bag into the live nodes, follow three objects, print what came of it.

Without settings of the caller's it does so twice: with the small network on the images alone, then with RGB-D cameras.
"""

import argparse
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from geoseg_core.commands.evaluate import SAMPLE_BAG, expected_sets
from geoseg_core.config import build_from_words
from geoseg_core.datasets.bag_file import BagFile
from geoseg_core.datasets.bag_format import CAMERA_INFO, SUFFIXES
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.errors import GeosegError
from geoseg_core.evaluation.cross_view import DIRECTIONS
from geoseg_core.evaluation.evaluator import unique_names
from geoseg_core.evaluation.gallery import Gallery
from geoseg_core.evaluation.machine import percentiles
from geoseg_core.evaluation.plots import write_plots
from geoseg_core.evaluation.report import make_report, write_report
from geoseg_core.pipeline import TASKS, PipelineConfig
from geoseg_core.resources import resource
from geoseg_ros.environment import set_ros_environment

if TYPE_CHECKING:
    from geoseg_ros.demo.live import LiveRun

INTERRUPTED = 128 + signal.SIGINT
INSTANCE_FIGURES = ("ap50", "ap25", "t_miou", "t_sr", "id_switches")


@dataclass(frozen=True)
class Plan:
    """One live run.

    Attributes:
        overrides: parameters of the node, as NAME=VALUE.
        folder: where its files go, below the demo's folder; empty for that folder itself.
        images_alone: whether neither depth nor tf is played, and objects are marked by boxes in place of clicks.
    """

    overrides: tuple[str, ...] = ()
    folder: str = ""
    images_alone: bool = False


IMAGES_ALONE = Plan(("pipeline.geometry.encoder=tiny",), images_alone=True)
BASELINE = Plan(folder="rgbd")


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its report, what else is to be said, and the files that were written."""

    report: dict[str, Any]
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bag and where the results go."""
    parser.add_argument("bag", type=Path, nargs="?", help="bag of the documented format (default: the sample bag)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for report, pictures and logs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="a parameter of the node, such as pipeline.geometry.encoder=vggt; repeatable; there is one run then, "
        "in place of one on images alone and one with RGB-D cameras",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and print its table.

    Raises:
        BadInput: the bag cannot be read; ChildFailed: a process failed; GeosegError: nothing came back.
    """
    set_ros_environment()
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    # rclpy reads the environment when it is loaded.
    from geoseg_ros.demo.script import first_complete, stand_in_truth

    sequence = BagSequence(arguments.bag or resource(SAMPLE_BAG))
    objects = sequence.objects
    first, names = first_complete(sequence, with_labels=bool(objects)), unique_names(objects)
    if not (objects and first.labels):
        print("the bag has no ground truth: three of the instances found in its first set are followed, without IoU")
        objects = ()
        first, names = stand_in_truth(first, pipeline_config(arguments.overrides))
    print(f"demo: {sequence.path}, {', '.join(sequence.cameras)}, ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']}")
    plans = (Plan(tuple(arguments.overrides)),) if arguments.overrides else (IMAGES_ALONE, BASELINE)
    try:
        outcomes = [play(plan, sequence, objects, (first, names), arguments.out) for plan in plans]
    except KeyboardInterrupt:
        print("\ndemo: interrupted; its processes have ended")
        return INTERRUPTED
    reports = [each.report for each in outcomes]
    write_report(arguments.out / "report.json", side_by_side(reports))
    notes = [note for each in outcomes for note in each.notes]
    written = [f"written: {path}" for each in outcomes for path in each.written]
    print("\n".join([*table(reports), *notes, *written]))
    return 0


def play(
    plan: Plan,
    sequence: BagSequence,
    objects: Sequence[TruthObject],
    marked: tuple[LabelledSet, dict[int, str]],
    folder: Path,
) -> Outcome:
    """One live run and its measures.

    Args:
        plan: what is run.
        sequence: the bag that is replayed.
        objects: its truths; empty where there are none.
        marked: the set whose labels say where to prompt, and the names of its objects by id.
        folder: the demo's folder.

    Raises:
        ChildFailed: a process failed; GeosegError: nothing came back.
    """
    from geoseg_ros.demo.live import run_live
    from geoseg_ros.demo.script import choose_requests

    out = folder / plan.folder
    out.mkdir(parents=True, exist_ok=True)
    requests = choose_requests(*marked, sequence.cameras[0], boxes=plan.images_alone)
    topics = image_topics(sequence) if plan.images_alone else ()
    names = dict.fromkeys(each.name for each in requests)
    print(f"demo: {', '.join([*names, 'images alone' if topics else 'all topics', *plan.overrides])}; into {out}")
    return measure(sequence, objects, run_live(sequence, requests, out, plan.overrides, topics), out)


def image_topics(sequence: BagSequence) -> list[str]:
    """The bag's images, and the camera_info that says when they are sent."""
    suffixes = (*SUFFIXES["image"], CAMERA_INFO)
    wanted = {f"/{camera}/{suffix}" for camera in sequence.cameras for suffix in suffixes}
    with BagFile(sequence.path) as bag:
        return [topic for topic in bag.topics if topic in wanted]


def pipeline_config(overrides: Sequence[str]) -> PipelineConfig:
    """The pipeline as the node has it with these parameters."""
    prefix = "pipeline."
    words = [each.removeprefix(prefix) for each in overrides if each.startswith(prefix)]
    return build_from_words(PipelineConfig, words)


def measure(sequence: BagSequence, objects: Sequence[TruthObject], live: "LiveRun", out: Path) -> Outcome:
    """Compare what was published with the bag; write report, pictures and clouds.

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
    written = (out / "report.json", *gallery.close(), *write_plots(out, scores.history, samples))
    return Outcome(report, (*gallery.notes, *live.notes), written)


def stage_latency(diagnostics: dict[str, str]) -> dict[str, dict[str, float]]:
    """The node's own stage times, from the keys `<stage>_ms_p50` and `<stage>_ms_p95` of its diagnostics."""
    stages = [key.removesuffix("_ms_p50") for key in diagnostics if key.endswith("_ms_p50")]
    return {each: {part: float(diagnostics[f"{each}_ms_{part}"]) for part in ("p50", "p95")} for each in stages}


def side_by_side(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first report, with the other runs' methods beside its own in each task."""
    tasks = {task: {method: parts for each in reports for method, parts in each[task].items()} for task in TASKS}
    return {**reports[0], **tasks}


def table(reports: Sequence[dict[str, Any]]) -> list[str]:
    """The runs side by side: a column for each one's method, a row for each figure that one of them has."""
    columns = [column(report) for report in reports]
    titles = list(dict.fromkeys(title for each in columns for title in each))
    cells = [titles, *([each.get(title, "-") for title in titles] for each in columns)]
    first, *others = (max(map(len, each)) for each in cells)
    return [
        f"{title:{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, others, strict=True))
        for title, *row in zip(*cells, strict=True)
    ]


def column(report: dict[str, Any]) -> dict[str, str]:
    """What the table says of one run, by the titles of its rows."""
    (method,) = report["cross_view"]
    cross_view, instances, prompts = (report[task][method] for task in TASKS)
    cells = {"method": method}
    for way in DIRECTIONS:
        title, figures = f"{way.replace('_to_', '→')} IoU", cross_view[way]
        cells[title] = _figure(figures["iou"])
        cells |= {f"{title}, {name}": _figure(iou) for name, iou in figures["per_object"].items()}
    for kind in [kind for kind in prompts if prompts[kind]["prompts"]]:
        cells |= {"prompts": kind, "prompts, IoU": _figure(prompts[kind]["miou"])}
    cells |= {f"instances, {key}": _figure(instances[key]) for key in INSTANCE_FIGURES}
    cells |= {f"sets, {state}": str(count) for state, count in report["sets"].items()}
    stages = report["latency_ms"].items()
    return cells | {f"{stage} ms, median / p95": f"{ms['p50']:.1f} / {ms['p95']:.1f}" for stage, ms in stages}


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
