"""The instance readout by a network: what it finds on the images, lifted by the depth of the encoder.

Labels in the images are those that the network gives; depth says where things are, which of them are one, and helps to
know them again. What has no depth, or too little confidence in it, keeps its label and is no part of clouds and boxes.
"""

import numpy as np

from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.encoder import EncodedScene, ViewGeometry
from geoseg_core.instances.finder import InstanceFinder
from geoseg_core.instances.found import Sighting, sighting_of
from geoseg_core.instances.found_keeper import FoundKeeper
from geoseg_core.instances.segmenter import InstanceConfig, Layout, Segmenter
from geoseg_core.instances.upright import upwards
from geoseg_core.instances.voxels import gather
from geoseg_core.results import ScaleStatus

UP_RATE = 0.2  # how fast the direction of boxes follows the newest set


class FoundSegmenter(Segmenter):
    """By a network that finds things in all views together."""

    keeper: FoundKeeper

    def __init__(self, config: InstanceConfig, finder: InstanceFinder) -> None:
        super().__init__(config)
        self.method, self.finder = finder.method, finder
        self.keeper = FoundKeeper(config.identity, config.found)
        self._up: np.ndarray | None = None

    def reset(self) -> None:
        """Forget tracks, the voxel size and what is up; ids are not used again."""
        super().reset()
        self._up = None

    def move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on: tracks go with it."""
        super().move_world(moved)
        self._up = None

    def update(self, scene: EncodedScene) -> Layout:
        """Take a new set apart, with the identities known so far."""
        seen = self._sighting(scene)
        whose = self.keeper.update(seen)
        tracks = tuple(self.keeper.tracks)
        table = np.append(0, whose + 1).astype(np.int32)
        pixels = tuple(table[image] for image in seen.found.labels)
        owner = whose[seen.thing].astype(np.int32)
        background = tuple(image == 0 for image in seen.found.labels)
        return Layout(scene, background, seen.foreground, seen.thing, owner, tracks, self._upwards(seen), pixels)

    def _sighting(self, scene: EncodedScene) -> Sighting:
        """What the network finds, in voxels as fine as the cameras resolve where things are."""
        found = self.finder.find(scene)
        placed = [
            (image > 0) & self._is_placed(view, scene) for image, view in zip(found.labels, scene.views, strict=True)
        ]
        depths = [view.depth_m[::4, ::4][mask[::4, ::4]] for view, mask in zip(scene.views, placed, strict=True)]
        depth_m = np.concatenate(depths)
        distance = float(np.median(depth_m)) if len(depth_m) else 0.0
        clusters = self.config.clusters
        if not self._voxel_m and distance:
            pixel_m = distance / min(view.intrinsics[0, 0] for view in scene.views)
            self._voxel_m = max(clusters.voxel_m, clusters.voxel_pixels * pixel_m)
        foreground = gather(scene, tuple(~mask for mask in placed), self._voxel_m or clusters.voxel_m)
        return sighting_of(scene, found, foreground, distance, self.config.found)

    def _is_placed(self, view: ViewGeometry, scene: EncodedScene) -> np.ndarray:
        """Pixels (H, W) whose place is known well enough; NaN is no place."""
        placed = (view.depth_m > 0) & (view.confidence >= self.config.found.least_confidence)
        if scene.scale.status != ScaleStatus.UNKNOWN:
            placed &= view.depth_m <= self.config.max_range_m
        return placed & np.isfinite(view.depth_m)

    def _upwards(self, seen: Sighting) -> np.ndarray:
        up = upwards(seen.scene, tuple(image == 0 for image in seen.found.labels))
        mixed = up if self._up is None else (1 - UP_RATE) * self._up + UP_RATE * up
        self._up = mixed / max(float(np.linalg.norm(mixed)), 1e-9)
        return self._up

    def _least_confidence(self) -> float:
        """Points of less are left out of clouds."""
        return self.config.found.least_confidence
