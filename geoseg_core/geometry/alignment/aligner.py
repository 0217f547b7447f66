"""Aligner: an encoded scene in the network's unit and world becomes one in metres and in the world of tf.

All views of a set are moved by one similarity, so that their geometry stays consistent; known poses are fitted, not
enforced. What stands still in the world must not tremble: the unit is carried from set to set (unit.py), and cameras
that stand still keep their mean pose (still.py). Where nothing is known, something sensible takes its place:
- No scale (UNKNOWN): lengths are such that the median depth of the first set was `nominal_depth_m`, so that settings
  in metres mean about the same part of the picture as at such a working distance. Nothing of it is published in a
  metric frame.
- No known pose: the world is the frame that the last camera had in the first set (the ego camera, which moves, comes
  first). The cameras that stand still keep it up.
When the world or its unit becomes another one, `AlignedScene.moved` says how the old one lies in it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoseg_core.config import setting
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.alignment.drift import DriftAlarm, DriftConfig, depth_problem, pose_problem, scale_problem
from geoseg_core.geometry.alignment.estimator import ScaleConfig, ScaleEstimator
from geoseg_core.geometry.alignment.measurement import DepthFit, ScaleMeasurement, fit_depth, fuse, known_size
from geoseg_core.geometry.alignment.poses import PoseFit, fit_poses
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.alignment.still import HeldPoses, StillCameras
from geoseg_core.geometry.alignment.unit import UnitKeeper, median_of, thinned
from geoseg_core.geometry.encoder import EncodedScene, PointTracks, ViewGeometry
from geoseg_core.geometry.pointmap import clean_depth, lift
from geoseg_core.geometry.rgbd import RgbdConfig
from geoseg_core.results import ScaleState, ScaleStatus
from geoseg_core.views import FrameSet

REGIONS = 16


@dataclass(frozen=True)
class AlignmentConfig:
    """How a network's unit and world become metres and the world of tf."""

    nominal_depth_m: float = setting(
        1.0, "while the scale is UNKNOWN, lengths are such that the first median depth is this", "m", 0.01, 100.0
    )
    centre_noise: float = setting(
        0.01, "standard deviation of a predicted camera's place, as part of the median depth", "", 0.0001, 1.0
    )
    tf_deviation: float = setting(0.01, "relative standard deviation of the baselines that tf gives", "", 0.0, 1.0)
    size_deviation: float = setting(0.05, "the same of the measured extent of an object of known size", "", 0.0, 1.0)
    metric_deviation: float = setting(0.1, "the same of a network's own guess of metres (pi3x)", "", 0.0, 1.0)
    known_sizes: str = setting("", "labels of followed objects with their longest edge in metres, as mug=0.12, box=0.3")
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)


@dataclass(frozen=True, eq=False)
class AlignedScene:
    """An encoded scene in another unit and world. Keeps the contract of `EncodedScene`.

    Attributes:
        moved: how the world and unit of the scenes before lie in this one's, None while they are the same.
    """

    inner: EncodedScene
    views: tuple[ViewGeometry, ...]
    scale: ScaleState
    moved: Similarity | None = None

    @property
    def frames(self) -> FrameSet:
        """The views that were encoded."""
        return self.inner.frames

    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Follow points_px (N, 2) of view `source` into the views `targets`."""
        return self.inner.track(points_px, source, targets)

    def features(self, layers: tuple[int, ...]) -> list[Any]:
        """Token features of the given layers."""
        return self.inner.features(layers)


def as_encoded(scene: EncodedScene) -> EncodedScene:
    """A scene as its encoder gave it, with what contracts of readouts ask of an encoder beside its geometry."""
    return scene.inner if isinstance(scene, AlignedScene) else scene


@dataclass(frozen=True)
class World:
    """In what world and unit a scene stands: that of tf or of a camera; metres for one carried unit (see unit.py), or
    None where they are not known."""

    is_tf: bool
    metres: float | None

    def is_continued_by(self, other: "World") -> bool:
        return self.is_tf == other.is_tf and (self.metres is None) == (other.metres is None)


class Aligner:
    """Aligns the scenes of one workplace, set after set.

    Args:
        depth: how measured depth is read.
        metric: whether the network's unit is its guess of the metre.
    """

    def __init__(
        self,
        config: AlignmentConfig = AlignmentConfig(),  # noqa: B008 (frozen)
        depth: RgbdConfig = RgbdConfig(),  # noqa: B008 (frozen)
        metric: bool = False,
    ) -> None:
        self.config, self._depth, self._metric = config, depth, metric
        self._known_sizes = known_sizes(config.known_sizes)
        self.estimator, self.alarm = ScaleEstimator(config.scale), DriftAlarm(config.drift)
        self.reset()

    def reset(self) -> None:
        """Begin anew: no scale, no alarm, no camera remembered."""
        self.estimator.reset()
        self.alarm.reset()
        self._keeper, self._still, self._held = UnitKeeper(), StillCameras(), HeldPoses()
        self._observed: list[ScaleMeasurement] = []
        self._world: World | None = None
        self._nominal = 0.0

    def align(self, scene: EncodedScene) -> AlignedScene:
        """The scene in metres, as far as they are known, and in the world of tf, as far as cameras are known there."""
        still = self._still.update(scene.frames)
        unit = self._keeper.update(scene.frames.cameras, scene.views, still)
        median = median_of(thinned(view.depth_m) for view in scene.views)
        self._nominal = self._nominal or self.config.nominal_depth_m / (unit * median)
        fit = self._fit(scene, self.config.centre_noise * median)
        restarts = self.estimator.restarts
        state = self._scale(scene, fit, unit)
        before = self._world
        # A world once known by tf is kept up by the cameras that are remembered.
        is_tf = fit is not None or (before is not None and before.is_tf)
        self._world = World(is_tf, None if state.status == ScaleStatus.UNKNOWN else self.estimator.scale)
        remembered = self._fit_remembered(scene, still)
        similarity = self._similarity(fit, remembered, unit, self._world)
        moved = None
        if before and (self.estimator.restarts > restarts or not before.is_continued_by(self._world)):
            moved = similarity.after(self._similarity(fit, remembered, unit, before).inverse())
            self._held.move(moved)
        views = tuple(
            self._placed(camera, view, similarity, camera in still, similarity.scale * median)
            for camera, view in zip(scene.frames.cameras, scene.views, strict=True)
        )
        return AlignedScene(scene, views, state, moved)

    def forget(self, camera: str) -> None:
        """A camera's calibration, place or resolution is another one: what was remembered of it is void."""
        for memory in (self._keeper, self._still, self._held):
            memory.forget(camera)

    def observe_size(self, label: str, extent: float) -> None:
        """An object was measured, in the unit of the newest aligned scene; its true size counts from the next set on.

        Objects whose size is not known are passed over.
        """
        size_m = self._known_sizes.get(label)
        if size_m is not None and extent > 0 and self._world is not None:
            length = extent / (self._world.metres or self._nominal)
            self._observed.append(known_size(size_m, length, self.config.size_deviation))

    def _fit(self, scene: EncodedScene, noise: float) -> PoseFit | None:
        """The fit of the cameras that tf knows, None without any."""
        known = known_cameras(scene.frames)
        if not known:
            return None
        predicted = np.stack([scene.views[scene.frames.index(camera)].camera_to_world for camera in known])
        return fit_poses(predicted, np.stack(list(known.values())), "similarity", self.config.drift.gate, noise)

    def _scale(self, scene: EncodedScene, fit: PoseFit | None, unit: float) -> ScaleState:
        """The scale and the alarm after one more set."""
        depth = self._fit_depth(scene, unit)
        measurements = self._measurements(fit, depth, unit)
        refused = self.estimator.update(fuse(measurements) if measurements else None, self._keeper.lost)
        self.alarm.update(self._problem(scene.frames, fit, depth, measurements) or refused)
        return self.estimator.state(self.alarm.reason)

    def _fit_depth(self, scene: EncodedScene, unit: float) -> DepthFit | None:
        """Depth in the carried unit against that of the depth cameras; None without any."""
        low_m, high_m = self._depth.min_depth_m, self._depth.max_depth_m
        pairs = [
            (thinned(geometry.depth_m) * unit, clean_depth(thinned(view.depth_m), low_m, high_m))
            for view, geometry in zip(scene.frames.views, scene.views, strict=True)
            if view.depth_m is not None
        ]
        return fit_depth([each for each, _ in pairs], [each for _, each in pairs])

    def _measurements(self, fit: PoseFit | None, depth: DepthFit | None, unit: float) -> list[ScaleMeasurement]:
        """Metres for one carried unit, by all that this set and the things of known size say."""
        found, self._observed = self._observed, []
        if fit is not None and np.isfinite(fit.deviation):
            scale = fit.similarity.scale / unit
            found.append(ScaleMeasurement("tf_baseline", scale, fit.deviation, self.config.tf_deviation))
        if depth is not None:
            # A network errs by regions larger than tiles: take no more than so many to be independent.
            deviation = max(depth.deviation, depth.residual / np.sqrt(REGIONS))
            found.append(ScaleMeasurement("depth_camera", depth.scale, deviation, self._depth.scale_deviation))
        if self._metric and not found:
            found.append(ScaleMeasurement("metric_encoder", 1 / unit, 0.0, self.config.metric_deviation))
        return found

    def _problem(
        self, frames: FrameSet, fit: PoseFit | None, depth: DepthFit | None, measurements: list[ScaleMeasurement]
    ) -> str:
        """What contradicts the prediction in one set, "" for nothing."""
        drift = self.config.drift
        by_poses = "" if fit is None else pose_problem(list(known_cameras(frames)), fit, drift)
        by_depth = "" if depth is None else depth_problem(depth, drift)
        return by_poses or by_depth or scale_problem(measurements, drift)

    def _fit_remembered(self, scene: EncodedScene, still: set[str]) -> PoseFit:
        """The fit of the cameras whose place is remembered; of the last camera, at the world's origin, without any."""
        known = self._held.known(scene.frames, still) or {scene.frames.cameras[-1]: np.eye(4)}
        predicted = np.stack([scene.views[scene.frames.index(camera)].camera_to_world for camera in known])
        return fit_poses(predicted, np.stack(list(known.values())))

    def _similarity(self, fit: PoseFit | None, remembered: PoseFit, unit: float, world: World) -> Similarity:
        """From the network's world and unit to those of a world: by tf, or by the cameras that are remembered."""
        chosen = fit if world.is_tf and fit is not None else remembered
        return chosen.at_scale(unit * (world.metres or self._nominal))

    def _placed(
        self, camera: str, view: ViewGeometry, similarity: Similarity, is_still: bool, depth_m: float
    ) -> ViewGeometry:
        """A view's geometry in the world; where its camera stands still, at its mean pose."""
        pose = self._held.update(camera, similarity.pose(view.camera_to_world), is_still, depth_m)
        scaled = view.depth_m * np.float32(similarity.scale)
        return ViewGeometry(scaled, view.confidence, view.intrinsics, pose, lift(scaled, view.intrinsics, pose))


def known_cameras(frames: FrameSet) -> dict[str, np.ndarray]:
    """The poses that are known, by camera, in the order of the views."""
    poses = {view.camera: view.camera_to_world for view in frames.views}
    return {camera: pose for camera, pose in poses.items() if pose is not None and np.isfinite(pose).all()}


def known_sizes(words: str) -> dict[str, float]:
    """Sizes in metres by label, of words such as "mug=0.12, box=0.3".

    Raises:
        BadConfig: words of another form.
    """
    sizes = {}
    for word in filter(None, words.split(",")):
        label, _, number = word.partition("=")
        try:
            size_m = float(number)
        except ValueError:
            size_m = 0.0
        if not (label.strip() and 0 < size_m < float("inf")):
            raise BadConfig(f"known_sizes: expected words such as mug=0.12, got {word!r}")
        sizes[label.strip()] = size_m
    return sizes
