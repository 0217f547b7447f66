"""What of a trained MV-SAM, or of what it sees, is changed when it is measured: tables 6, 12, 13 and 14 of the paper.

    point_noise    Gaussian noise on the points that the decoder sees, in deviations of the scene's points, axis by axis
    low_share, standardised    settings of the decoder (`MvSamConfig`)
    views          the first so many cameras of each set
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from geoseg_core.config import build_from_words
from geoseg_core.datasets.marked import MarkedSample
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.prompting.mv_sam.model import MvSam, Prepared
from geoseg_core.prompting.mv_sam.positions import frame_of

POINT_NOISE, VIEWS = "point_noise", "views"
SETTINGS = ("low_share", "standardised")
OPTIONS = (POINT_NOISE, *SETTINGS, VIEWS)


@dataclass(frozen=True)
class Variation:
    """What is changed: by option, the words to measure with.

    Raises:
        BadConfig: several words for more than one option, or numbers of views that are none.
    """

    words: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn as one curve."""
        lists = [name for name, words in self.words.items() if len(words) > 1]
        if len(lists) > 1:
            raise BadConfig(f"expected several values for one option at most, got them for {lists}; measure in turn")
        wrong = [word for word in self.words.get(VIEWS, ()) if not word.isdigit() or int(word) < 1]
        if wrong:
            raise BadConfig(f"{VIEWS}: expected numbers from 1, got {wrong}")

    @property
    def listed(self) -> str:
        """The option with several words; "" where none has."""
        return next((name for name, words in self.words.items() if len(words) > 1), "")

    @property
    def views(self) -> tuple[int, ...]:
        """The numbers of views; none where the data say it."""
        return tuple(int(word) for word in self.words.get(VIEWS, ()))

    def changes(self) -> list[dict[str, str]]:
        """What is changed of the decoder and of what it sees, in turn; one empty one where nothing is."""
        names = [name for name in self.words if name != VIEWS]
        return [dict(zip(names, words, strict=True)) for words in itertools.product(*(self.words[n] for n in names))]


def change_settings(decoder: MvSam, changes: Mapping[str, str]) -> None:
    """Use a trained decoder with other settings, by name and word.

    Raises:
        BadConfig: a value that a setting refuses.
    """
    words = [f"{name}={word}" for name, word in changes.items() if name in SETTINGS]
    decoder.config = build_from_words(decoder.config, words)


def noise_of(changes: Mapping[str, str]) -> float:
    """The deviation of the noise.

    Raises:
        BadConfig: not a number, or a negative one.
    """
    word = changes.get(POINT_NOISE, "0")
    try:
        noise = float(word)
    except ValueError:
        noise = -1.0
    if not 0 <= noise < float("inf"):
        raise BadConfig(f"{POINT_NOISE}: expected 0 or more deviations of the scene's points, got {word!r}")
    return noise


@torch.inference_mode()
def with_noise(decoder: MvSam, prepared: Prepared, noise: float) -> Prepared:
    """A scene whose points have noise, always the same."""
    points, confidence = prepared.scene.points, prepared.scene.confidence
    frame = frame_of(points.flatten(1, 3), confidence.flatten(1), standardised=True, low_share=0.0)
    drawn = torch.randn(points.shape, generator=torch.Generator().manual_seed(0)).to(points)
    moved = points + noise * frame.deviation[:, None, None, None] * drawn
    return decoder.prepare(replace(prepared.scene, points=moved))


def with_views(sample: Sample, count: int, cameras: int) -> Sample:
    """The first `count` cameras of a sample that sees so many `cameras` at each of its moments."""
    if count == cameras:
        return sample
    kept = [view for view in range(len(sample.images)) if view % cameras < count]
    known: dict[str, Any] = {name: value[kept] for name, value in sample.tensors().items()}
    if isinstance(sample, MarkedSample):
        known["scored"] = tuple(view for view in sample.scored if view < count)
    return replace(sample, **known, cameras=tuple(sample.cameras[view] for view in kept) if sample.cameras else ())
