"""Photographs of a folder as pages of texture. Needs OpenCV, which the worlds themselves do not."""

from pathlib import Path

import cv2
import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.imaging import decode_compressed, to_rgb
from geoseg_core.synthetic.textures import PAGE

MOST = 64
GAMMA = 2.2
SUFFIXES = (".png", ".jpg", ".jpeg")


def read_photographs(folder: str) -> list[np.ndarray]:
    """Linear RGB (3, PAGE, PAGE) of the middle squares of at most 64 photographs, spread over the sorted names.

    Raises:
        BadInput: no such folder, none in it, or one that can't be read.
    """
    names = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in SUFFIXES)
    if not names:
        raise BadInput(f"photographs: expected a folder with PNG or JPEG files, got {folder!r}")
    chosen = [names[index * len(names) // min(MOST, len(names))] for index in range(min(MOST, len(names)))]
    return [_page(path) for path in chosen]


def _page(path: Path) -> np.ndarray:
    image = to_rgb(decode_compressed(path.read_bytes(), path.suffix.lower().lstrip(".")))
    side = min(image.shape[:2])
    top, left = ((size - side) // 2 for size in image.shape[:2])
    square = cv2.resize(image[top : top + side, left : left + side], (PAGE, PAGE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray((square / 255.0).astype(np.float32).transpose(2, 0, 1) ** GAMMA)
