"""The classical opponent behind the contract of every encoder: structure from motion of a few views.

Views are connected one after the other to those that are already placed, the pair with the most agreeing matches
first. The first view's camera is the world (or its known pose). The first baseline has length 1. A view that nothing
connects stays at the first camera, with a flat depth of 1 and confidence 0.
"""

from dataclasses import dataclass, field

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import inside, project
from geoseg_core.geometry.classical.config import ClassicalConfig
from geoseg_core.geometry.classical.dense import spread_depth
from geoseg_core.geometry.classical.matching import Features, find_features, match_features
from geoseg_core.geometry.classical.two_view import TwoView, camera_matrix, connect
from geoseg_core.geometry.encoder import EncodedScene, PointTracks, ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.geometry.transforms import invert
from geoseg_core.results import ScaleState
from geoseg_core.shapes import check_shape
from geoseg_core.views import FrameSet


@dataclass(eq=False)
class Placed:
    """A view that has a camera: its pose in the first one's frame, and the points (M, 2) whose depth (M,) is known."""

    camera: np.ndarray
    camera_to_world: np.ndarray
    points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    depth: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def know(self, points_px: np.ndarray, depth: np.ndarray) -> None:
        """Remember points with a positive depth."""
        good = np.isfinite(depth) & (depth > 0)
        self.points_px = np.concatenate((self.points_px, points_px[good]))
        self.depth = np.concatenate((self.depth, depth[good]))


@dataclass(frozen=True, eq=False)
class ClassicalScene:
    """A reconstructed frame set. Keeps the contract of `EncodedScene`."""

    frames: FrameSet
    views: tuple[ViewGeometry, ...]
    connected: tuple[bool, ...]
    scale: ScaleState = ScaleState()

    def track(self, points_px: np.ndarray, source: int, targets: list[int]) -> PointTracks:
        """Points carried over by the source's depth and both cameras; visible is what falls into the image.

        Between views that are not connected, a point stays where it is in the image, with confidence 0.

        Raises:
            BadInput: points_px has another shape.
        """
        check_shape(points_px, "N 2", "points_px")
        view, shape = self.views[source], (len(targets), len(points_px))
        found = PointTracks(np.empty((*shape, 2)), np.zeros(shape, bool), np.zeros(shape, np.float32))
        height, width = view.depth_m.shape
        columns, rows = (np.rint(points_px).astype(np.intp).clip(0, (width - 1, height - 1))).T
        for row, target in enumerate(targets):
            other = self.views[target]
            pixels, depth = project(view.points[rows, columns], other.intrinsics, other.camera_to_world)
            joined = source == target or (self.connected[source] and self.connected[target])
            found.points_px[row] = np.where((depth > 0)[:, None] & joined, pixels, points_px)
            size = (other.depth_m.shape[0], other.depth_m.shape[1])
            found.visible[row] = inside(found.points_px[row], np.where(joined, depth, 1), size)
            found.confidence[row] = found.visible[row] * view.confidence[rows, columns] * joined
        return found

    def features(self, layers: tuple[int, ...]) -> list[np.ndarray]:
        """There are none.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"expected an encoder with token features for layers {layers}, got the classical one")


class ClassicalEncoder:
    """Views to a ClassicalScene."""

    name = "classical"

    def __init__(self, config: ClassicalConfig = ClassicalConfig()) -> None:  # noqa: B008 (frozen)
        self.config = config

    def encode(self, frames: FrameSet) -> EncodedScene:
        """Cameras and depth of all views; calibration is neither needed nor used, save the first view's pose."""
        features = [find_features(view.image, self.config) for view in frames.views]
        placed = self._place(frames, features)
        anchor = frames.views[0].camera_to_world
        to_world = np.eye(4) if anchor is None else anchor
        views = tuple(
            self._view(view.size, placed.get(index), to_world) for index, view in enumerate(frames.views)
        )
        return ClassicalScene(frames, views, tuple(index in placed for index in range(len(features))))

    def _place(self, frames: FrameSet, features: list[Features]) -> dict[int, Placed]:
        """Views that could be connected, by their number, the first among them always."""
        placed = {0: Placed(self._usual(frames, 0), np.eye(4))}
        matches = {
            (first, second): match_features(features[first], features[second], self.config.ratio)
            for second in range(len(features))
            for first in range(second)
        }
        matches |= {(second, first): found[::-1] for (first, second), found in matches.items()}
        calibrated: set[int] = set()
        while len(placed) < len(features):
            found = [
                (pair, self._connect(frames, pair, matches[pair], placed, calibrated))
                for pair in matches
                if pair[0] in placed and pair[1] not in placed
            ]
            joined = [(pair, link) for pair, link in found if link is not None]
            if not joined:
                break
            pair, link = max(joined, key=lambda each: len(each[1].first_px))
            self._add(frames, pair, link, placed)
            calibrated.update(pair)
        return placed

    def _connect(
        self,
        frames: FrameSet,
        pair: tuple[int, int],
        matches: tuple[np.ndarray, np.ndarray],
        placed: dict[int, Placed],
        calibrated: set[int],
    ) -> TwoView | None:
        first, second = pair
        usual = (self._usual(frames, first), self._usual(frames, second))
        tried = [
            [camera_matrix(frames.views[index].size, degrees) for degrees in self.config.fields_deg] for index in pair
        ]
        if first in calibrated:
            tried[0] = [placed[first].camera]
        return connect(*matches, (tried[0], tried[1]), usual, self.config)

    def _add(self, frames: FrameSet, pair: tuple[int, int], link: TwoView, placed: dict[int, Placed]) -> None:
        """Place the second view of a link, in the unit of length of the first."""
        first = placed[pair[0]]
        depth, unit = link.points[:, 2], 1.0
        good = np.isfinite(depth)
        if len(first.depth) and good.any():
            size = frames.views[pair[0]].size
            known = spread_depth(first.points_px, first.depth, size, self.config.reach * size[1])
            columns, rows = np.rint(link.first_px[good]).astype(np.intp).clip(0, (size[1] - 1, size[0] - 1)).T
            unit = float(np.median(known[rows, columns] / depth[good]))
        step = link.second_to_first.copy()
        step[:3, 3] *= unit
        first.camera = link.intrinsics[0]
        second = placed[pair[1]] = Placed(link.intrinsics[1], first.camera_to_world @ step)
        first.know(link.first_px, unit * depth)
        first_to_second = invert(link.second_to_first)
        second.know(link.second_px, unit * (link.points @ first_to_second[2, :3] + first_to_second[2, 3]))

    def _usual(self, frames: FrameSet, index: int) -> np.ndarray:
        return camera_matrix(frames.views[index].size, self.config.usual_field_deg)

    def _view(self, size: tuple[int, int], placed: Placed | None, to_world: np.ndarray) -> ViewGeometry:
        if placed is None:
            placed = Placed(camera_matrix(size, self.config.usual_field_deg), np.eye(4))
        depth = spread_depth(placed.points_px, placed.depth, size, self.config.reach * size[1])
        pose = to_world @ placed.camera_to_world
        confidence = np.full(size, min(len(placed.depth) / 100, 1.0), np.float32)
        return ViewGeometry(depth, confidence, placed.camera, pose, lift(depth, placed.camera, pose))
