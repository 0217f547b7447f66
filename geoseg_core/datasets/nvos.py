"""NVOS (Ren et al., "Neural Volumetric Object Selection", 2022): scribbles in one view, the mask of another one.

    LABELS/reference_image/fern/IMG_4038.JPG                       the view with the scribbles
          /scribbles/fern/pos_0_fern.png, neg_0_fern.png           on the object, beside it; black = none
          /masks/fern/IMG_4027.JPG, IMG_4027_mask.png              the view that is measured, and its truth
    ROOT/fern/images/IMG_4026.JPG ...                              all views (LLFF); or fern_undistort

LABELS is the release's `labels/llff`, or ROOT where all lie in one folder. The scenes horns_center and horns_left are
two objects of `horns`. The scribbles of orchids mark three of seven petals; MV-SAM's table leaves the scene out, and so
is it here.
"""

from functools import partial
from pathlib import Path

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.files import subfolders
from geoseg_core.datasets.marked import MarkedSamples, MarkedScene, by_stem, images_in, only, scene_images
from geoseg_core.errors import BadInput

LEFT_OUT = ("orchids",)


def nvos_samples(root: Path, labels: Path, config: ReaderConfig) -> MarkedSamples:
    """A sample for each object.

    Args:
        labels: the folder with reference_image, scribbles and masks.

    Raises:
        BadInput: no scene that can be used.
    """
    references = subfolders(labels / "reference_image", "a folder for each scene")
    names = [path.name for path in references if path.name not in LEFT_OUT]
    return MarkedSamples([(name, partial(open_scene, root, labels, name)) for name in names], config)


def open_scene(root: Path, labels: Path, name: str) -> MarkedScene:
    """The files of an object.

    Raises:
        BadInput: one that is missing, or of which there are several.
    """
    place, scribbles, truths = (labels / part / name for part in ("reference_image", "scribbles", "masks"))
    marked = only(images_in(place), place, "one image, of the view with the scribbles")
    on, beside = (
        only([path for path in images_in(scribbles) if path.stem.startswith(kind)], scribbles, f"one image {kind}*.png")
        for kind in ("pos", "neg")
    )
    masks = [path for path in images_in(truths) if path.stem.endswith("_mask")]
    truth = only(masks, truths, "one image *_mask.png")
    whole = name.partition("_")[0]
    folders = [root / f"{each}{suffix}" for each in (name, whole) for suffix in ("", "_undistort")]
    folder = next((each for each in folders if each.is_dir()), None)
    if folder is None:
        raise BadInput(f"{root}: expected the images of {name} in one of {[each.name for each in folders]}, found none")
    images = scene_images(folder, [marked.stem, truth.stem.removesuffix("_mask")], by_stem)
    return MarkedScene(tuple(images), on, beside, {1: truth})
