"""A prompt in one image becomes a mask, by the colours of that image alone.

Where no depth is measured, a box or points are grown to a region by GrabCut (Rother et al., 2004).
"""

import cv2
import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.prompts import Prompt

# A region grown from points reaches at most this part of the image's shorter side beyond them.
REACH = 0.16
# What lies this near to a point, as a part of the reach, probably belongs to it.
CORE = 0.3
DOT_PX = 2
ROUNDS = 3


def image_mask(image: np.ndarray, prompt: Prompt) -> np.ndarray:
    """The mask (H, W) bool that a prompt asks for in its image (H, W, 3); points correct a mask or a box.

    Raises:
        BadInput: nothing is found at the prompted place.
    """
    if prompt.has_mask:
        mask = np.array(prompt.mask, bool)
    elif prompt.box_px is not None:
        mask = cut(image, box_guess(image.shape[:2], prompt.box_px))
    else:
        mask = np.zeros(image.shape[:2], bool)
    wanted, unwanted = prompt.points_px[prompt.positive], prompt.points_px[~np.asarray(prompt.positive, bool)]
    missing = wanted[~mask[pixels(wanted)]]
    if len(missing):
        mask |= region(image, missing, unwanted)
    wrong = unwanted[mask[pixels(unwanted)]]
    if len(wrong):
        mask &= ~region(image, wrong, wanted)
    if not mask.any():
        raise BadInput(f"prompt in {prompt.camera!r}: found nothing there; draw a box around the thing, or a mask")
    return mask


def region(image: np.ndarray, points_px: np.ndarray, others_px: np.ndarray) -> np.ndarray:
    """The regions (H, W) bool of like colours around points (N, 2), without those of others (M, 2)."""
    size = image.shape[:2]
    classes, reach = np.full(size, cv2.GC_BGD, np.uint8), REACH * min(size)
    paint(classes, points_px, reach, cv2.GC_PR_BGD)
    paint(classes, points_px, CORE * reach, cv2.GC_PR_FGD)
    paint(classes, points_px, DOT_PX, cv2.GC_FGD)
    paint(classes, others_px, DOT_PX, cv2.GC_BGD)
    return touched(cut(image, classes), points_px)


def box_guess(size: tuple[int, int], box_px: np.ndarray) -> np.ndarray:
    """Classes (H, W) uint8 of GrabCut for a box (4,)."""
    classes = np.full(size, cv2.GC_BGD, np.uint8)
    low, high = np.floor(box_px[:2] + 0.5).astype(int), np.floor(box_px[2:] + 0.5).astype(int) + 1
    classes[max(low[1], 0) : high[1], max(low[0], 0) : high[0]] = cv2.GC_PR_FGD
    return classes


def pixels(points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of points (N, 2)."""
    columns, rows = np.rint(points_px).astype(int).T
    return rows, columns


def paint(classes: np.ndarray, points_px: np.ndarray, radius: float, value: int) -> None:
    """Discs of a class around points (N, 2)."""
    for column, row in np.rint(points_px).astype(int):
        cv2.circle(classes, (int(column), int(row)), max(round(radius), 1), int(value), -1)


def cut(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What GrabCut says of an image (H, W, 3) and its first classes (H, W): (H, W) bool."""
    rows, columns = np.nonzero(classes != cv2.GC_BGD)
    mask = np.zeros(classes.shape, bool)
    if len(rows) == 0:
        return mask
    margin = 8
    window = (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin + 1),
        slice(max(int(columns.min()) - margin, 0), int(columns.max()) + margin + 1),
    )
    inner = classes[window].copy()
    sure, likely = ((inner == each) for each in (cv2.GC_BGD, cv2.GC_PR_BGD))
    if not sure.any() and not likely.any():
        # GrabCut wants something to tell the thing from.
        inner[[0, -1]] = cv2.GC_BGD
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    patch, unused = np.ascontiguousarray(image[window]), (0, 0, 1, 1)
    cv2.grabCut(patch, inner, unused, models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask[window] = (inner == cv2.GC_FGD) | (inner == cv2.GC_PR_FGD)
    return mask


def touched(mask: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """The parts of a mask (H, W) on which one of the points (N, 2) lies."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    kept = np.unique(parts[pixels(points_px)])
    return np.isin(parts, kept[kept > 0])
