"""Images, depth and labels brought to the size of a sample, with the calibration that belongs to them.

Pixel centres are whole numbers everywhere: resizing by s maps u to (u + 0.5) * s - 0.5.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.network_input import Placement

# The grey of margins, as the published readers of Ego-Exo4D have it.
MARGIN = 114


def placement(source: tuple[int, int], config: ReaderConfig) -> Placement:
    """How an image of `source` (height, width) comes to stand in a sample's.

    Raises:
        BadConfig: one of height and width is 0, but not the other.
    """
    height, width = config.height, config.width
    if (height == 0) != (width == 0):
        raise BadConfig(f"expected height and width both 0 or both positive, got {height} and {width}")
    if not height:
        return Placement(source, source, (0, 0), source)
    scales = height / source[0], width / source[1]
    scale = max(scales) if config.fit == "crop" else min(scales)
    resized = (max(round(source[0] * scale), 1), max(round(source[1] * scale), 1))
    return Placement(source, resized, ((height - resized[0]) // 2, (width - resized[1]) // 2), (height, width))


def place_image(image: np.ndarray, place: Placement) -> np.ndarray:
    """(h, w, 3) uint8 of an (H, W, 3) uint8 image: pixels averaged when shrinking, bilinear when enlarging."""
    shrinking = place.resized[0] < place.source[0]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    resized = image if place.resized == place.source else cv2.resize(image, place.resized[::-1], interpolation=method)
    height, width = place.canvas
    canvas = np.full((height, width, 3), MARGIN, np.uint8)
    (top, left), (inner_top, inner_left) = np.maximum(place.offset, 0), -np.minimum(place.offset, 0)
    rows, columns = min(place.resized[0], height), min(place.resized[1], width)
    canvas[top : top + rows, left : left + columns] = resized[
        inner_top : inner_top + rows, inner_left : inner_left + columns
    ]
    return canvas


def place_map(values: np.ndarray, place: Placement, image_to_map: np.ndarray | None = None) -> np.ndarray:
    """(h, w) nearest values of a map (depth or labels); 0 outside of it.

    Args:
        image_to_map: (3, 3) homography from pixels of the image to those of the map; by default the map covers the
            image, in its own resolution.
    """
    if image_to_map is None:
        across, down = values.shape[1] / place.source[1], values.shape[0] / place.source[0]
        image_to_map = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
    rows, columns = np.mgrid[: place.canvas[0], : place.canvas[1]]
    points = place.to_source(np.stack((columns, rows), axis=-1).reshape(-1, 2))
    homogeneous = np.concatenate((points, np.ones((len(points), 1))), axis=1) @ image_to_map.T
    # The least bit keeps ties (u.5) from going to the even neighbour, so that halving is the same everywhere.
    u, v = np.floor(homogeneous[:, :2] / homogeneous[:, 2:] + 0.5 + 1e-9).T.astype(np.intp)
    within_image = _inside(points, place.source)
    within = within_image & (u >= 0) & (v >= 0) & (u < values.shape[1]) & (v < values.shape[0])
    found = np.zeros(len(points), values.dtype)
    found[within] = values[v[within], u[within]]
    return found.reshape(place.canvas)


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    limit = np.array((size[1], size[0])) - 0.5
    return np.asarray(((points > -0.5) & (points < limit)).all(axis=1))


def stack_images(images: Sequence[np.ndarray]) -> Tensor:
    """(V, 3, H, W) float32 in [0, 1] of (H, W, 3) uint8 images of one size."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def stack_labels(labels: Sequence[np.ndarray]) -> Tensor:
    """(V, H, W) int64."""
    return torch.from_numpy(np.stack(labels).astype(np.int64))


def stack_floats(values: Sequence[np.ndarray]) -> Tensor:
    """Arrays of one shape as float32."""
    return torch.from_numpy(np.stack(values).astype(np.float32))
