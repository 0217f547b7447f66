"""Clips: one scene over time, set by set, with the truth."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.masks_evaluator import EGO
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

COVER_GREY, COVER_NOISE = 0.12, 0.02


@dataclass(frozen=True, eq=False)
class Clip:
    """Sets of the same cameras in the order of time, the ego view first.

    Attributes:
        name: for messages.
        times_ms: of each set, from the first one on.
        read: gives the set of a number: the views of that moment.
    """

    name: str
    times_ms: tuple[int, ...]
    read: Callable[[int], Sample]

    def __len__(self) -> int:
        return len(self.times_ms)

    def thinned(self, every: int, sets: int) -> "Clip":
        """Each `every`-th set, and of these the first ones, so many as `sets` says; 0 for all."""
        kept = range(len(self))[::every][: sets or None]
        return Clip(self.name, tuple(self.times_ms[each] for each in kept), lambda number: self.read(kept[number]))

    def blacked_out(self, first_s: float, last_s: float) -> "Clip":
        """The same with the ego camera covered from one time to another, both included.

        Raises:
            BadInput: no set is of that time, or the first one or the last one is.
        """
        dark = {
            number for number, time in enumerate(self.times_ms) if round(1e3 * first_s) <= time <= round(1e3 * last_s)
        }
        if not dark or {0, len(self) - 1} & dark:
            raise BadInput(
                f"{self.name}: expected a blackout of sets between the first one and the last one, at "
                f"{self.times_ms[-1] / 1e3:g} s, got one from {first_s:g} to {last_s:g} s"
            )
        return Clip(
            self.name,
            self.times_ms,
            lambda number: covered(self.read(number), number) if number in dark else self.read(number),
        )


def covered(sample: Sample, seed: int) -> Sample:
    """A sample with instance ids whose ego image is dark grey with noise and shows no object."""
    assert sample.instance_ids is not None
    images, ids = sample.images.clone(), sample.instance_ids.clone()
    noise = torch.randn(images[EGO].shape, generator=torch.Generator().manual_seed(seed))
    images[EGO], ids[EGO] = (COVER_GREY + COVER_NOISE * noise).clamp(0, 1), 0
    return replace(sample, images=images, instance_ids=ids)


def world_clips(seeds: Iterable[int], config: WorldsConfig) -> list[Clip]:
    """The world of each seed over its moments, seen by the ego view and one exo view."""
    worlds = Worlds(config)
    times_ms = tuple(round(1e3 * config.time_step_s * number) for number in range(config.moments))

    @lru_cache(maxsize=1)
    def rendered(seed: int) -> Sample:
        return worlds.sample(seed, 1)

    def clip(seed: int) -> Clip:
        return Clip(f"world {seed}", times_ms, lambda number: views_of(rendered(seed), 2 * number, 2 * number + 2))

    return [clip(seed) for seed in seeds]


def views_of(sample: Sample, first: int, end: int) -> Sample:
    """Views `first` to `end` - 1 of a sample."""
    cut: dict[str, Any] = {name: value[first:end] for name, value in sample.tensors().items()}
    return replace(sample, **cut, cameras=sample.cameras[first:end])


def bag_clip(path: str | Path) -> Clip:
    """All sets of a bag in which every camera takes part.

    Raises:
        BadInput: the bag is refused, or has no such set.
    """
    views = len(BagSequence(path).cameras)
    samples = RosbagSamples(path, ReaderConfig(height=0, width=0, views=views))
    stamps_ns = [reference.stamp_ns for _, reference in samples.scenes]
    times_ms = tuple(round((stamp - stamps_ns[0]) / 1e6) for stamp in stamps_ns)

    def read(number: int) -> Sample:
        sample = samples[number]
        assert sample.moments is not None
        return replace(sample, moments=sample.moments + times_ms[number] / 1e3)

    return Clip(Path(path).name, times_ms, read)
