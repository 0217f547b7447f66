"""The instance readout: things of all views with identities over time, as labels, boxes and a labelled cloud.

Here is what all methods share, and the one without weights: support planes off, clusters over all views.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.encoder import EncodedScene, ViewGeometry
from geoseg_core.instances.clustering import ClusterConfig, cluster
from geoseg_core.instances.field.cluster_config import SMALL_CLUSTERS, FieldClusterConfig
from geoseg_core.instances.found import FoundConfig
from geoseg_core.instances.found_keeper import FoundKeeper
from geoseg_core.instances.identity import IdentityKeeper
from geoseg_core.instances.keeper import IdentityConfig
from geoseg_core.instances.lifting import BACKGROUND_STEP, instance, labelled_cloud
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.support import SupportConfig, SupportFinder
from geoseg_core.instances.tracks import Track
from geoseg_core.instances.vocabulary.config import VocabularyConfig
from geoseg_core.instances.voxels import Foreground, gather
from geoseg_core.results import InstanceResult

METHODS = ("auto", "queries", "field", "rgbd")


@dataclass(frozen=True)
class InstanceConfig:
    """The instance readout."""

    method: str = setting("auto", "how instances are found: by object queries, by an instance field (both by a network "
                          "on the features of the encoder tiny), by measured depth (rgbd), or auto: queries where the "
                          "encoder is tiny with its usual weights and those of the queries are here, else rgbd",
                          choices=METHODS)  # fmt: skip
    weights: str = setting("", "weights of that network by name (`geoseg weights list`) or file; empty for the usual "
                           "ones of the encoder")  # fmt: skip
    max_range_m: float = setting(5.0, "what is farther from its camera is background", "m", 0.1, 1000.0)
    cloud_points: int = setting(60000, "about so many points at most in the labelled cloud", "", 100, 10_000_000)
    with_background: bool = setting(True, "whether the labelled cloud has points of no instance too, thinned")
    queries: QueryDecodingConfig = field(default_factory=QueryDecodingConfig)
    found: FoundConfig = field(default_factory=FoundConfig)
    support: SupportConfig = field(default_factory=SupportConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    # The last one, since in this class its name hides that of dataclasses.field.
    field: FieldClusterConfig = field(default_factory=lambda: SMALL_CLUSTERS)


@dataclass(frozen=True, eq=False)
class Layout:
    """One set, taken apart.

    Attributes:
        background: per view (H, W) bool, on no thing, such as a support plane, or too far.
        foreground: the remaining pixels in voxels.
        clusters: (M,) cluster of each voxel.
        owner: (M,) index of each voxel's track, -1 = none.
        tracks: the tracks that `owner` points to.
        up: (3,) where boxes point to.
        pixels: per view (H, W), 1 + index of each pixel's track, 0 = none, where a network said so; None where the
            voxels say it.
    """

    scene: EncodedScene
    background: tuple[np.ndarray, ...]
    foreground: Foreground
    clusters: np.ndarray
    owner: np.ndarray
    tracks: tuple[Track, ...]
    up: np.ndarray
    pixels: tuple[np.ndarray, ...] | None = None

    def paint(self, track_values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Images (H, W), one for each view, of a value for each track (T,); zero where no track is."""
        none = np.zeros(1, track_values.dtype)
        if self.pixels is not None:
            return tuple(np.append(none, track_values)[image] for image in self.pixels)
        values = np.append(track_values, none)[self.owner]
        return tuple(
            self.foreground.paint(index, view.size, values) for index, view in enumerate(self.scene.frames.views)
        )

    def divided(self, owner: np.ndarray, tracks: tuple[Track, ...]) -> "Layout":
        """The same set with other owners (M,) of its voxels; pixels without a voxel stay with their track."""
        pixels = self.pixels and tuple(
            np.where(self.foreground.paint(index, image.shape, np.ones(len(owner), bool)),
                     self.foreground.paint(index, image.shape, owner + 1), image)
            for index, image in enumerate(self.pixels)
        )  # fmt: skip
        return replace(self, owner=owner, tracks=tracks, pixels=pixels)

    def ids(self) -> np.ndarray:
        """Object id (T,) uint16 of each track, 0 for candidates."""
        return np.array([track.object_id for track in self.tracks], np.uint16)


class Segmenter(ABC):
    """Finds and follows the things of one workplace.

    Attributes:
        method: how things are found.
        keeper: their identities.
    """

    method: str
    keeper: IdentityKeeper | FoundKeeper

    def __init__(self, config: InstanceConfig) -> None:
        self.config = config
        self._voxel_m = 0.0

    @abstractmethod
    def update(self, scene: EncodedScene) -> Layout:
        """Take a new set apart, with the identities known so far."""

    def reset(self) -> None:
        """Forget tracks and the voxel size; ids are not used again."""
        self.keeper.clear()
        self._voxel_m = 0.0

    def move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on: tracks go with it."""
        self._voxel_m = 0.0
        for track in self.keeper.tracks:
            track.points, track.velocity = moved.apply(track.points), np.zeros(3)
            track.masks = {
                camera: replace(each, camera_to_world=moved.pose(each.camera_to_world))
                for camera, each in track.masks.items()
            }

    def flush_camera(self, camera: str) -> None:
        """Forget what tracks that a camera sees are remembered to look like, beyond what was seen just now."""
        for track in self.keeper.tracks:
            track.masks.pop(camera, None)
            if camera in track.seen_by:
                track.points, track.colours = track.points[track.fresh], track.colours[track.fresh]
                track.fresh = np.ones(len(track.points), bool)

    def result(self, layout: Layout) -> InstanceResult:
        """The readout of a set: label images, live instances, labelled cloud."""
        labels = layout.paint(layout.ids())
        step = BACKGROUND_STEP if self.config.with_background else 0
        cloud = labelled_cloud(layout.scene, labels, self.config.cloud_points, step, self._least_confidence())
        highest = max((track.object_id for track in layout.tracks), default=0)
        counts = np.bincount(cloud.instance_id, minlength=highest + 1)
        instances = tuple(
            instance(track, layout.up, self._voxel_m, track.object_id, int(counts[track.object_id]))
            for track in layout.tracks
            if track.object_id and len(track.points)
        )
        return InstanceResult(labels, instances, cloud, layout.scene.scale)

    def _least_confidence(self) -> float:
        """Points of less are left out of clouds."""
        return 0.0


class InstanceSegmenter(Segmenter):
    """By measured depth: what stands out from support planes, in connected clusters."""

    method = "rgbd"
    keeper: IdentityKeeper

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__(config)
        self.keeper = IdentityKeeper(config.identity, config.clusters)
        self.support = SupportFinder(config.support)
        self._fine_m = 0.0

    def reset(self) -> None:
        """Forget planes, tracks and the voxel size; ids are not used again."""
        super().reset()
        self.support = SupportFinder(self.config.support)

    def move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on: tracks go with it, planes are found anew."""
        super().move_world(moved)
        self.support = SupportFinder(self.config.support)

    def update(self, scene: EncodedScene) -> Layout:
        """Take a new set apart, with the identities known so far."""
        masks = self.support.update(scene.views)
        if not self._voxel_m:
            self._voxel_m, self._fine_m = self._choose_voxel(scene, masks)
        background = tuple(self._background(mask, view) for mask, view in zip(masks, scene.views, strict=True))
        foreground = gather(scene, background, self._voxel_m)
        clusters = cluster(foreground.centres, self._voxel_m)
        owner = self.keeper.update(scene, foreground, clusters, self._fine_m)
        tracks = tuple(self.keeper.tracks)
        return Layout(scene, background, foreground, clusters, owner, tracks, self.support.up())

    def _background(self, support: np.ndarray, view: ViewGeometry) -> np.ndarray:
        """Support, all that is too far, and lines one or two pixels thin: the rims of tables and walls."""
        resolved_m = self._voxel_m * view.intrinsics[0, 0] / self.config.clusters.range_pixels
        kept = ~support & (view.depth_m > 0) & (view.depth_m <= min(self.config.max_range_m, resolved_m))
        kernel = np.ones((3, 3), np.uint8)
        solid = cv2.dilate(cv2.morphologyEx(kept.view(np.uint8), cv2.MORPH_OPEN, kernel), kernel)
        return ~(kept & solid.view(bool))

    def _choose_voxel(self, scene: EncodedScene, background: tuple[np.ndarray, ...]) -> tuple[float, float]:
        """Voxels as fine as the cameras resolve at the distance where things are: their pixels and their noise.

        Returns:
            the edge of the voxels, and that of the finer ones in which new things are searched for gaps; 0 where
            noise hides gaps.
        """
        depths = [view.depth_m[::8, ::8][~mask[::8, ::8]] for view, mask in zip(scene.views, background, strict=True)]
        depth_m = np.concatenate(depths)
        depth_m = depth_m[depth_m > 0]
        median_m = float(np.median(depth_m)) if len(depth_m) else 0.0
        pixel_m = median_m / min(view.intrinsics[0, 0] for view in scene.views)
        clusters = self.config.clusters
        noise_m = self.support.noise() * median_m**2
        voxel_m = max(clusters.voxel_m, clusters.voxel_pixels * pixel_m, clusters.voxel_noise * noise_m)
        pixels_m = voxel_m * clusters.part_pixels / clusters.voxel_pixels
        return voxel_m, pixels_m if pixels_m >= clusters.voxel_noise * noise_m else 0.0
