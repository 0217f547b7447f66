"""The instance readout without weights: support planes off, clusters over all views, identities over time."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from geoseg_core.config import setting
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.encoder import EncodedScene, ViewGeometry
from geoseg_core.instances.clustering import ClusterConfig, cluster
from geoseg_core.instances.identity import IdentityKeeper
from geoseg_core.instances.keeper import IdentityConfig
from geoseg_core.instances.lifting import instance, labelled_cloud
from geoseg_core.instances.support import SupportConfig, SupportFinder
from geoseg_core.instances.tracks import Track
from geoseg_core.instances.vocabulary.config import VocabularyConfig
from geoseg_core.instances.voxels import Foreground, gather
from geoseg_core.results import InstanceResult


@dataclass(frozen=True)
class InstanceConfig:
    """The instance readout."""

    method: str = setting("rgbd", "how instances are found", choices=("rgbd",))
    max_range_m: float = setting(5.0, "what is farther from its camera is background", "m", 0.1, 1000.0)
    cloud_points: int = setting(60000, "about so many points at most in the labelled cloud", "", 100, 10_000_000)
    support: SupportConfig = field(default_factory=SupportConfig)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)


@dataclass(frozen=True, eq=False)
class Layout:
    """One set, taken apart.

    Attributes:
        background: per view (H, W) bool, on a support plane or too far.
        foreground: the remaining pixels in voxels.
        clusters: (M,) cluster of each voxel.
        owner: (M,) index of each voxel's track, -1 = none.
        tracks: the tracks that `owner` points to.
        up: (3,) normal of the largest support.
    """

    scene: EncodedScene
    background: tuple[np.ndarray, ...]
    foreground: Foreground
    clusters: np.ndarray
    owner: np.ndarray
    tracks: tuple[Track, ...]
    up: np.ndarray

    def paint(self, track_values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Images (H, W), one for each view, of a value for each track (T,); zero where no track is."""
        values = np.append(track_values, np.zeros(1, track_values.dtype))[self.owner]
        return tuple(
            self.foreground.paint(index, view.size, values) for index, view in enumerate(self.scene.frames.views)
        )

    def ids(self) -> np.ndarray:
        """Object id (T,) uint16 of each track, 0 for candidates."""
        return np.array([track.object_id for track in self.tracks], np.uint16)


class InstanceSegmenter:
    """Finds and follows the things of one workplace."""

    def __init__(self, config: InstanceConfig) -> None:
        self.config = config
        self.keeper = IdentityKeeper(config.identity, config.clusters)
        self.reset()

    def reset(self) -> None:
        """Forget planes, tracks and the voxel size; ids are not used again."""
        self.support = SupportFinder(self.config.support)
        self.keeper.clear()
        self._voxel_m = self._fine_m = 0.0

    def move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on: tracks go with it, planes are found anew."""
        self.support = SupportFinder(self.config.support)
        self._voxel_m = self._fine_m = 0.0
        for track in self.keeper.tracks:
            track.points, track.velocity = moved.apply(track.points), np.zeros(3)

    def flush_camera(self, camera: str) -> None:
        """Forget what tracks that a camera sees are remembered to look like, beyond what was seen just now."""
        for track in self.keeper.tracks:
            if camera in track.seen_by:
                track.points, track.colours = track.points[track.fresh], track.colours[track.fresh]
                track.fresh = np.ones(len(track.points), bool)

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

    def result(self, layout: Layout) -> InstanceResult:
        """The readout of a set: label images, live instances, labelled cloud."""
        labels = layout.paint(layout.ids())
        cloud = labelled_cloud(layout.scene, labels, self.config.cloud_points)
        highest = max((track.object_id for track in layout.tracks), default=0)
        counts = np.bincount(cloud.instance_id, minlength=highest + 1)
        instances = tuple(
            instance(track, layout.up, self._voxel_m, track.object_id, int(counts[track.object_id]))
            for track in layout.tracks
            if track.object_id
        )
        return InstanceResult(labels, instances, cloud, layout.scene.scale)

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
