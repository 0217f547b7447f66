"""SPIn-NeRF (Mirzaei et al., 2023): masks of one object in many views, for multi-view segmentation.

    LABELS/fern (llff)/image000.png, image001.png ...      the object's masks; black = something else
                      /image000_pseudo.png, _cutout.png    of the authors' method, not read
    ROOT/fern/images_4/image000.png ...                    all views (LLFF and others), in folders of the scenes' names

LABELS is the release's folder of annotations, by default ROOT/MVSeg_data. What stands in brackets behind a scene's name
is the data set that its images come from. A mask has the name of its image; or that with 0_ or 1_ before it (Truck and
lego); or imageNNN, NNN being the number of the image among all, from 0. The first mask by name is what is marked, with
all that is beside it; the others are the truth. Images of pinecone are no longer offered; MV-SAM's table leaves the
scene out, and so is it here.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import subfolders
from geoseg_core.datasets.marked import MarkedSamples, MarkedScene, by_stem, images_in, scene_images
from geoseg_core.errors import BadInput

LEFT_OUT = ("pinecone",)
NOT_TRUTH = ("_pseudo", "_cutout")
NUMBERED, SPLIT = re.compile(r"image(\d+)"), re.compile(r"[01]_(.+)")


def spin_nerf_samples(root: Path, labels: Path, config: ReaderConfig) -> MarkedSamples:
    """A sample for each scene.

    Args:
        labels: the folder with the folders of masks.

    Raises:
        BadInput: no scene that can be used.
    """
    folders = {short_name(path): path for path in subfolders(labels, "a folder of masks for each scene")}
    opened = [(name, partial(open_scene, root, path)) for name, path in folders.items() if name not in LEFT_OUT]
    return MarkedSamples(opened, config)


def short_name(labels: Path) -> str:
    """The scene's name in tables: "fern (llff)" is fern, "lego_real_night_radial" lego."""
    return labels.name.partition(" (")[0].partition("_")[0].lower()


def open_scene(root: Path, labels: Path) -> MarkedScene:
    """The files of a scene.

    Raises:
        BadInput: less than two masks, no folder of its images, or a mask without an image.
    """
    masks = [path for path in images_in(labels) if not path.stem.endswith(NOT_TRUTH)]
    if len(masks) < 2:
        raise BadInput(f"{labels}: expected masks of two views at least, got {[path.name for path in masks]}")
    wanted = labels.name.partition(" (")[0].lower()
    folders = [path for path in subfolders(root, "a folder of images for each scene") if path.name.lower() == wanted]
    if not folders:
        raise BadInput(f"{root}: expected the images of {labels.name!r} in a folder {wanted!r}, found none")
    images = scene_images(folders[0], [path.stem for path in masks], image_of)
    return MarkedScene(tuple(images), masks[0], None, dict(enumerate(masks[1:], 1)))


def image_of(name: str, images: Sequence[Path]) -> int:
    """Number of the image that a mask's name means, -1 where there is none."""
    found = by_stem(name, images)
    if found < 0 and (split := SPLIT.fullmatch(name)):
        found = by_stem(split[1], images)
    if found < 0 and (numbered := NUMBERED.fullmatch(name)) and int(numbered[1]) < len(images):
        found = int(numbered[1])
    return found
