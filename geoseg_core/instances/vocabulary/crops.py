"""What of an image shows one instance: a square round its mask, with what is not the instance blurred.

CLIP and SigLIP were trained on whole pictures: they want a picture of the thing. Square cut-outs round the mask are
what OpenMask3D (Takmaz et al., NeurIPS 2023) gives them. In clutter these hold neighbours too, and the embedding tells
no longer which of the things is meant. Blanking the rest out makes pictures unlike any seen in training (Liang et al.,
"Open-Vocabulary Semantic Segmentation with Mask-adapted CLIP", CVPR 2023); of the ways to mark a mask without training,
blurring what lies outside did best (Yang et al., "Fine-Grained Visual Prompting", NeurIPS 2023). Pooling patch tokens
under the mask (MaskCLIP) needs one pass for all instances, but changes the last attention layer of each model.
"""

import cv2
import numpy as np

BLUR_CELLS = 6  # blurred surroundings keep so many colours along each side


def instance_crop(
    image: np.ndarray, mask: np.ndarray, side: int, margin: float, surroundings: str, grey: np.ndarray
) -> np.ndarray:
    """A picture (side, side, 3) uint8 of what a mask (H, W) bool, not empty, shows of an image (H, W, 3) uint8.

    Nothing outside the square matters, with the surroundings "grey" nothing outside the mask, and with "blurred" its
    rough colours do.

    Args:
        margin: how far the square goes beyond the mask, as a part of the mask's longer side.
        surroundings: what becomes of the rest of the square: "blurred", "grey" or "kept".
        grey: (3,) colour of what lies outside the image, and of grey surroundings.
    """
    low, high = bounds(mask)
    edge = max(int(np.ceil((high - low).max() * (1 + 2 * margin))), 1)
    corner = (low + high - edge) // 2
    picture = window(image, corner, edge, grey.astype(np.uint8))
    shown = window(mask, corner, edge, np.zeros((), bool))
    if surroundings == "blurred":
        cells = cv2.resize(picture, (BLUR_CELLS, BLUR_CELLS), interpolation=cv2.INTER_AREA)
        rest = cv2.resize(cells, (edge, edge), interpolation=cv2.INTER_LINEAR)
        picture = np.where(shown[..., None], picture, rest)
    elif surroundings == "grey":
        picture = np.where(shown[..., None], picture, grey.astype(np.uint8))
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if edge > side else cv2.INTER_CUBIC)


def bounds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First (row, column) of a mask (H, W) bool, and the one after its last."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], columns[0]]), np.array([rows[-1], columns[-1]]) + 1


def window(values: np.ndarray, corner: np.ndarray, edge: int, outside: np.ndarray) -> np.ndarray:
    """A square (edge, edge, ...) of an image (H, W, ...) whose first pixel is `corner` (row, column), which may lie
    outside; there stands the value `outside`."""
    square = np.empty((edge, edge, *values.shape[2:]), values.dtype)
    square[:] = outside
    low = np.maximum(corner, 0)
    high = np.minimum(corner + edge, values.shape[:2])
    top, left = low - corner
    bottom, right = high - corner
    square[top:bottom, left:right] = values[low[0] : high[0], low[1] : high[1]]
    return square
