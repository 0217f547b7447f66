"""`geoseg evaluate [BAG]`: process every set of a bag once, in order, as fast as possible, and write a report."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from geoseg_core.config import build_from_words, settings
from geoseg_core.datasets.bag_file import BagFile
from geoseg_core.datasets.bag_format import SUFFIXES
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.truth import LabelledSet
from geoseg_core.evaluation.config import EvaluationConfig
from geoseg_core.evaluation.evaluator import Evaluator, evaluate_sequence
from geoseg_core.evaluation.gallery import Gallery, Instant
from geoseg_core.evaluation.machine import percentiles
from geoseg_core.evaluation.pictures import label_image
from geoseg_core.evaluation.plots import write_plots
from geoseg_core.evaluation.report import make_report, write_report
from geoseg_core.pipeline import TASKS, PipelineConfig, ScenePipeline
from geoseg_core.resources import resource
from geoseg_core.results import SceneResult

SAMPLE_BAG = "bags/tabletop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bag, what is measured and where the results go."""
    parser.add_argument("bag", type=Path, nargs="?", help="bag of the documented format (default: the sample bag)")
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"comma-separated, of {', '.join(TASKS)}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="a setting of the pipeline, such as geometry.encoder=vggt; repeatable",
    )  # fmt: skip
    parser.add_argument("--weights", metavar="NAME|FILE", help="the encoder's weights: --set geometry.weights=...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="report file (default: OUT/report.json)")
    parser.add_argument("--out", type=Path, default=Path("out/evaluate"), help="folder for report and pictures")
    parser.add_argument("--sets", type=int, default=0, metavar="N", help="only the first N sets")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write everything, print the summary.

    Raises:
        BadInput: the bag or the weights cannot be read; BadConfig: unknown tasks or settings.
    """
    config = _config(arguments)
    pipeline_config = _pipeline_config(arguments, config.tasks)
    method = pipeline_config.geometry.encoder
    sequence = BagSequence(arguments.bag or resource(SAMPLE_BAG))
    pipeline = ScenePipeline(pipeline_config)
    for words, weights in pipeline.networks.values():
        print(f"{words}, {weights}")
    if arguments.weights and pipeline.loaded.weights is None:
        print(f"--weights {arguments.weights}: the method {method} uses no weights, none are loaded")
    evaluator = Evaluator(pipeline, sequence.cameras[0], sequence.objects, config)
    gallery = Gallery(arguments.out)
    refused = _evaluate(sequence, evaluator, gallery)
    processed, dropped = len(evaluator.history), refused + sequence.counts["sets_without_pose"]
    sets = {"received": processed + dropped, "processed": processed, "dropped": dropped}
    latency_ms = percentiles(evaluator.stage_samples())
    report = make_report(sequence.path.name, "lockstep", method, evaluator.report(method), sets, latency_ms)
    path = arguments.json or arguments.out / "report.json"
    write_report(path, report)
    written = [path, *gallery.close(), *write_plots(arguments.out, evaluator.history, evaluator.stage_samples())]
    print("\n".join([*summary(report), *gallery.notes, "written:", *(f"  {each}" for each in written)]))
    return 0


def _config(arguments: argparse.Namespace) -> EvaluationConfig:
    known = {each.name: each for each in settings(EvaluationConfig)}
    tasks = tuple(arguments.tasks.split(","))
    return EvaluationConfig(tasks=known["tasks"].check(tasks), max_sets=known["max_sets"].check(arguments.sets))


def _pipeline_config(arguments: argparse.Namespace, tasks: Sequence[str]) -> PipelineConfig:
    chosen = [f"geometry.weights={arguments.weights}"] if arguments.weights else []
    config: PipelineConfig = build_from_words(PipelineConfig, [*arguments.overrides, *chosen])
    return replace(config, tasks=_pipeline_tasks(tasks))


def _pipeline_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """Cross-view masks are asked for by prompts, so only instances cost anything on sets that nobody prompts."""
    return tuple(task for task in TASKS if task == "prompts" or task in tasks)


def _evaluate(sequence: BagSequence, evaluator: Evaluator, gallery: Gallery) -> int:
    total = evaluator.config.max_sets or expected_sets(sequence)
    with tqdm(total=total, unit="set", desc="evaluate", dynamic_ncols=True, mininterval=0.5) as bar:

        def on_set(labelled: LabelledSet, result: SceneResult) -> None:
            gallery.add(instant_of(labelled, result))
            bar.update()

        return evaluate_sequence(sequence, evaluator, on_set)


def expected_sets(sequence: BagSequence) -> int:
    """How many sets the bag can give: images of the camera that has fewest."""
    with BagFile(sequence.path) as bag:
        return min(
            sum(bag.count(f"/{camera}/{suffix}") for suffix in SUFFIXES["image"]) for camera in sequence.cameras
        )


def instant_of(labelled: LabelledSet, result: SceneResult) -> Instant:
    """What the pictures show of a set: its instances, or the followed objects where instances are off."""
    frames = result.frames
    if result.instances is None:
        by_camera = {each.camera: each.masks for each in result.masks}
        labels = tuple(label_image(by_camera.get(view.camera, ()), view.size) for view in frames.views)
        return Instant(frames.stamp_ns, tuple(view.image for view in frames.views), labels)
    poses = tuple(view.camera_to_world for view in frames.views if view.camera_to_world is not None)
    return Instant(
        frames.stamp_ns,
        tuple(view.image for view in frames.views),
        result.instances.labels,
        poses,
        result.instances.cloud,
        result.instances.instances,
    )


def summary(report: dict[str, Any]) -> list[str]:
    """The figures in a few lines, for the terminal."""
    lines = []
    for task in TASKS:
        for method, parts in report.get(task, {}).items():
            for name, value in parts.items():
                lines += _summary_lines(f"{task} {method} {name}", value)
    for stage, milliseconds in report["latency_ms"].items():
        lines.append(f"latency {stage}: p50 {milliseconds['p50']:.1f} ms, p95 {milliseconds['p95']:.1f} ms")
    return [*lines, "sets: " + ", ".join(f"{count} {name}" for name, count in report["sets"].items())]


def _summary_lines(name: str, value: Any) -> list[str]:
    if name.endswith("per_object"):
        return []
    if isinstance(value, dict):
        shown = {key: each for key, each in value.items() if not isinstance(each, dict)}
        return [f"{name}: " + ", ".join(f"{key} {_short(each)}" for key, each in shown.items())]
    return [f"{name}: {_short(value)}"]


def _short(value: Any) -> str:
    return "none" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
