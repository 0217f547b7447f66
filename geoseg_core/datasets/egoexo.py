"""Ego-Exo4D correspondence: objects with masks in an ego view and exo views of one moment.

    ROOT/split.json                  {"train": [take, ...], "val": [...], "test": [...]}
    ROOT/TAKE/CAMERA/120.jpg         frames, numbered at 30 a second without padding; ego 704x704, exo 960x540
    ROOT/TAKE/annotation.json        {"masks": {object: {camera: {frame: {"size": [H, W], "counts": "..."}}}},
                                      "subsample_idx": [120, 150, ...]}

This is the layout in which the benchmark's frames and relations are prepared for training (1 frame a second). The
camera with "aria" in its name is the ego camera. Masks are COCO run lengths at the size of the recording (1408x1408,
2160x3840); the sample takes their nearest pixels. A frame counts where one object has a mask in the ego view and in as
many exo views as the sample needs. The benchmark annotates some objects in some views: id 0 also stands for "not
annotated". Neither depth nor cameras are known. Instance ids number the objects of a take by their names, from 1.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import read_json, read_rgb
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.scene_samples import SceneSamples
from geoseg_core.datasets.sizing import place_image, place_map, placement, stack_images, stack_labels
from geoseg_core.errors import BadInput
from geoseg_core.run_lengths import decode_coco

FRAME_RATE = 30
EGO = "aria"


@dataclass(frozen=True, eq=False)
class Take:
    """A take: its folder, ego camera, masks[object][camera][frame], and for each usable frame the exo cameras with a
    mask of an object that the ego camera sees too."""

    folder: Path
    ego: str
    masks: dict[str, dict[str, dict[str, Any]]]
    frames: list[tuple[str, list[str]]]


class EgoExoSamples(SceneSamples[Take]):
    """Samples of one moment: the ego view first, then exo views drawn at random.

    Args:
        split: whose takes are read.

    Raises:
        BadInput: no split.json, no such split, or no take that can be used.
    """

    def __init__(self, root: Path, config: ReaderConfig, split: str = "train") -> None:
        takes = read_json(root / "split.json").get(split)
        if not isinstance(takes, list):
            raise BadInput(f"{root / 'split.json'}: expected a list of takes for {split!r}, got {type(takes).__name__}")
        super().__init__(((str(take), partial(open_take, root / str(take), config.views)) for take in takes), config)

    def read(self, name: str, scene: Take, random: np.random.Generator) -> Sample:
        """One frame of a take."""
        frame, exo = scene.frames[int(random.integers(len(scene.frames)))]
        chosen = random.choice(exo, size=self.config.views - 1, replace=False).tolist()
        cameras = [scene.ego, *chosen]
        images, labels = zip(*(self._view(scene, camera, frame) for camera in cameras), strict=True)
        return Sample(
            stack_images(images),
            instance_ids=stack_labels(labels),
            moments=torch.full((len(cameras),), int(frame) / FRAME_RATE),
            cameras=("ego", *chosen),
            metric=False,
            source=f"ego-exo4d {name} frame {frame}: {', '.join(cameras)}",
        )

    def _view(self, take: Take, camera: str, frame: str) -> tuple[np.ndarray, np.ndarray]:
        image = read_rgb(take.folder / camera / f"{frame}.jpg")
        place = placement((image.shape[0], image.shape[1]), self.config)
        labels = np.zeros(place.canvas, np.int64)
        for number, name in enumerate(sorted(take.masks), 1):
            entry = take.masks[name].get(camera, {}).get(frame)
            if entry is not None:
                labels[place_map(_mask(entry, take.folder, name, camera, frame), place)] = number
        return place_image(image, place), labels


def open_take(folder: Path, views: int) -> Take:
    """A take with at least one usable frame.

    Raises:
        BadInput: no annotation, not as published, or no frame with an object in the ego and enough exo views.
    """
    path = folder / "annotation.json"
    masks = read_json(path).get("masks")
    levels = [masks, *_within(masks), *(frames for cameras in _within(masks) for frames in _within(cameras))]
    if not all(isinstance(each, dict) for each in levels):
        raise BadInput(f"{path}: expected masks by object, camera and frame, got {str(masks):.80}")
    ego = sorted({camera for cameras in masks.values() for camera in cameras if EGO in camera.lower()})
    if len(ego) != 1:
        raise BadInput(f"{path}: expected one camera with {EGO!r} in its name, got {ego}")
    seen: dict[str, set[str]] = defaultdict(set)
    for cameras in masks.values():
        for frame in cameras.get(ego[0], {}):
            seen[frame] |= {camera for camera, frames in cameras.items() if camera != ego[0] and frame in frames}
    usable = [(frame, sorted(exo)) for frame, exo in seen.items() if len(exo) >= views - 1 and frame.isdigit()]
    if not usable:
        raise BadInput(f"{path}: expected a frame with an object in {ego[0]} and {views - 1} other views, got none")
    return Take(folder, ego[0], masks, sorted(usable, key=lambda pair: int(pair[0])))


def _within(level: Any) -> list[Any]:
    return list(level.values()) if isinstance(level, dict) else []


def _mask(entry: Any, folder: Path, name: str, camera: str, frame: str) -> np.ndarray:
    try:
        return decode_coco(entry)
    except BadInput as error:
        raise BadInput(f"{folder / 'annotation.json'}: {name!r}, {camera}, frame {frame}: {error}") from error
