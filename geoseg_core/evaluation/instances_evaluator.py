"""Ways to find the things of a scene against the truth of samples: views go in, label images of all views come out.

Average precision is that of ScanNet, class-agnostic, on points: AP is the mean over the thresholds of intersection over
union from 0.50 to 0.95 in steps of 0.05, AP50 and AP25 are those at 0.5 and 0.25, and the predictions of all scenes are
ranked together. evaluation/instances.py says which predictions count, instance_points.py how label images come to
points, superpoints.py what votes, and instance_tracks.py what T-mIoU, T-SR and mean IoU are. Where the truth
has classes and what is found has them too, instance_classes.py gives the same figures by class.

A scene that is refused, by the encoder or by the method, counts as if nothing was found.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry import depth_errors
from geoseg_core.evaluation.instance_classes import ClassPredictions
from geoseg_core.evaluation.instance_points import ScenePoints, scene_points
from geoseg_core.evaluation.instance_tracks import ObjectTrack, assigned_ious, object_tracks
from geoseg_core.evaluation.instances import RankedPredictions
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.evaluation.superpoints import superpoints, voted
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.finder import FoundThings, InstanceFinder

STRICT = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
THRESHOLDS = (0.25, *STRICT)
LOST = (1.0, 0.0)


@dataclass(frozen=True)
class InstancesEvaluationConfig:
    """What counts, and the cloud on which it is counted."""

    least_px: int = setting(64, "pixels of a thing that counts, in all views, and in a view that counts", "px", 1)
    least_points: int = setting(20, "points of a thing that counts, found or true", "points", 1)
    voxel_m: float = setting(0.01, "edge of the voxels of the cloud", "m", 0.001, 1.0)
    moment_views: int = setting(0, "the cloud is made of the first so many views, of one moment; 0: of all", "", 0)


@dataclass(frozen=True, eq=False)
class SceneTruth:
    """What is true of a scene: label images, ids that may be truths, the class of each that has one, the cloud and its
    superpoints."""

    labels: list[np.ndarray]
    things: list[int]
    classes: dict[int, int]
    cloud: ScenePoints
    pieces: np.ndarray


@dataclass(frozen=True, eq=False)
class Group:
    """Finders that read one encoder's scenes. Without finders, only depth is measured.

    Attributes:
        encode: makes the scene of a sample, of what the finders may see of it.
        depth: whether depth is predicted, not given.
    """

    encode: Callable[[Sample], EncodedScene]
    finders: Mapping[str, InstanceFinder]
    depth: bool = True


@dataclass(eq=False)
class DepthScore:
    """AbsRel and delta < 1.25 of scenes, each after one scale for all its views; means over the scenes."""

    errors: list[tuple[float, float]] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """The figures."""
        abs_rel, delta125 = np.mean(self.errors, axis=0).tolist() if self.errors else (None, None)
        return {"abs_rel": abs_rel, "delta125": delta125}


class InstancesScore:
    """Collects what one method found in scenes; `report` gives the figures."""

    def __init__(self, config: InstancesEvaluationConfig) -> None:
        self.config = config
        self.pixels = RankedPredictions((0.25, 0.5), config.least_px)
        self.points, self.voted = (RankedPredictions(THRESHOLDS, config.least_points) for _ in range(2))
        self.classes, self.named = ClassPredictions(THRESHOLDS, config.least_points), True
        self.tracks: list[ObjectTrack] = []
        self.flat_ious: list[float] = []
        self.solid_ious: list[float] = []
        self.found: list[int] = []
        self.scans = 0
        self.seconds: list[float] = []
        self.refusals: list[str] = []

    def add(self, truth: SceneTruth, found: FoundThings) -> None:
        """Count one scene."""
        config, scores = self.config, {number: float(score) for number, score in enumerate(found.scores, start=1)}
        self.found.append(len(found.scores))
        self.scans += truth.cloud.segments is not None
        flat = overlap(truth.labels, found.labels)
        objects = self.pixels.add(flat, truth.things, scores)
        self.tracks += object_tracks(flat, objects, config.least_px)
        self.flat_ious += assigned_ious(flat, objects).tolist()
        labels = truth.cloud.labelled(list(found.labels[: len(truth.cloud.views)]))
        solid = overlap([truth.cloud.ids[None]], [labels[None]])
        self.solid_ious += assigned_ious(solid, self.points.add(solid, truth.things, scores)).tolist()
        by_pieces = voted(labels, truth.pieces)[None]
        after_vote = overlap([truth.cloud.ids[None]], [by_pieces])
        self.voted.add(after_vote, truth.things, scores)
        if found.classes is None:
            self.named = False
        else:
            self.classes.add(after_vote, truth.classes, scores, dict(enumerate(found.classes.tolist(), start=1)))

    def report(self) -> dict[str, Any]:
        """The figures of the scenes so far; None where no truth was seen."""
        return {
            "points": precision(self.voted),
            "points_without_vote": precision(self.points),
            "points_by_class": self.by_class(),
            "pixels": {"ap50": self.pixels.average_precision(0.5), "ap25": self.pixels.average_precision(0.25)},
            "t_miou": mean(each.t_miou for each in self.tracks),
            "t_sr": mean(each.t_sr for each in self.tracks),
            "half_share": mean(each.half_share for each in self.tracks),
            "miou_2d": mean(self.flat_ious),
            "miou_3d": mean(self.solid_ious),
            "things": self.points.truth_count,
            "found": sum(self.found),
            "sets": len(self.found),
            "scans": self.scans,
            "refused": len(self.refusals),
            "seconds_median": float(np.median(self.seconds)) if self.seconds else None,
        }

    def by_class(self) -> dict[str, Any]:
        """Means over the classes that are among the truths, and the figures of each; without any the reason."""
        table = {
            str(number): precision(ranked) | {"things": ranked.truth_count}
            for number, ranked in sorted(self.classes.ranked.items())
            if self.named and ranked.truth_count
        }
        means = {name: mean(each[name] for each in table.values()) for name in ("ap", "ap50", "ap25")}
        if table:
            return means | {"classes": table}
        return means | {"reason": "no true thing has a class" if self.named else "what is found has no class"}


def precision(ranked: RankedPredictions) -> dict[str, Any]:
    """AP, AP50 and AP25."""
    strict = [ranked.average_precision(threshold) for threshold in STRICT]
    ap = mean(each for each in strict if each is not None)
    return {"ap": ap, "ap50": strict[0], "ap25": ranked.average_precision(0.25)}


def mean(values: Iterable[float]) -> float | None:
    """None of nothing."""
    listed = list(values)
    return float(np.mean(listed)) if listed else None


def evaluate_instances(
    groups: Sequence[Group],
    samples: Iterable[Sample],
    config: InstancesEvaluationConfig = InstancesEvaluationConfig(),  # noqa: B008 (frozen)
    no_things: frozenset[int] = frozenset(),
    on_set: Callable[[str, Sample, SceneTruth, FoundThings], None] | None = None,
) -> tuple[dict[str, InstancesScore], list[DepthScore]]:
    """Find the things of every sample by every finder, and compare.

    Args:
        samples: with instance ids, depth and cameras.
        no_things: ids that are no things, such as the robot's; what is found on them is left out.
        on_set: called for each finder after each set, for pictures.

    Returns:
        a score for each finder, and the depth of each group.

    Raises:
        BadInput: a sample without truth, or with a damaged scan.
    """
    scores = {name: InstancesScore(config) for group in groups for name in group.finders}
    depths = [DepthScore() for _ in groups]
    for sample in samples:
        truth = scene_truth(sample, config, no_things)
        for group, depth in zip(groups, depths, strict=True):
            start = time.perf_counter()
            scene, refusal = attempt(group.encode, sample)
            encoding_s = time.perf_counter() - start
            if group.depth:
                depth.errors.append(depth_of(scene, sample))
            for name, finder in group.finders.items():
                start, score = time.perf_counter(), scores[name]
                found, reason = (None, refusal) if scene is None else attempt(finder.find, scene)
                score.seconds.append(encoding_s + time.perf_counter() - start)
                if found is None:
                    score.refusals.append(f"{sample.source}: {reason}")
                    found = nothing(truth)
                score.add(truth, found)
                if on_set:
                    on_set(name, sample, truth, found)
    return scores, depths


def scene_truth(sample: Sample, config: InstancesEvaluationConfig, no_things: frozenset[int]) -> SceneTruth:
    """The truth of a sample. What has fewer than `least_px` pixels in all views together is none, on points neither.

    Raises:
        BadInput: it lacks depth, cameras or instance ids, or its scan is damaged.
    """
    cloud = scene_points(sample, config.voxel_m, config.moment_views)
    assert sample.instance_ids is not None
    labels = list(sample.instance_ids.cpu().numpy())
    shown = np.flatnonzero(np.bincount(np.stack(labels).reshape(-1)) >= config.least_px)
    things = [each for each in shown.tolist() if 0 < each <= sample.last_thing and each not in no_things]
    return SceneTruth(labels, things, classes_of(sample, things), cloud, superpoints(cloud))


def classes_of(sample: Sample, things: Iterable[int]) -> dict[int, int]:
    """The class id that most pixels of each thing have, of those that have one."""
    if sample.instance_ids is None or sample.class_ids is None:
        return {}
    ids, classes = sample.instance_ids.cpu().numpy(), sample.class_ids.cpu().numpy()
    found = {each: int(np.bincount(classes[ids == each]).argmax()) for each in things}
    return {each: number for each, number in found.items() if number}


def attempt(make: Callable[[Any], Any], given: Any) -> tuple[Any, str]:
    """What is made of something, or None and why it was refused."""
    try:
        return make(given), ""
    except BadInput as error:
        return None, str(error)


def depth_of(scene: EncodedScene | None, sample: Sample) -> tuple[float, float]:
    """AbsRel and delta < 1.25 of a scene."""
    assert sample.depth is not None
    if scene is None:
        return LOST
    return depth_errors([view.depth_m for view in scene.views], list(sample.depth.cpu().numpy()))


def nothing(truth: SceneTruth) -> FoundThings:
    """No things in the views of a scene."""
    labels = tuple(np.zeros(each.shape, np.uint16) for each in truth.labels)
    return FoundThings(labels, np.zeros(0), np.zeros((0, 0), np.float32), np.zeros(0, np.int64))
