"""Masks whose edges are drawn to those of the image: the guided filter (He, Sun and Tang, "Guided Image Filtering",
2010), quick for large images (He and Sun, "Fast Guided Filter", 2015).

In each small window the answer is taken for a linear function of the colours there; a pixel gets the mean of all
windows that it lies in. The functions change slowly: in large images they are found some pixels apart.
"""

import cv2
import numpy as np

# Half the side of a window, as a part of the image's shorter side.
RADIUS = 1 / 80
# Pixels of half a window, when functions are found some pixels apart.
KEPT = 2
# Variance of colours, of 0 to 1, below which a window is flat: the answer is smoothed there.
FLAT = 1e-3
# Larger logits say no more than these; and what is not farther than this below 0 is looked at.
SURE = 4.0
NEAR = -2.0


def sharpened(logits: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Logits (H, W) by the edges of their image (H, W, 3) uint8; those far from any mask stay as they are."""
    radius = max(round(RADIUS * min(logits.shape)), 1)
    left, top, width, height = cv2.boundingRect((logits > NEAR).astype(np.uint8))
    if not width:
        return logits
    rows = slice(max(top - 2 * radius, 0), top + height + 2 * radius)
    columns = slice(max(left - 2 * radius, 0), left + width + 2 * radius)
    given = logits[rows, columns].clip(-SURE, SURE).astype(np.float32)
    found = logits.copy()
    found[rows, columns] = guided(given, image[rows, columns].astype(np.float32) / 255, radius)
    return found


def guided(values: np.ndarray, image: np.ndarray, radius: int) -> np.ndarray:
    """Values (H, W) as linear functions of an image (H, W, 3) in windows."""
    apart = max(radius // KEPT, 1)
    size = (max(values.shape[1] // apart, 1), max(values.shape[0] // apart, 1))
    window = (2 * (radius // apart) + 1,) * 2

    def fewer(maps: np.ndarray) -> np.ndarray:
        return maps if apart == 1 else cv2.resize(maps, size, interpolation=cv2.INTER_AREA)

    def mean(maps: np.ndarray) -> np.ndarray:
        return cv2.blur(np.ascontiguousarray(maps), window)

    some_image, some_values = fewer(image), fewer(values)
    colours, value = mean(some_image), mean(some_values)
    shared = mean(some_image * some_values[..., None]) - colours * value[..., None]
    products = [mean(some_image[..., first : first + 1] * some_image) for first in range(3)]
    spread = np.stack(products, axis=-2) - colours[..., :, None] * colours[..., None, :] + FLAT * np.eye(3)
    slope = np.linalg.solve(spread, shared[..., None])[..., 0]
    offset = value - (slope * colours).sum(axis=-1)
    function = mean(np.concatenate((slope, offset[..., None]), axis=-1).astype(np.float32))
    if apart > 1:
        function = cv2.resize(function, values.shape[::-1], interpolation=cv2.INTER_LINEAR)
    found: np.ndarray = np.einsum("hwc,hwc->hw", function[..., :3], image) + function[..., 3]
    return found
