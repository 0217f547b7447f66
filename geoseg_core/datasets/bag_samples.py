"""RosbagSamples: any set of a bag of this package's format as a sample, read on demand."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.rosbag import BagSequence, SetReference
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.scene_samples import SceneSamples
from geoseg_core.datasets.sizing import place_image, place_map, placement, stack_floats, stack_images, stack_labels
from geoseg_core.errors import BadInput
from geoseg_core.geometry.network_input import Placement
from geoseg_core.views import View


class RosbagSamples(SceneSamples[SetReference]):
    """One sample for each set of a bag: the first camera (ego) and others of the same instant, drawn at random.

    Instance ids are those of the bag for objects of role "object"; tables, robots and the like have 0, unless their ids
    are asked for too. Class ids number the classes that the bag names for objects of role "object" in the order of the
    alphabet, from 1. What a bag lacks (depth, labels, poses) is None. Uses views, height, width, fit and seed of the
    settings.

    Args:
        path: an .mcap file or a rosbag2 folder.
        sets: how many sets, evenly spread over the bag; 0 for all.
        all_ids: whether tables, robots and the like have their ids.

    Attributes:
        sequence: the bag.

    Raises:
        BadInput: the bag is refused, or no set has so many views.
    """

    def __init__(self, path: str | Path, config: ReaderConfig, sets: int = 0, all_ids: bool = False) -> None:
        self.sequence = BagSequence(path)
        found = [each for each in self.sequence.references() if len(_cameras(each)) >= config.views]
        if not found:
            raise BadInput(f"bag {path}: expected sets of {config.views} views, got cameras {self.sequence.cameras}")
        if sets:
            found = [found[place] for place in np.unique(np.linspace(0, len(found) - 1, sets).round().astype(int))]
        objects = [each for each in self.sequence.objects if each.role == "object"]
        classes = sorted({each.class_name for each in objects if each.class_name})
        self._class_of = np.zeros(65536, np.int64)
        self._keeps_id = np.zeros(65536, np.int64)
        self._keeps_id[[each.id for each in self.sequence.objects if all_ids or each.role == "object"]] = 1
        for each in objects:
            self._class_of[each.id] = classes.index(each.class_name) + 1 if each.class_name else 0
        super().__init__(((f"set {each.stamp_ns}", partial(_itself, each)) for each in found), config)

    def read(self, name: str, scene: SetReference, random: np.random.Generator) -> Sample:
        """One set of the bag."""
        first, *others = _cameras(scene)
        chosen = {first, *random.permutation(others)[: self.config.views - 1].tolist()}
        places = {key: place for key, place in scene.places.items() if key[0] in chosen}
        labelled = self.sequence.read(SetReference(scene.stamp_ns, places, scene.missing))
        views = labelled.frames.views
        sizes = [placement(view.size, self.config) for view in views]
        depths, poses = _complete(view.depth_m for view in views), _complete(view.camera_to_world for view in views)
        labels = _complete(labelled.labels.get(view.camera) for view in views) if self.sequence.objects else None
        cameras = [place.network_intrinsics(_calibrated(view)) for view, place in zip(views, sizes, strict=True)]
        ids = None if labels is None else stack_labels(_placed(labels, sizes))
        return Sample(
            stack_images([place_image(view.image, place) for view, place in zip(views, sizes, strict=True)]),
            None if depths is None else stack_floats(_placed(depths, sizes)),
            None if ids is None else ids * torch.from_numpy(self._keeps_id)[ids],
            None if ids is None else torch.from_numpy(self._class_of)[ids],
            stack_floats(cameras),
            None if poses is None else stack_floats(poses),
            moments=_seconds(views),
            cameras=labelled.frames.cameras,
            source=f"{self.sequence.path.name} {name}: {', '.join(labelled.frames.cameras)}",
        )


def _complete(values: Iterable[np.ndarray | None]) -> list[np.ndarray] | None:
    """All values, or None where one is lacking."""
    listed = list(values)
    known = [each for each in listed if each is not None]
    return known if len(known) == len(listed) else None


def _placed(maps: list[np.ndarray], sizes: list[Placement]) -> list[np.ndarray]:
    return [place_map(each, place) for each, place in zip(maps, sizes, strict=True)]


def _itself(reference: SetReference) -> SetReference:
    return reference


def _cameras(reference: SetReference) -> list[str]:
    """Cameras of a set, in its order."""
    return [camera for camera, kind in reference.places if kind == "image"]


def _calibrated(view: View) -> np.ndarray:
    assert view.intrinsics is not None, "a bag's cameras have camera_info, or it is refused"
    return view.intrinsics


def _seconds(views: tuple[View, ...]) -> torch.Tensor:
    """Times of the views after the first one; whole stamps would lose their digits in float32."""
    return torch.tensor([(view.stamp_ns - views[0].stamp_ns) / 1e9 for view in views])
