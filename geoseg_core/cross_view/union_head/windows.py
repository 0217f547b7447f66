"""Windows: a rectangle of a frame at the size of a network's input, and the exact way there and back.

Points follow the released convention: p in the frame stands at (p - corner) * size / side, without half pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.errors import BadInput

# Logit of what a window does not show.
UNSEEN = -32.0


@dataclass(frozen=True)
class Window:
    """A rectangle of a frame.

    Attributes:
        frame: (height, width) of the frame.
        left, top, width, height: the rectangle, in whole pixels of the frame.
        size: (height, width) that it gets.
    """

    frame: tuple[int, int]
    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]

    def __post_init__(self) -> None:
        inside = 0 <= self.left <= self.frame[1] - self.width and 0 <= self.top <= self.frame[0] - self.height
        if not inside or min(self.width, self.height, *self.size) < 1:
            raise BadInput(f"expected a window inside a frame of {self.frame[1]}x{self.frame[0]}, got {self.box}")

    @property
    def box(self) -> tuple[int, int, int, int]:
        """left, top, right, bottom; the last two exclusive."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @property
    def _scale(self) -> np.ndarray:
        return np.array((self.size[1] / self.width, self.size[0] / self.height))

    def to_window(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the frame in the window; they may lie outside."""
        return (np.asarray(points_px) - (self.left, self.top)) * self._scale

    def to_frame(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the window in the frame."""
        return np.asarray(points_px) * (self.width / self.size[1], self.height / self.size[0]) + (self.left, self.top)

    def clipped(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the frame in the window, moved onto it."""
        return self.to_window(points_px).clip(0, (self.size[1] - 1, self.size[0] - 1))

    def image(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 of the frame -> (h, w, 3) uint8, resampled by area."""
        return cv2.resize(self._cut(image), self.size[::-1], interpolation=cv2.INTER_AREA)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) of the frame -> (h, w), the nearest pixel up and left."""
        return nearest(self._cut(mask), self.size)

    def logits_to_frame(self, logits: Tensor) -> Tensor:
        """Logits (N, h, w) of the window in the frame, (N, H, W); UNSEEN around it."""
        left, top, right, bottom = self.box
        resized = F.interpolate(logits[:, None], (self.height, self.width), mode="bilinear", align_corners=False)
        canvas = torch.full((len(logits), *self.frame), UNSEEN, dtype=logits.dtype, device=logits.device)
        canvas[:, top:bottom, left:right] = resized[:, 0]
        return canvas

    def _cut(self, array: np.ndarray) -> np.ndarray:
        if array.shape[:2] != self.frame:
            raise BadInput(f"expected a frame of {self.frame[1]}x{self.frame[0]}, got shape {array.shape}")
        left, top, right, bottom = self.box
        return array[top:bottom, left:right]


@dataclass(frozen=True)
class Letterbox:
    """A whole frame whose longer side fills a square, at its top left; the rest is grey.

    Attributes:
        frame: (height, width) of the frame.
        side: of the square.
        patch: the shorter side becomes a multiple of it.
        one_scale: as released, points return by the scale of the longer side alone, though the shorter one was rounded.
    """

    frame: tuple[int, int]
    side: int
    patch: int = 14
    one_scale: bool = True

    GREY = 114

    @property
    def resized(self) -> tuple[int, int]:
        """(height, width) of the frame in the square."""
        height, width = self.frame
        long, short = max(height, width), min(height, width)
        rounded = round(short * (self.side / long) / self.patch) * self.patch
        return (rounded, self.side) if width >= height else (self.side, rounded)

    def image(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (side, side, 3) uint8."""
        canvas = np.full((self.side, self.side, 3), self.GREY, np.uint8)
        height, width = self.resized
        canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return canvas

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) -> (side, side)"""
        canvas = np.zeros((self.side, self.side), mask.dtype)
        height, width = self.resized
        canvas[:height, :width] = nearest(mask, (height, width))
        return canvas

    def to_frame(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the square in the frame."""
        if self.one_scale:
            return np.asarray(points_px) * max(self.frame) / self.side
        return np.asarray(points_px) * (self.frame[1] / self.resized[1], self.frame[0] / self.resized[0])


def nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at another size: pixel i shows floor(i * (1 / (out / in))), formed in float64."""
    rows, columns = (
        np.minimum(np.floor(np.arange(out) * (1 / (out / given))).astype(np.intp), given - 1)
        for out, given in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
