"""Any folder of photographs, with masks of everything in them where a segmenter is at hand."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import IMAGE_SUFFIXES, read_rgb
from geoseg_core.datasets.sa1b import paint
from geoseg_core.datasets.sample import Sample
from geoseg_core.datasets.scene_samples import SceneSamples
from geoseg_core.datasets.sizing import place_image, place_map, placement, stack_images, stack_labels
from geoseg_core.errors import MissingExtra

# (H, W, 3) uint8 RGB to masks (H, W) bool.
Segmenter = Callable[[np.ndarray], list[np.ndarray]]
SAM = "facebook/sam-vit-base"


class PhotographSamples(SceneSamples[Path]):
    """One sample of one view for each JPEG and PNG below a folder; uses height, width, fit of the settings.

    Args:
        segment: makes the masks; without it a sample has no instance ids.

    Raises:
        BadInput: no photograph.
    """

    def __init__(self, root: Path, config: ReaderConfig, segment: Segmenter | None = None) -> None:
        self.segment = segment
        paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        super().__init__(((str(path.relative_to(root)), partial(Path, path)) for path in paths), config)

    def read(self, name: str, scene: Path, random: np.random.Generator) -> Sample:
        """The photograph; the masks are made at its own size."""
        image = read_rgb(scene)
        size = (image.shape[0], image.shape[1])
        place = placement(size, self.config)
        labels = None if self.segment is None else place_map(paint(self.segment(image), size), place)
        return Sample(
            stack_images([place_image(image, place)]),
            instance_ids=None if labels is None else stack_labels([labels]),
            cameras=("photograph",),
            metric=False,
            source=f"photograph {name}",
        )


def sam_segmenter(model: str = SAM, device: str = "cpu") -> Segmenter:
    """Masks of everything by a model of the SAM family, through the package transformers.

    Args:
        model: a name on the model hub, or a folder.

    Raises:
        MissingExtra: transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise MissingExtra("masks of photographs", "vocabulary")
    from PIL import Image
    from transformers import pipeline

    generate = pipeline("mask-generation", model=model, device=device)

    def segment(image: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(mask, bool) for mask in generate(Image.fromarray(image))["masks"]]

    return segment
