"""Pictures of carried masks: each object in the source, and beside it the target with what was found and the truth."""

from collections.abc import Sequence

import cv2
import numpy as np

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.masks import Carried
from geoseg_core.evaluation.pictures import MASK_WEIGHT, contact_sheet, scaled

SHOWN_OBJECTS = 3
HEIGHT_PX = 240
FOUND, TRUTH = (0, 210, 255), (255, 255, 255)


def masks_sheet(sample: Sample, carried: Sequence[Carried]) -> np.ndarray:
    """(H, W, 3) uint8: a row for each of a few objects in each direction, those with the most pixels in the target.

    In the source (left) the mask that was given is tinted, in the target (right) the one that was found; the white line
    is the truth. A sample without objects is shown as it is.
    """
    views = images_only(sample).views
    rows = [[scaled(view.image, HEIGHT_PX) for view in views]]
    titles = [" and ".join(view.camera for view in views)]
    for source, target in sorted({(each.source, each.target) for each in carried}):
        here = [each for each in carried if (each.source, each.target) == (source, target)]
        for each in sorted(here, key=lambda one: -int(one.truth.sum()))[:SHOWN_OBJECTS]:
            assert sample.instance_ids is not None
            given = sample.instance_ids[source].cpu().numpy() == each.object_id
            rows.append([
                tinted(views[source].image, given),
                outlined(tinted(views[target].image, each.found), each.truth, TRUTH),
            ])
            ends = f"{views[source].camera} to {views[target].camera}, object {each.object_id}"
            titles.append(f"{ends}: IoU {each.iou:.2f}, expected {each.score:.2f}")
    return contact_sheet(rows, titles)


def tinted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) at the height of the sheet, with a mask (H, W) and its outline."""
    picture, there = scaled(image, HEIGHT_PX), scaled_mask(mask)
    picture = np.where(there[..., None], (1 - MASK_WEIGHT) * picture + MASK_WEIGHT * np.array(FOUND), picture)
    return outlined(picture.round().astype(np.uint8), mask, FOUND)


def outlined(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A picture (h, w, 3) of the sheet with the outline of a mask (H, W)."""
    lines, _ = cv2.findContours(scaled_mask(mask).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), lines, -1, colour, 1, cv2.LINE_AA)


def scaled_mask(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) at the height of the sheet."""
    return scaled(mask.astype(np.uint8) * 255, HEIGHT_PX) > 127
