"""Images of any size to the size a network takes, and the exact way back for pixels, maps and masks.

Sizes and placing are those of the published loaders (VGGT: crop or pad to a nominal side; Pi3: a budget of pixels),
as is the resampling (Pillow's bicubic and Lanczos kernels, widened when shrinking, rounded to 8 bits after each axis).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.geometry.inference import PIXEL_BUDGET

LANCZOS_LOBES = 3
# Where the bilinear and the nearest sample of a map differ by more than this part, an edge runs between.
EDGE_RATIO = 0.03


@dataclass(frozen=True)
class Placement:
    """How an image stands in the network's input, all (height, width) or (row, column) in pixels.

    Attributes:
        source: size of the image.
        resized: its size in the network's input.
        offset: where its first pixel comes to stand; negative where it was cropped.
        canvas: size of the network's input.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]

    def to_network(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) u, v of the image to the network's input; integers are pixel centres."""
        return (np.asarray(points_px) + 0.5) * self._scale - 0.5 + self._shift

    def to_source(self, points_px: np.ndarray) -> np.ndarray:
        """Points (..., 2) u, v of the network's input to the image."""
        return (np.asarray(points_px) - self._shift + 0.5) / self._scale - 0.5

    def source_intrinsics(self, intrinsics: np.ndarray) -> np.ndarray:
        """Pinhole matrix (3, 3) of the network's input to that of the image."""
        back = np.eye(3)
        back[:2, :2] = np.diag(1 / self._scale)
        back[:2, 2] = self.to_source(np.zeros(2))
        return back @ intrinsics

    def network_intrinsics(self, intrinsics: np.ndarray) -> np.ndarray:
        """Pinhole matrix (3, 3) of the image to that of the network's input."""
        there = np.eye(3)
        there[:2, :2] = np.diag(self._scale)
        there[:2, 2] = self.to_network(np.zeros(2))
        return there @ intrinsics

    def map_to_source(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """A map (C, h, w) of the network's input at the pixels of the image: (C, H, W) and (H, W) bool, whether the
        network saw the pixel. Bilinear, but the nearest value beside edges, so that no value is made up there."""
        grid, seen = image_grid(self)
        smooth, nearest = (
            F.grid_sample(values[None], grid.to(values), mode=mode, padding_mode="border", align_corners=True)[0]
            for mode in ("bilinear", "nearest")
        )
        beside_edge = (smooth - nearest).abs() > EDGE_RATIO * nearest.abs()
        return torch.where(beside_edge, nearest, smooth), seen.to(values.device)

    def logits_to_source(self, logits: Tensor, unseen: float) -> Tensor:
        """Logits (N, h, w) of the network's input at the pixels of the image, (N, H, W); bilinear, and `unseen` where
        the network saw nothing."""
        if self.offset == (0, 0) and self.resized == self.canvas:  # it saw all, which needs no grid
            return F.interpolate(logits[None], self.source, mode="bilinear", align_corners=False)[0]
        grid, seen = image_grid(self)
        smooth = F.grid_sample(logits[None], grid.to(logits), padding_mode="border", align_corners=True)[0]
        return torch.where(seen.to(logits.device), smooth, unseen)

    def map_to_network(self, values: np.ndarray) -> np.ndarray:
        """A map (H, W) of the image, such as measured depth, at the pixels of the network's input (h, w): the nearest
        value, 0 on the margins."""
        height, width = self.canvas
        u = self.to_source(np.stack((np.arange(width), np.zeros(width)), axis=-1))[:, 0]
        v = self.to_source(np.stack((np.zeros(height), np.arange(height)), axis=-1))[:, 1]
        columns, rows = np.rint(u).astype(np.intp), np.rint(v).astype(np.intp)
        within_rows, within_columns = (rows >= 0) & (rows < self.source[0]), (columns >= 0) & (columns < self.source[1])
        nearest = values[np.ix_(rows.clip(0, self.source[0] - 1), columns.clip(0, self.source[1] - 1))]
        return np.where(within_rows[:, None] & within_columns, nearest, 0)

    def nearest_to_source(self, values: np.ndarray) -> np.ndarray:
        """A map (h, w) of the network's input, such as a mask or labels, at the pixels of the image (H, W): the nearest
        value, 0 where it was cropped."""
        height, width = self.source
        u = self.to_network(np.stack((np.arange(width), np.zeros(width)), axis=-1))[:, 0]
        v = self.to_network(np.stack((np.zeros(height), np.arange(height)), axis=-1))[:, 1]
        columns, rows = np.rint(u).astype(np.intp), np.rint(v).astype(np.intp)
        seen_rows, seen_columns = (rows >= 0) & (rows < self.canvas[0]), (columns >= 0) & (columns < self.canvas[1])
        inside = values[np.ix_(rows.clip(0, self.canvas[0] - 1), columns.clip(0, self.canvas[1] - 1))]
        return np.where(seen_rows[:, None] & seen_columns, inside, np.zeros((), values.dtype))

    @property
    def _scale(self) -> np.ndarray:
        return np.array((self.resized[1] / self.source[1], self.resized[0] / self.source[0]))

    @property
    def _shift(self) -> np.ndarray:
        return np.array((self.offset[1], self.offset[0]), np.float64)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def image_grid(place: Placement) -> tuple[Tensor, Tensor]:
    """Where the pixels of an image lie in the network's input, (1, H, W, 2) x, y, from -1 to 1 between the centres of
    its outermost pixels, and whether they do, (H, W) bool."""
    height, width = place.source
    u = place.to_network(np.stack((np.arange(width), np.zeros(width)), axis=-1))[:, 0]
    v = place.to_network(np.stack((np.zeros(height), np.arange(height)), axis=-1))[:, 1]
    rows, columns = place.canvas
    across, down = (torch.from_numpy(2 * at / max(size - 1, 1) - 1) for at, size in ((u, columns), (v, rows)))
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None].float()
    seen_rows, seen_columns = (v > -0.5) & (v < rows - 0.5), (u > -0.5) & (u < columns - 0.5)
    return grid, torch.from_numpy(seen_rows[:, None] & seen_columns)


def vggt_placement(source: tuple[int, int], fit: str = "crop", side: int = 518, patch: int = 14) -> Placement:
    """Size and place of one image (height, width) for VGGT.

    "crop": the width becomes `side`; what is taller than `side` loses top and bottom. "pad": the longer side becomes
    `side`, and white margins make a square.

    Raises:
        BadInput: so long and thin an image that less than half a patch is left of its other side.
    """
    height, width = source
    if fit == "pad" and height > width:
        resized = (side, _multiple(width * (side / height), patch))
    else:
        resized = (_multiple(height * (side / width), patch), side)
    if min(resized) == 0:
        raise BadInput(f"expected an image of at least one patch of {patch} px at width {side}, got {width}x{height}")
    if fit == "pad":
        return Placement(source, resized, ((side - resized[0]) // 2, (side - resized[1]) // 2), (side, side))
    cut = max((resized[0] - side) // 2, 0)
    return Placement(source, resized, (-cut, 0), (min(resized[0], side), side))


def common_canvas(placements: Sequence[Placement]) -> list[Placement]:
    """Placements on one canvas: smaller ones are centred on the largest height and width."""
    height, width = (max(each.canvas[axis] for each in placements) for axis in (0, 1))
    moved = []
    for each in placements:
        top, left = (height - each.canvas[0]) // 2, (width - each.canvas[1]) // 2
        offset = (each.offset[0] + top, each.offset[1] + left)
        moved.append(Placement(each.source, each.resized, offset, (height, width)))
    return moved


def pi3_size(source: tuple[int, int], budget: int = PIXEL_BUDGET, patch: int = 14) -> tuple[int, int]:
    """Size (height, width) of all images for Pi3, from the first one: at most `budget` pixels of about its aspect.

    Raises:
        BadInput: no pixels, or so long and thin an image that less than half a patch is left of one side.
    """
    height, width = source
    if min(source) == 0:
        raise BadInput(f"expected an image with pixels, got {width}x{height}")
    scale = math.sqrt(budget / (width * height))
    columns, rows = round(width * scale / patch), round(height * scale / patch)
    while columns * patch * rows * patch > budget:
        if columns / rows > width / height:
            columns -= 1
        else:
            rows -= 1
    if min(columns, rows) == 0:
        raise BadInput(f"expected an image whose sides fit patches of {patch} px, got {width}x{height}")
    return rows * patch, columns * patch


def pi3_placements(sources: Sequence[tuple[int, int]], budget: int = PIXEL_BUDGET, patch: int = 14) -> list[Placement]:
    """Every image stretched to the size that the first one asks for."""
    size = pi3_size(sources[0], budget, patch)
    return [Placement(source, size, (0, 0), size) for source in sources]


def network_images(images: Sequence[np.ndarray], placements: Sequence[Placement], kernel: str) -> Tensor:
    """(V, 3, h, w) float32 in [0, 1]: images (H, W, 3) uint8 as placed; margins are white.

    Args:
        kernel: "bicubic" (VGGT), "lanczos" (Pi3) or "quick" (the small network).
    """
    height, width = placements[0].canvas
    batch = torch.ones(len(images), 3, height, width)
    for index, (image, place) in enumerate(zip(images, placements, strict=True)):
        resized = torch.from_numpy(resample(image, place.resized, kernel)).permute(2, 0, 1)
        top, left = place.offset
        rows = slice(max(top, 0), min(top + place.resized[0], height))
        columns = slice(max(left, 0), min(left + place.resized[1], width))
        kept = resized[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        batch[index, :, rows, columns] = kept / 255
    return batch


def resample(image: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """(H, W, 3) uint8 to (height, width, 3) uint8: columns first, rounded, then rows.

    "quick" is torch's own bicubic: twenty times quicker, and a level or two off what the published networks saw.
    """
    if kernel == "quick":
        channels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        found = F.interpolate(channels, size, mode="bicubic", antialias=True)
        return np.asarray(found[0].permute(1, 2, 0).numpy())
    wide = _weighted(torch.from_numpy(np.ascontiguousarray(image)).float(), size[1], kernel, 1)
    return _weighted(wide, size[0], kernel, 0).to(torch.uint8).numpy()


def _weighted(image: Tensor, size: int, kernel: str, axis: int) -> Tensor:
    if image.shape[axis] == size:
        return image
    weights = _weights(image.shape[axis], size, kernel)
    summed = torch.tensordot(weights, image, dims=([1], [axis])).movedim(0, axis)
    return (summed + 0.5).floor().clamp(0, 255)


@lru_cache(32)
def _weights(length: int, size: int, kernel: str) -> Tensor:
    """(size, length) weights of the old pixels in each new one."""
    shape, reach = KERNELS[kernel]
    scale = length / size
    wider = max(scale, 1.0)
    centres = (np.arange(size) + 0.5) * scale
    low = np.maximum((centres - reach * wider + 0.5).astype(np.intp), 0)[:, None]
    high = np.minimum((centres + reach * wider + 0.5).astype(np.intp), length)[:, None]
    pixels = np.arange(length)
    weights = shape((pixels - centres[:, None] + 0.5) / wider) * ((pixels >= low) & (pixels < high))
    with torch.inference_mode(False):
        return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < LANCZOS_LOBES, np.sinc(x) * np.sinc(x / LANCZOS_LOBES), 0)


KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bicubic": (_cubic, 2),
    "lanczos": (_lanczos, LANCZOS_LOBES),
}


def _multiple(length: float, patch: int) -> int:
    """The nearest multiple of a patch; halves go to the even one."""
    return round(length / patch) * patch
