"""What VGGT-S shows its network of an ego and an exo view, in both passes and both directions.

The first pass finds, with whole frames, about where the object is; the second one looks there closely. A source is cut
out around its mask, an exo target around the points that the first pass found; an ego target stays whole.
"""

from dataclasses import dataclass

import numpy as np

from geoseg_core.cross_view.union_head.anchors import spread_points
from geoseg_core.cross_view.union_head.config import EgoExoConfig
from geoseg_core.cross_view.union_head.windows import Window
from geoseg_core.errors import BadInput

# For each context: boxes up to the first number get the second as their side, then it grows by the third a pixel. All
# in pixels of a frame whose shorter side is REFERENCE_PX; boxes above LARGE_BOX_PX get that whole side.
CONTEXTS = {3.0: (50, 180, 2.4), 2.0: (80, 270, 2.25), 1.5: (100, 360, 1.8)}
REFERENCE_PX = 540
LARGE_BOX_PX = 200


@dataclass(frozen=True, eq=False)
class ExoTarget:
    """Where to look in an exo view.

    Attributes:
        window: what the network sees.
        kept_px: (N, 2) coarse points in the frame, without the dropped ones, farthest from the median first.
        points_px: (points, 2) float32 prompts in the window.
        box_px: larger side of the box of the kept points.
    """

    window: Window
    kept_px: np.ndarray
    points_px: np.ndarray
    box_px: float


def whole(frame: tuple[int, int], side: int) -> Window:
    """A whole frame (height, width), stretched to a square where it is none."""
    return Window(frame, 0, 0, frame[1], frame[0], (side, side))


def exo_square(mask: np.ndarray, side: int) -> Window:
    """The square over the whole shorter side of a frame with that mask (H, W), around the mask's mean.

    Raises:
        BadInput: an empty mask.
    """
    height, width = mask.shape
    places = np.nonzero(mask)
    if len(places[0]) == 0:
        raise BadInput("expected a mask with at least one pixel, got an empty one; mark the object")
    short, long = min(height, width), max(height, width)
    middle = int(places[1 if width >= height else 0].mean())
    start = min(max(middle - short // 2, 0), long - short)
    left, top = (start, 0) if width >= height else (0, start)
    return Window((height, width), left, top, short, short, (side, side))


def source_window(mask: np.ndarray, share: float) -> Window:
    """The square around a mask (H, W) in a view of that size, which is enlarged to the whole view again.

    An empty mask leaves the view as it is.
    """
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return Window((height, width), 0, 0, width, height, (height, width))
    extents = (np.ptp(columns) + 1, np.ptp(rows) + 1)
    side = min(max(int(height / share), *map(int, extents)), height, width)
    left, top = (
        int(np.clip((int(each.min()) + int(each.max())) // 2 - side // 2, 0, length - side))
        for each, length in ((columns, width), (rows, height))
    )
    return Window((height, width), left, top, side, side, (height, width))


def exo_target(points_px: np.ndarray, frame: tuple[int, int], config: EgoExoConfig) -> ExoTarget:
    """The window around coarse points (N, 2) in a frame (height, width), and the prompts in it."""
    height, width = frame
    points = np.asarray(points_px, np.float64).clip(0, (width - 1, height - 1))
    kept = without_outliers(points, config.dropped)
    low, high = kept.min(axis=0), kept.max(axis=0)
    box = float((high - low).max())
    side = window_side(box, min(frame), config.context)
    left, top = (
        int(np.clip(round(middle - side / 2), 0, length - side))
        for middle, length in zip((low + high) / 2, (width, height), strict=True)
    )
    window = Window(frame, left, top, side, side, (config.side, config.side))
    return ExoTarget(window, kept, spread_points(window.clipped(kept).astype(np.float32), config.points), box)


def without_outliers(points_px: np.ndarray, dropped: int) -> np.ndarray:
    """Points (N, 2) without those farthest from their median, farthest first; at least one stays."""
    distances = np.linalg.norm(points_px - np.median(points_px, axis=0), axis=1)
    return points_px[np.argsort(-distances)[min(dropped, len(points_px) - 1) :]]


def window_side(box_px: float, short_px: int, context: float) -> int:
    """Side of the window for an object of that size in a frame with that shorter side."""
    scale = short_px / REFERENCE_PX
    box = box_px / scale
    if context not in CONTEXTS or box > LARGE_BOX_PX:
        return short_px
    start, least, slope = CONTEXTS[context]
    return int(scale * (least if box < start else slope * (box - start) + least))
