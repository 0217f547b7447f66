"""Samples together with what a frozen network says of them, each batch used several times.

Making scenes and running the network on them takes several times as long as a step of a head on top of it. With `uses`
above 1 a batch comes back, `apart` other new batches later, until it was used so often.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.instances.tiny.model import InstanceInput

GIVEN = tuple(each.name for each in fields(InstanceInput))
MADE = tuple(name for name in GIVEN if name != "images")


@dataclass(frozen=True)
class ReuseConfig:
    """How often scenes are seen again."""

    uses: int = setting(4, "how often each batch is used", "", 1, 1000)
    apart: int = setting(30, "new batches from one use of a batch to its next", "", 1, 100_000)


@dataclass(frozen=True, eq=False)
class SeenSample(Sample):
    """A batch of samples with what is taken of the network's output for them (see `InstanceInput`)."""

    tokens: Tensor | None = None
    coarse: Tensor | None = None
    fused: Tensor | None = None
    log_depth: Tensor | None = None
    nowhere: Tensor | None = None

    @staticmethod
    def of(batch: Sample, given: InstanceInput) -> "SeenSample":
        """A batch with what the network said of it."""
        known = {each.name: getattr(batch, each.name) for each in fields(Sample)}
        return SeenSample(**known, **{name: getattr(given, name) for name in MADE})

    @property
    def given(self) -> InstanceInput:
        """What the network said."""
        return InstanceInput(**{name: getattr(self, name).float() for name in GIVEN})

    def tensors(self) -> dict[str, Tensor]:
        """All that is known, by name."""
        return super().tensors() | {name: getattr(self, name) for name in MADE}


class Reused:
    """New batches, and earlier ones again; which ones depends on the step alone.

    Args:
        make: a batch from the number of the step that it is made for first, and its seeds.
    """

    def __init__(self, make: Callable[[int, Sequence[int]], SeenSample], config: ReuseConfig, batch: int) -> None:
        self.make, self.config, self.batch = make, config, batch
        self._kept: dict[int, SeenSample] = {}

    def __call__(self, step: int, seeds: Sequence[int]) -> SeenSample:
        """The batch of a step, given the seeds that a new one would have."""
        number = self.number(step)
        oldest = step // self.config.uses - (self.config.uses - 1) * self.config.apart
        self._kept = {each: kept for each, kept in self._kept.items() if each >= oldest}
        if number not in self._kept:
            before = (step - number) * self.batch
            made = self.make(number, [seed - before for seed in seeds])
            self._kept[number] = stored(made)
        return self._kept[number]

    def number(self, step: int) -> int:
        """Which new batch, counted from 0, is used in a step."""
        newest, use = divmod(step, self.config.uses)
        return (newest - use * self.config.apart) % (newest + 1) if use else newest


def stored(batch: SeenSample) -> SeenSample:
    """A batch without what no loss needs, in types that take less room."""
    small: dict[str, Any] = {name: getattr(batch, name).bfloat16() for name in ("tokens", "coarse", "fused", "images")}
    return replace(batch, **small, depth=None)
