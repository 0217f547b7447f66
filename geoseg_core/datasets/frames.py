"""Sequences of posed RGB-D frames with instance labels, whatever dataset they come from, as samples.

ScanNet and ScanNet++ only say where the files are (scannet.py, scannetpp.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from geoseg_core.datasets.files import read_grey, read_rgb
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.scan import ScanFiles
from geoseg_core.datasets.scene_samples import SceneSamples, choose_frames
from geoseg_core.datasets.sizing import place_image, place_map, placement, stack_floats, stack_images, stack_labels
from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import inside, project
from geoseg_core.geometry.pointmap import lift

MILLIMETRE = np.float32(0.001)
# Depth is thinned to about so many columns where only the overlap of two views is asked for.
COLUMNS = 40


@dataclass(frozen=True, eq=False)
class Frame:
    """One posed frame: its files, and the calibration of colour and depth in their own pixels."""

    name: str
    image: Path
    depth: Path
    labels: Path
    intrinsics: np.ndarray
    depth_intrinsics: np.ndarray
    camera_to_world: np.ndarray


@dataclass(frozen=True, eq=False)
class FrameScene:
    """A scene's frames in time order.

    Attributes:
        class_of: class id of each instance id; None where classes are not known.
        read_labels: file to (H, W) instance ids, 0 = none.
        scan: the scene's own scan; None where there is none.
    """

    frames: tuple[Frame, ...]
    class_of: dict[int, int] | None = None
    read_labels: Callable[[Path], np.ndarray] = field(default=read_grey)
    scan: ScanFiles | None = None


class FrameSamples(SceneSamples[FrameScene]):
    """Samples of `views` frames of one scene, by the gaps and the overlap of the settings."""

    def read(self, name: str, scene: FrameScene, random: np.random.Generator) -> Sample:
        """Frames of one scene; lengths are metres, and nothing moves."""
        frames = self._choose(scene, random)
        images, depths, labels, cameras = zip(*(self._read_frame(scene, frame) for frame in frames), strict=True)
        ids = stack_labels(labels)
        classes = None
        if scene.class_of is not None:
            table = torch.zeros(max([*scene.class_of, int(ids.max()), 0]) + 1, dtype=torch.int64)
            for instance, class_id in scene.class_of.items():
                table[instance] = class_id
            classes = table[ids]
        return Sample(
            stack_images(images),
            stack_floats(depths),
            ids,
            classes,
            stack_floats(cameras),
            stack_floats([frame.camera_to_world for frame in frames]),
            moments=torch.zeros(len(frames)),
            cameras=tuple(frame.name for frame in frames),
            source=f"{name} frames {', '.join(frame.name for frame in frames)}",
            scan=scene.scan,
        )

    def _choose(self, scene: FrameScene, random: np.random.Generator) -> list[Frame]:
        """The first choice whose views overlap enough, or the one with most overlap."""
        best: tuple[float, list[Frame]] | None = None
        for _ in range(self.config.tries):
            frames = [scene.frames[number] for number in choose_frames(len(scene.frames), self.config, random)]
            if not self.config.least_overlap or len(frames) == 1:
                return frames
            shared = overlap(frames)
            if best is None or shared > best[0]:
                best = (shared, frames)
            if shared >= self.config.least_overlap:
                break
        assert best is not None
        return best[1]

    def _read_frame(self, scene: FrameScene, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image, depth, instance ids and intrinsics at the size of the sample."""
        image = read_rgb(frame.image)
        place = placement((image.shape[0], image.shape[1]), self.config)
        to_depth = frame.depth_intrinsics @ np.linalg.inv(frame.intrinsics)
        depth = place_map(read_depth(frame.depth), place, to_depth)
        labels = place_map(scene.read_labels(frame.labels), place)
        return place_image(image, place), depth, labels, place.network_intrinsics(frame.intrinsics)


def read_depth(path: Path) -> np.ndarray:
    """(H, W) float32 metres of a PNG of 16 bits in millimetres.

    Raises:
        BadInput: missing, damaged or of 8 bits.
    """
    pixels = read_grey(path)
    if pixels.dtype != np.uint16:
        raise BadInput(f"{path}: expected depth of 16 bits in millimetres, got {pixels.dtype}")
    return pixels * MILLIMETRE


def overlap(frames: list[Frame]) -> float:
    """The least share of the first frame's measured surface that falls into the image of each other one, hidden or
    not."""
    first = frames[0]
    depth = read_depth(first.depth)
    step = max(depth.shape[1] // COLUMNS, 1)
    thinned = np.diag([1 / step, 1 / step, 1.0]) @ first.depth_intrinsics
    points = lift(depth[::step, ::step], thinned, first.camera_to_world)
    known = points[np.isfinite(points).all(axis=-1)]
    if not len(known):
        return 0.0
    shares = []
    for other in frames[1:]:
        pixels, ahead = project(known, other.depth_intrinsics, other.camera_to_world)
        shares.append(float(inside(pixels, ahead, (depth.shape[0], depth.shape[1])).mean()))
    return min(shares)
