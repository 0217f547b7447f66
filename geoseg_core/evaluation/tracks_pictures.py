"""Film strips of followed objects: a row for each view, a column for each of a few sets."""

from collections.abc import Sequence

import numpy as np

from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.masks_pictures import HEIGHT_PX, TRUTH, outlined
from geoseg_core.evaluation.pictures import contact_sheet, scaled, write
from geoseg_core.evaluation.tracks_evaluator import FollowedSet

COLUMNS = 8


def shown_sets(count: int) -> set[int]:
    """The sets of a strip, evenly spread over so many."""
    return set(np.linspace(0, count - 1, min(COLUMNS, count)).round().astype(int).tolist())


def film_strip(sets: Sequence[FollowedSet], source: int) -> np.ndarray:
    """(H, W, 3) uint8: the outlines of the found masks in the colours of their objects over the white one of the truth.

    Args:
        source: the view in which they were prompted.
    """
    first = sets[0].frames
    rows = [[picture(each, view, first.stamp_ns) for each in sets] for view in range(len(first.views))]
    titles = [f"{camera}: truth white, found coloured" for camera in first.cameras]
    titles[source] += "; prompted in the first set"
    return contact_sheet(rows, titles)


def picture(shown: FollowedSet, view: int, start_ns: int) -> np.ndarray:
    """(h, w, 3) uint8 one view of one set with its time."""
    drawn = scaled(shown.frames.views[view].image, HEIGHT_PX)
    for row, number in enumerate(shown.objects.tolist()):
        drawn = outlined(drawn, shown.labels[view] == number, TRUTH)
        drawn = outlined(drawn, shown.masks[view, row], colour_of(number))
    write(drawn, f"{(shown.frames.stamp_ns - start_ns) / 1e9:.1f} s", (6, 16))
    return drawn
