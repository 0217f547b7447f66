"""An encoder against the truth of samples: images alone go in, and what comes out is compared.

Figures of many sets: the rotation error is the median over all pairs of views, AUC the area over all pairs, depth
errors the mean over the sets, tracks the share of all points, followed in both directions between the ego view and each
other view (between all views where none is called ego). A set that the encoder refuses counts as wholly wrong.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geoseg_core.config import setting
from geoseg_core.datasets.correspondence import correspondences
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry import (
    area_under_curve,
    depth_errors,
    direction_error_deg,
    relative_pose,
    rotation_error_deg,
    track_shares,
)
from geoseg_core.geometry.encoder import EncodedScene, GeometryEncoder, PointTracks
from geoseg_core.views import FrameSet, View

PERCENTS = (1, 2, 4)
LOST_DEG = 180.0


@dataclass(frozen=True)
class GeometryEvaluationConfig:
    """How finely geometry is measured."""

    points: int = setting(256, "points followed from each view into each other", "", 1, 1_000_000)
    seed: int = setting(0, "of the choice of the points", "", 0)


@dataclass(frozen=True, eq=False)
class Query:
    """Points (N, 2) of view `source`, where they are in view `target` (N, 2), and whether that shows them (N,)."""

    source: int
    target: int
    points_px: np.ndarray
    truth_px: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True, eq=False)
class SetErrors:
    """What one set showed; `pairs` holds (rotation, direction, folded direction) errors in degrees of each pair,
    `tracks` the shares at PERCENTS with the number of visible points, and the share of right visibilities with the
    number of all points."""

    source: str
    pairs: list[tuple[float, float, float]]
    depth: tuple[float, float]
    tracks: list[tuple[list[float], int, float, int]]
    seconds: float


@dataclass(eq=False)
class GeometryScore:
    """Collects the errors of sets; `report` gives the figures."""

    sets: list[SetErrors] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """The figures, and how many sets, pairs and refusals they are of.

        Raises:
            BadInput: there was no set.
        """
        if not self.sets:
            raise BadInput("geometry: expected at least one set with depth and poses, got none")
        pairs = np.array([pair for each in self.sets for pair in each.pairs])
        rotation, direction, folded = pairs.T
        return {
            "rotation_error_deg_median": float(np.median(rotation)),
            "auc30": area_under_curve(np.maximum(rotation, direction)),
            "auc30_folded": area_under_curve(np.maximum(rotation, folded)),
            "abs_rel": float(np.mean([each.depth[0] for each in self.sets])),
            "delta125": float(np.mean([each.depth[1] for each in self.sets])),
            **self._track_report(),
            "sets": len(self.sets),
            "pairs": len(pairs),
            "refused": len(self.refusals),
            "seconds_median": float(np.median([each.seconds for each in self.sets])),
        }


    def _track_report(self) -> dict[str, float | None]:
        """Shares of all points of all sets; None where no two views share a point."""
        tracks = [track for each in self.sets for track in each.tracks]
        names = [f"track_pck{percent}" for percent in PERCENTS]
        if not tracks:
            return {**dict.fromkeys(names), "visibility_accuracy": None}
        shares = np.average([share for share, *_ in tracks], axis=0, weights=[track[1] for track in tracks])
        right = np.average([track[2] for track in tracks], weights=[track[3] for track in tracks])
        return {**dict(zip(names, shares.tolist(), strict=True)), "visibility_accuracy": float(right)}


def images_only(sample: Sample) -> FrameSet:
    """The views of a sample without depth, calibration or poses, for an encoder that shall find them."""
    names = [sample.cameras[index] if sample.cameras else f"view_{index}" for index in range(len(sample.images))]
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    images = (sample.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    moments = [0] * len(names) if sample.moments is None else (sample.moments.double() * 1e9).round().long().tolist()
    views = (View(name, image, stamp) for name, image, stamp in zip(names, images, moments, strict=True))
    return FrameSet(tuple(views))


def make_queries(sample: Sample, config: GeometryEvaluationConfig, number: int) -> list[Query]:
    """Points to follow, drawn evenly from the pixels with a known depth; pairs that share no visible point are left
    out."""
    assert sample.depth is not None
    made = []
    for source, target in track_pairs(sample.cameras, len(sample.images)):
        known = torch.nonzero(sample.depth[source] > 0)
        if not len(known):
            continue
        random = np.random.default_rng((config.seed, number, source, target))
        chosen = known[torch.from_numpy(random.integers(len(known), size=config.points))]
        points_px = chosen.flip(1).float()
        truth = correspondences(sample, points_px, source, target)
        if truth.visible.any():
            arrays = (each.cpu().numpy() for each in (points_px, truth.points_px, truth.visible))
            made.append(Query(source, target, *arrays))
    return made


def track_pairs(cameras: tuple[str, ...], count: int) -> list[tuple[int, int]]:
    """Ordered pairs of views: to and from every view of an ego camera, or all pairs where there is none."""
    ego = {index for index, name in enumerate(cameras) if "ego" in name}
    ordered = [(source, target) for source in range(count) for target in range(count) if source != target]
    return [pair for pair in ordered if not ego or len(ego & set(pair)) == 1]


def measure(sample: Sample, scene: EncodedScene, queries: list[Query], seconds: float) -> SetErrors:
    """Compare what an encoder found with the truth of a sample."""
    assert sample.camera_to_world is not None and sample.depth is not None
    truth = sample.camera_to_world.double().cpu().numpy()
    pairs = [
        pose_errors(
            relative_pose(scene.views[first].camera_to_world, scene.views[second].camera_to_world),
            relative_pose(truth[first], truth[second]),
        )
        for first, second in unordered_pairs(len(truth))
    ]
    depth = depth_errors([view.depth_m for view in scene.views], list(sample.depth.cpu().numpy()))
    width = sample.images.shape[-1]
    tracks = [track_errors(scene.track(each.points_px, each.source, [each.target]), each, width) for each in queries]
    return SetErrors(sample.source, pairs, depth, tracks, seconds)


def unordered_pairs(count: int) -> list[tuple[int, int]]:
    """All pairs of `count` views, the earlier one first."""
    return [(first, second) for second in range(count) for first in range(second)]


def pose_errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Rotation, direction and folded direction errors of a pair, degrees."""
    directions = (direction_error_deg(predicted, truth, folded) for folded in (False, True))
    return (rotation_error_deg(predicted, truth), *directions)  # type: ignore[return-value]


def track_errors(found: PointTracks, query: Query, width: int) -> tuple[list[float], int, float, int]:
    """Shares of visible points at PERCENTS, their number, share of right visibilities, number of points."""
    shares = track_shares(found.points_px[0], query.truth_px, query.visible, width, PERCENTS)
    right = float(np.mean(found.visible[0] == query.visible))
    return shares, int(query.visible.sum()), right, len(query.visible)


def refused(sample: Sample, queries: list[Query]) -> SetErrors:
    """The errors of a set of which the encoder made nothing."""
    pairs = [(LOST_DEG, LOST_DEG, 90.0) for _ in unordered_pairs(len(sample.images))]
    tracks = [([0.0] * len(PERCENTS), int(each.visible.sum()), 0.0, len(each.visible)) for each in queries]
    return SetErrors(sample.source, pairs, (1.0, 0.0), tracks, 0.0)


def evaluate_geometry(
    encoder: GeometryEncoder,
    samples: Iterable[Sample],
    config: GeometryEvaluationConfig = GeometryEvaluationConfig(),  # noqa: B008 (frozen)
    on_set: Callable[[Sample, EncodedScene, list[Query]], None] | None = None,
) -> GeometryScore:
    """Encode every sample and compare.

    Args:
        samples: with depth, intrinsics and poses, which the encoder is not shown.
        on_set: called after each set that the encoder took, for pictures.

    Raises:
        BadInput: a sample without depth or poses.
    """
    score = GeometryScore()
    for number, sample in enumerate(_with_truth(samples)):
        queries = make_queries(sample, config, number)
        start = time.perf_counter()
        try:
            scene = encoder.encode(images_only(sample))
        except BadInput as error:
            score.refusals.append(f"{sample.source}: {error}")
            score.sets.append(refused(sample, queries))
            continue
        score.sets.append(measure(sample, scene, queries, time.perf_counter() - start))
        if on_set:
            on_set(sample, scene, queries)
    return score


def _with_truth(samples: Iterable[Sample]) -> Iterator[Sample]:
    for sample in samples:
        lacking = [name for name in ("depth", "intrinsics", "camera_to_world") if getattr(sample, name) is None]
        if lacking:
            raise BadInput(f"{sample.source}: expected a sample with true depth and cameras, got none of {lacking}")
        yield sample
