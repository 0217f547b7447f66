"""How well objects are followed through time. Nothing here knows a method, an encoder or a dataset.

Definitions, as the tables use them. An object is prompted once, with its true mask in the source view of the first set
of a clip; that set does not count. A view shows an object where the truth has `least_px` pixels of it or more, and
hides it where it has none.

- IoU: of the followed and the true mask, the mean over all sets, views and objects where the view shows the object.
- Single frame: the true mask of the source view of the same set, carried into the other views; nothing is found where
  the source view has no pixel of it. Gain: followed less single-frame IoU, in all views but the source.
- With occlusion: the source view or the view that counts has less than half of the object's usual pixels in that view:
  the median over the sets of the clip in which the view shows it.
- Absent accuracy: the share of sets, views and objects, the view hiding the object, in which no mask is found.
- An occlusion: a run of sets in which one view hides an object that it showed before, and shows again before it hides
  it once more. From the first of these sets to the set after the last one it is at least `occluded_s` long.
- Identity: after an occlusion, up to the next run of sets in which the view hides the object, the first five sets that
  show it are looked at. It is kept if the followed mask reaches IoU 0.5 with its truth in one of them, and with the
  truth of something else in none. It is taken over if the mask reaches that with something else.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from geoseg_core.config import setting
from geoseg_core.evaluation.masks import mean
from geoseg_core.evaluation.masks_evaluator import EGO

PARTS = ("all", "ego", "exo", "source", "others")
RETURN_SETS = 5
KEPT_IOU = 0.5
HIDDEN_SHARE = 0.5


@dataclass(frozen=True)
class TracksConfig:
    """What counts."""

    least_px: int = setting(64, "pixels of an object that a view shows, at least", "px", 1)
    occluded_s: float = setting(2.0, "how long an occlusion lasts, at least", "s", 0.0, 1e6)


@dataclass(frozen=True, eq=False)
class Track:
    """K objects that were prompted in one view and followed through S sets of V views.

    Attributes:
        source: number of the view with the prompts.
        times_ms: (S,) of each set.
        pixels: (S, V, K) of the truth.
        followed: (S, V, K) IoU of the followed mask with the truth.
        strayed: (S, V, K) highest IoU of the followed mask with the truth of something else.
        found: (S, V, K) bool, whether the followed mask has a pixel.
        single: (S, V, K) IoU of the single-frame mask with the truth; not used in the source view.
    """

    source: int
    times_ms: np.ndarray
    pixels: np.ndarray
    followed: np.ndarray
    strayed: np.ndarray
    found: np.ndarray
    single: np.ndarray

    def parts(self) -> dict[str, np.ndarray]:
        """Views (V,) bool by what they are, in the order of PARTS."""
        views = np.arange(self.pixels.shape[1])
        ego, source = views == EGO, views == self.source
        return dict(zip(PARTS, (np.ones_like(ego), ego, ~ego, source, ~source), strict=True))

    def shown(self, least_px: int, part: str) -> np.ndarray:
        """(S, V, K) bool, where objects count in some of the views."""
        counts = (self.pixels >= least_px) & self.parts()[part][:, None]
        counts[0] = False
        return counts

    def with_occlusion(self, least_px: int) -> np.ndarray:
        """(S, V, K) bool, where the view or the source view has less than half of the object's usual pixels."""
        seen = np.ma.masked_less(self.pixels, least_px)
        usual = np.ma.median(seen, axis=0).filled(0)  # (V, K)
        hidden = self.pixels < HIDDEN_SHARE * usual
        return hidden | hidden[:, [self.source]]


@dataclass(frozen=True)
class Occlusion:
    """A view hides an object in the sets `first` to `end` - 1; it shows it again in the sets `back`."""

    view: int
    thing: int
    first: int
    end: int
    back: tuple[int, ...]


def occlusions(track: Track, config: TracksConfig) -> Iterator[Occlusion]:
    """All occlusions of a track."""
    for view, thing in np.ndindex(track.pixels.shape[1:]):
        pixels = track.pixels[:, view, thing]
        shown = pixels >= config.least_px
        runs = hidden_runs(pixels)
        for (first, end), (limit, _) in pairwise([*runs, (len(pixels), 0)]):
            back = end + np.flatnonzero(shown[end:limit])[:RETURN_SETS]
            if not shown[:first].any() or not len(back):
                continue
            if track.times_ms[end] - track.times_ms[first] >= 1e3 * config.occluded_s:
                yield Occlusion(view, thing, first, end, tuple(back.tolist()))


def hidden_runs(pixels: np.ndarray) -> list[tuple[int, int]]:
    """Runs of sets without a pixel (S,): the first one and the one after the last one of each."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], pixels == 0, [False])).astype(int)))
    return [(first, end) for first, end in edges.reshape(-1, 2).tolist()]


def is_taken_over(track: Track, occlusion: Occlusion) -> bool:
    """Whether the mask is on something else when the object is back."""
    return bool((track.strayed[occlusion.back, occlusion.view, occlusion.thing] >= KEPT_IOU).any())


def is_kept(track: Track, occlusion: Occlusion) -> bool:
    """Whether the mask is on the object, and on nothing else, when it is back."""
    reached = track.followed[occlusion.back, occlusion.view, occlusion.thing] >= KEPT_IOU
    return bool(reached.any()) and not is_taken_over(track, occlusion)


def figures(tracks: Sequence[Track], config: TracksConfig) -> dict[str, Any]:
    """All figures of some tracks, with how many masks or occlusions they are of; None where there was none."""
    ious = {
        part: gathered(tracks, "followed", [each.shown(config.least_px, part) for each in tracks]) for part in PARTS
    }
    elsewhere = [each.shown(config.least_px, "others") for each in tracks]
    occluded = [where & each.with_occlusion(config.least_px) for each, where in zip(tracks, elsewhere, strict=True)]
    found = gathered(tracks, "found", [hides(each) for each in tracks])
    return {
        "iou": {part: mean(values) for part, values in ious.items()},
        "masks": {part: len(values) for part, values in ious.items()},
        "overall": against_single_frame(tracks, elsewhere),
        "with_occlusion": against_single_frame(tracks, occluded),
        "absent_accuracy": mean([not each for each in found]),
        "absent_masks": len(found),
        "identity": identity(tracks, config),
    }


def gathered(tracks: Sequence[Track], values: str, where: Sequence[np.ndarray]) -> list[float]:
    """Values of all tracks where (S, V, K) bool they are wanted."""
    return [one for each, wanted in zip(tracks, where, strict=True) for one in getattr(each, values)[wanted].tolist()]


def hides(track: Track) -> np.ndarray:
    """(S, V, K) bool, where a view hides an object."""
    hidden = track.pixels == 0
    hidden[0] = False
    return hidden


def against_single_frame(tracks: Sequence[Track], where: Sequence[np.ndarray]) -> dict[str, float | int | None]:
    """Mean IoU of followed and of single-frame masks where (S, V, K) bool they count, and by how much it is higher."""
    followed, single = (gathered(tracks, values, where) for values in ("followed", "single"))
    gains = np.subtract(followed, single).tolist()
    return {"iou": mean(followed), "single_frame_iou": mean(single), "gain": mean(gains), "masks": len(gains)}


def identity(tracks: Sequence[Track], config: TracksConfig) -> dict[str, float | int | None]:
    """Shares of the occlusions after which the identity was kept or taken over, and how many there were."""
    found = [(track, each) for track in tracks for each in occlusions(track, config)]
    kept, taken = ([test(*each) for each in found] for test in (is_kept, is_taken_over))
    return {"kept": mean(kept), "taken_over": mean(taken), "occlusions": len(found)}


def over_time(tracks: Sequence[Track], config: TracksConfig, kind: str) -> dict[str, list[tuple[float, float]]]:
    """Seconds and mean IoU in the ego views or exo views (`kind`), by how the masks came there."""
    curves = {
        "followed, prompted here": ("followed", "source"),
        "followed, prompted elsewhere": ("followed", "others"),
        "single frame": ("single", "others"),
    }
    return {name: curve(tracks, values, config.least_px, (kind, part)) for name, (values, part) in curves.items()}


def curve(tracks: Sequence[Track], values: str, least_px: int, parts: tuple[str, str]) -> list[tuple[float, float]]:
    """Seconds and mean of values over all tracks, in the views that are of both parts; NaN where nothing counts."""
    by_time: dict[int, list[float]] = defaultdict(list)
    for track in tracks:
        counts = np.logical_and(*(track.shown(least_px, part) for part in parts))
        for time, numbers, wanted in zip(track.times_ms.tolist(), getattr(track, values), counts, strict=True):
            by_time[time] += numbers[wanted].tolist()
    return [(time / 1e3, float(np.mean(numbers or [np.nan]))) for time, numbers in sorted(by_time.items())]
