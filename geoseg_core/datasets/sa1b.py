"""SA-1B and folders of its form: photographs with masks of everything, one JSON file beside each.

    ROOT/**/sa_1.jpg
    ROOT/**/sa_1.json   {"image": {"width": W, "height": H, "file_name": "sa_1.jpg", ...},
                         "annotations": [{"segmentation": {"size": [H, W], "counts": "..."},
                                          "predicted_iou": 0.9, "stability_score": 0.95, ...}, ...]}

`counts` is a COCO run length, as text (compressed) or as a list. Masks overlap: smaller ones lie on top of larger ones.
A sample has one view; instance ids are 1, 2, ... from the largest mask to the smallest. Masks whose quality is given
and below the least are left out.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import IMAGE_SUFFIXES, read_json, read_rgb
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.scene_samples import SceneSamples
from geoseg_core.datasets.sizing import place_image, place_map, placement, stack_images, stack_labels
from geoseg_core.errors import BadInput
from geoseg_core.run_lengths import decode_coco

LEAST_QUALITY = 0.8


class Sa1bSamples(SceneSamples[tuple[Path, Path]]):
    """One sample of one view for each photograph with a JSON file; uses height, width, fit of the settings.

    Raises:
        BadInput: no such pair of files.
    """

    def __init__(self, root: Path, config: ReaderConfig, least_quality: float = LEAST_QUALITY) -> None:
        self.least_quality = least_quality
        annotations = sorted(root.rglob("*.json"))
        super().__init__(((str(path.relative_to(root)), partial(find_image, path)) for path in annotations), config)

    def read(self, name: str, scene: tuple[Path, Path], random: np.random.Generator) -> Sample:
        """The photograph and its masks."""
        image = read_rgb(scene[0])
        size = (image.shape[0], image.shape[1])
        labels = paint(read_masks(scene[1], size, self.least_quality), size)
        place = placement(size, self.config)
        return Sample(
            stack_images([place_image(image, place)]),
            instance_ids=stack_labels([place_map(labels, place)]),
            cameras=("photograph",),
            metric=False,
            source=f"sa-1b {name}",
        )


def find_image(annotation: Path) -> tuple[Path, Path]:
    """The image beside an annotation, and the annotation.

    Raises:
        BadInput: there is none.
    """
    for suffix in IMAGE_SUFFIXES:
        if annotation.with_suffix(suffix).is_file():
            return annotation.with_suffix(suffix), annotation
    raise BadInput(f"{annotation}: expected an image {annotation.stem}.jpg beside it, found none")


def read_masks(path: Path, size: tuple[int, int], least_quality: float) -> list[np.ndarray]:
    """The masks (H, W) bool of one annotation.

    Raises:
        BadInput: not as published, or masks of another size than the image.
    """
    annotations = read_json(path).get("annotations")
    if not isinstance(annotations, list):
        raise BadInput(f"{path}: expected a list of annotations, got {type(annotations).__name__}")
    return [_mask(each, size, path) for each in annotations if _quality(each) >= least_quality]


def paint(masks: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) int64 ids of masks: 1 for the largest, and smaller ones on top."""
    labels = np.zeros(size, np.int64)
    ordered = sorted((mask for mask in masks if mask.any()), key=lambda mask: -int(mask.sum()))
    for number, mask in enumerate(ordered, 1):
        labels[mask] = number
    return labels


def _quality(annotation: Any) -> float:
    """The worse of its two qualities; 1 where none is given."""
    facts = annotation if isinstance(annotation, dict) else {}
    values = [facts.get(name) for name in ("predicted_iou", "stability_score")]
    return min([float(value) for value in values if isinstance(value, (int, float))], default=1.0)


def _mask(annotation: Any, size: tuple[int, int], path: Path) -> np.ndarray:
    segmentation = annotation.get("segmentation") if isinstance(annotation, dict) else None
    try:
        mask = decode_coco(segmentation)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    if mask.shape != size:
        raise BadInput(f"{path}: expected masks of the image's size {size}, got {mask.shape}")
    return mask
