"""What benchmarks of promptable segmentation have in common: views of one object that is marked in one of them.

NVOS and SPIn-NeRF only say where the files are (nvos.py, spin_nerf.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import IMAGE_SUFFIXES, read_rgb
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.scene_samples import SceneSamples
from geoseg_core.datasets.sizing import place_image, place_map, placement, stack_images, stack_labels
from geoseg_core.errors import BadInput

# Larger images are shrunk to so many pixels along the longer side: the size of LLFF's images_4.
LONGEST = 1008
# Where images of a scene lie, the first that has all of those that are named.
FOLDERS = ("images_4", "images", "train/rgb", "rgb")


@dataclass(frozen=True, eq=False)
class MarkedSample(Sample):
    """Views of one object, which has the id 1; the first of them is the one in which it is marked.

    Attributes:
        marks: (H, W) int64 of the first view: 1 where it is marked, -1 where something else is, 0 where nothing is.
        scored: the views whose ids are known; the others have 0 everywhere.
        scene: its name in the benchmark's table.
    """

    marks: Tensor = field(kw_only=True)
    scored: tuple[int, ...] = field(kw_only=True)
    scene: str = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class MarkedScene:
    """Files of a scene.

    Attributes:
        images: those of all views, the marked one first.
        on: mask of what is marked; beside: of what is marked as something else, all the rest if None.
        masks: the object's, by number of the view.
    """

    images: tuple[Path, ...]
    on: Path
    beside: Path | None
    masks: Mapping[int, Path]


class MarkedSamples(SceneSamples[MarkedScene]):
    """One sample for each scene: the marked view, then those with masks, then others, `views` of the settings in all
    where there are so many. Uses views, height, width and fit of the settings; without a height, the aspect stays.
    """

    def scene_sample(self, number: int) -> MarkedSample:
        """The sample of a scene; unlike that of the same number by `[]`, of no other one where it cannot be read.

        Raises:
            BadInput: it cannot be read.
        """
        sample = self.read(*self.scenes[number], np.random.default_rng(0))
        return sample.check()

    def read(self, name: str, scene: MarkedScene, random: np.random.Generator) -> MarkedSample:
        """Always the same views."""
        chosen = chosen_views(scene, self.config.views)
        images = [read_rgb(scene.images[view]) for view in chosen]
        places = [placement((image.shape[0], image.shape[1]), sized(images[0], self.config)) for image in images]
        ids = [
            place_map(read_mask(scene.masks[view]).astype(np.int64), place)
            if view in scene.masks
            else np.zeros(place.canvas, np.int64)
            for view, place in zip(chosen, places, strict=True)
        ]
        on = place_map(read_mask(scene.on).astype(np.int64), places[0])
        beside = 1 - on if scene.beside is None else place_map(read_mask(scene.beside).astype(np.int64), places[0])
        if not (on > 0).any():
            raise BadInput(f"{scene.on}: expected something marked, got nothing; fetch the file anew")
        return MarkedSample(
            stack_images([place_image(*each) for each in zip(images, places, strict=True)]),
            instance_ids=stack_labels(ids),
            cameras=tuple(scene.images[view].stem for view in chosen),
            metric=False,
            source=name,
            marks=stack_labels([on - beside])[0],
            scored=tuple(number for number, view in enumerate(chosen) if view in scene.masks),
            scene=name,
        )


def chosen_views(scene: MarkedScene, count: int) -> list[int]:
    """The marked view, then views with masks, then others: `count` of them, each kind evenly spread."""
    others = [view for view in range(1, len(scene.images)) if view not in scene.masks]
    chosen = [0, *spread(sorted(scene.masks), count - 1)]
    return chosen + spread(others, count - len(chosen))


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """So many of the numbers at most, evenly spread over them."""
    if count <= 0 or not numbers:
        return []
    places = np.unique(np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int))
    return [numbers[place] for place in places]


def sized(image: np.ndarray, config: ReaderConfig) -> ReaderConfig:
    """The settings with a size of the image's aspect, where they have none."""
    if config.height or config.width:
        return config
    height, width = image.shape[:2]
    scale = min(LONGEST / max(height, width), 1.0)
    return replace(config, height=round(height * scale), width=round(width * scale))


def read_mask(path: Path) -> np.ndarray:
    """(H, W) bool: where an image is not black.

    Raises:
        BadInput: missing or damaged.
    """
    return np.asarray(read_rgb(path).any(axis=-1))


def images_in(folder: Path) -> list[Path]:
    """The images in a folder, by name; none where there is no folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def only(paths: Sequence[Path], folder: Path, expected: str) -> Path:
    """The one path.

    Raises:
        BadInput: none, or several.
    """
    if len(paths) != 1:
        raise BadInput(f"{folder}: expected {expected}, got {[path.name for path in paths]}")
    return paths[0]


def scene_images(folder: Path, names: Sequence[str], find: Callable[[str, Sequence[Path]], int]) -> list[Path]:
    """The images of a scene, those with the names first.

    Args:
        find: number of the image of a name, -1 where there is none.

    Raises:
        BadInput: no folder with all of them.
    """
    lacking = {}
    for each in FOLDERS:
        images = images_in(folder / each)
        numbers = [find(name, images) for name in names]
        if images and -1 not in numbers:
            return [images[number] for number in [*numbers, *sorted(set(range(len(images))) - set(numbers))]]
        lacking[each] = [name for name, number in zip(names, numbers, strict=True) if number < 0][:3]
    raise BadInput(f"{folder}: expected images of all views in one of {list(FOLDERS)}, found none of {lacking}")


def by_stem(name: str, images: Sequence[Path]) -> int:
    """Number of the image with a name but for its suffix, -1 where there is none."""
    return next((number for number, path in enumerate(images) if path.stem == name), -1)
