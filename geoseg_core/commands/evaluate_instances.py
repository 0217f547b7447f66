"""`geoseg evaluate-instances METHOD... --data DATA`: all things of a scene with one identity in every view, measured.

Networks see images alone: neither depth nor calibration nor poses. The method rgbd sees all of them.
geoseg_core/evaluation/instances_evaluator.py defines the figures.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg_core.commands import measuring
from geoseg_core.commands.measuring import Data, Gallery
from geoseg_core.config import build, build_from_words
from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.instances_evaluator import Group, InstancesEvaluationConfig, SceneTruth, evaluate_instances
from geoseg_core.evaluation.instances_pictures import instances_sheet
from geoseg_core.evaluation.measured_things import MeasuredThings, with_geometry
from geoseg_core.evaluation.published import published_lines
from geoseg_core.geometry.choice import device_named
from geoseg_core.geometry.encoder import EncodedScene, GeometryEncoder
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.instances.field.cluster_config import SMALL_CLUSTERS, FieldClusterConfig
from geoseg_core.instances.field.finder import IggtField
from geoseg_core.instances.finder import FoundThings, InstanceFinder
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.finder import SegVggtQueries
from geoseg_core.instances.support import SupportConfig
from geoseg_core.instances.tiny.loading import METHODS, load_finder
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds
from geoseg_core.training.sources import DataConfig, open_dataset
from geoseg_core.weights.chosen import choose_weights

MEASURED = "rgbd"
DATASETS = ("scannet", "scannetpp")
VIEWS = 4
COLUMNS = {
    "points.ap": "AP",
    "points.ap50": "AP50",
    "points.ap25": "AP25",
    "points_without_vote.ap50": "no vote AP50",
    "points_by_class.ap": "by class AP",
    "points_by_class.ap50": "by class AP50",
    "t_miou": "T-mIoU",
    "t_sr": "T-SR",
    "half_share": "half",
    "miou_2d": "2-D mIoU",
    "miou_3d": "3-D mIoU",
    "depth.abs_rel": "AbsRel",
    "depth.delta125": "d<1.25",
    "seconds_median": "seconds",
}


@dataclass(frozen=True)
class ReadingConfig:
    """How things are read from what a network says."""

    queries: QueryDecodingConfig = field(default_factory=QueryDecodingConfig)
    clusters: FieldClusterConfig = field(default_factory=lambda: SMALL_CLUSTERS)


@dataclass(frozen=True, eq=False)
class SceneData(Data):
    """Data for instances.

    Attributes:
        no_things: ids that are no things.
        moment_views: how many views are of the first moment, 0 for all.
    """

    no_things: frozenset[int] = frozenset()
    moment_views: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare methods, encoders, data, what counts, and where the results go."""
    known = ", ".join(f"{name}=FILE" for name in METHODS)
    parser.add_argument("methods", nargs="+", metavar="METHOD", help=f"{known} with weights, or {MEASURED}")
    parser.add_argument("--encoder", default="tiny", help="what the networks read: NAME or NAME=FILE")
    parser.add_argument("--before", metavar="ENCODER", help="another encoder, whose depth is measured beside")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="how things are read, such as queries.least_score=0.4 or clusters.epsilon=0.2; repeatable",
    )  # fmt: skip
    measuring.add_data_arguments(parser, "out/instances")
    add_scene_arguments(parser)
    parser.add_argument("--views", type=int, metavar="N", help=f"views of a scene ({VIEWS}; of a bag all cameras)")
    parser.add_argument("--least-px", type=int, default=64, metavar="N", help="pixels of a thing that counts")
    parser.add_argument("--least-points", type=int, default=20, metavar="N", help="points of a thing that counts")
    parser.add_argument("--voxel-m", type=float, default=0.01, metavar="M", help="the cloud has a point for each voxel")


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which views of the data are one scene, but for `--views`, how many; see `open_scenes`."""
    parser.add_argument("--labels", default="", metavar="FOLDER", help="scannetpp: the folder of the object ids")
    parser.add_argument("--moments", type=int, default=1, metavar="N", help="worlds: every camera at N moments")
    parser.add_argument("--step-s", type=float, default=0.4, metavar="S", help="worlds: seconds between two moments")
    parser.add_argument("--sets", type=int, default=0, metavar="N", help="bag: N sets, evenly spread (default: all)")


def run(arguments: argparse.Namespace) -> int:
    """Measure every method on the same scenes, write all, print the tables.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown method, encoder or setting, or a bad number.
    """
    data = open_scenes(arguments)
    names = ("least_px", "least_points", "voxel_m")
    values = {name: getattr(arguments, name) for name in names} | {"moment_views": data.moment_views}
    config = build(InstancesEvaluationConfig, values)
    groups = open_groups(arguments)
    galleries = {word: Gallery(arguments.out, word, data.count, arguments.pictures) for word in arguments.methods}

    def draw(word: str, sample: Sample, truth: SceneTruth, found: FoundThings) -> None:
        galleries[word].add(instances_sheet, sample, truth, found)

    shown = data.shown("instances")
    scores, depths = evaluate_instances(list(groups.values()), shown, config, data.no_things, draw)
    reports: dict[str, dict[str, Any]] = {}
    measured = {kind: depth.report() for kind, depth in zip(groups, depths, strict=True) if groups[kind].depth}
    for word in arguments.methods:
        score = scores[word]
        print("\n".join(f"{word}: {each}" for each in score.refusals[:5]), end="\n" if score.refusals else "")
        reports[word] = score.report() | (measured if word != MEASURED else {})
    measuring.finish(arguments, data.name, data.measured, "instances", COLUMNS, reports)
    print("\n".join([*depth_lines(measured), *class_lines(reports), *published_lines(data.name, reports)]))
    return 0


def open_groups(arguments: argparse.Namespace) -> dict[str, Group]:
    """The methods by what makes their scenes: "depth" (the encoder's own), "measured", and "depth_before" without any.

    Raises:
        BadConfig: an unknown method, encoder or setting; BadInput: weights that are missing or do not fit.
    """
    reading: ReadingConfig = build_from_words(ReadingConfig, arguments.overrides)
    networks = {
        word: open_finder(word, reading, arguments.device, arguments.encoder)
        for word in arguments.methods
        if word != MEASURED
    }
    groups = {}
    if networks:
        groups["depth"] = Group(seeing(measuring.open_encoder(arguments.encoder, arguments.device)), networks)
    if MEASURED in arguments.methods:
        given = RgbdEncoder()
        groups["measured"] = Group(
            lambda sample: given.encode(with_geometry(sample)), {MEASURED: MeasuredThings()}, depth=False
        )
    if arguments.before:
        groups["depth_before"] = Group(seeing(measuring.open_encoder(arguments.before, arguments.device)), {})
    return groups


def open_finder(word: str, reading: ReadingConfig, device: str, encoder: str = "tiny") -> InstanceFinder:
    """The finder of a word such as "queries=weights.safetensors", or "queries" where the encoder is a vggt with weights
    of SegVGGT or, for "field", of IGGT.

    Raises:
        BadConfig: an unknown name, or no weights; BadInput: weights that are missing or do not fit.
    """
    name, _, weights = word.partition("=")
    if name in METHODS and not weights and encoder.partition("=")[0] == "vggt":
        if name == "queries":
            return SegVggtQueries(reading.queries)
        return IggtField(FieldClusterConfig(), SupportConfig())
    if name not in METHODS or not weights:
        known = [f"{each}=FILE" for each in METHODS]
        raise BadConfig(f"expected one of the methods {[*known, MEASURED]} (no FILE with --encoder vggt), got {word!r}")
    path = choose_weights(weights).path
    return load_finder(name, path, reading.queries, reading.clusters, device_named(device))


def seeing(encoder: GeometryEncoder) -> Callable[[Sample], EncodedScene]:
    """What encodes the images of a sample, and nothing else of it."""
    return lambda sample: encoder.encode(images_only(sample))


def open_scenes(arguments: argparse.Namespace) -> SceneData:
    """Worlds by their seeds, scenes of a dataset, or sets of a bag.

    Raises:
        BadInput: the data is refused; BadConfig: not a list of seeds, or a bad number.
    """
    words, views = arguments.data, arguments.views
    if (views is not None and views < 1) or arguments.sets < 0:
        raise BadConfig(f"expected --views 1 or more and --sets 0 or more, got {views} and {arguments.sets}")
    if words.startswith(measuring.WORLDS):
        return open_worlds(words, views or VIEWS, arguments)
    kind, colon, path = words.partition(":")
    if colon and kind in DATASETS:
        reader = ReaderConfig(views=views or VIEWS)
        samples = open_dataset(DataConfig(source=kind, path=path, labels=arguments.labels), reader)
        return SceneData(words, len(samples), samples.__getitem__)
    return open_bag(words, views, arguments.sets)


def open_worlds(words: str, views: int, arguments: argparse.Namespace) -> SceneData:
    """Worlds of the highest difficulty, the ego view and exo views, moment by moment."""
    seeds = measuring.read_seeds(words.removeprefix(measuring.WORLDS))
    values = {"exo_max": max(views - 1, 1), "moments": arguments.moments, "time_step_s": arguments.step_s}
    worlds = Worlds(build(WorldsConfig, values))
    moment_views = views if arguments.moments > 1 else 0
    return SceneData(
        words, len(seeds), lambda number: worlds.sample(seeds[number], views - 1), moment_views=moment_views
    )


def open_bag(path: str, views: int | None, sets: int) -> SceneData:
    """Sets of a bag; tables, robots and the like are no things, and what is found on them is left out."""
    first = RosbagSamples(path, ReaderConfig(height=0, width=0, views=views or 1), 1)
    reader = ReaderConfig(height=0, width=0, views=views or len(first.sequence.cameras))
    samples = RosbagSamples(path, reader, sets, all_ids=True)
    others = frozenset(each.id for each in samples.sequence.objects if each.role != "object")
    return SceneData(Path(path).name, len(samples), samples.__getitem__, others)


def class_lines(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why there are no figures by class, for each method that has none."""
    reasons = {word: report["points_by_class"].get("reason") for word, report in reports.items()}
    return [f"{word}: no figures by class, since {reason}" for word, reason in reasons.items() if reason]


def depth_lines(measured: Mapping[str, Mapping[str, float]]) -> list[str]:
    """AbsRel before and after, where both were measured."""
    if "depth" not in measured or "depth_before" not in measured:
        return []
    after, before = measured["depth"]["abs_rel"], measured["depth_before"]["abs_rel"]
    return [f"AbsRel {after:.4f}, before {before:.4f}: {100 * (after / before - 1):+.1f} %"]
