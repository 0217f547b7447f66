"""SceneSamples: what every reader has in common: scenes in a fixed order, samples drawn from them, and faults that are
counted and named instead of ending the walk.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import numpy as np

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput

Scene = TypeVar("Scene")


class SceneSamples(ABC, Generic[Scene]):
    """A map-style dataset: sample `index` belongs to scene `index % number of scenes`, and all that is chosen in it
    depends on (seed, index) alone. Opening reads no image.

    Attributes:
        scenes: those that can be used.
        faults: name of a scene to what was wrong with it: scenes left out when opened, and scenes in which a sample
            could not be read later on; such a sample is taken from the next scene.

    Raises:
        BadInput: no scene can be used.
    """

    def __init__(self, scenes: Iterable[tuple[str, Callable[[], Scene]]], config: ReaderConfig) -> None:
        """`scenes`: name of each, and what opens it or raises BadInput."""
        self.config = config
        self.faults: dict[str, str] = {}
        self.scenes: list[tuple[str, Scene]] = []
        for name, open_scene in scenes:
            try:
                self.scenes.append((name, open_scene()))
            except BadInput as error:
                self.faults[name] = str(error)
        if not self.scenes:
            raise BadInput(f"expected at least one usable scene, got none; {self.fault_report() or 'there is none'}")

    def __len__(self) -> int:
        return len(self.scenes) * self.config.samples_per_scene

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            IndexError: index out of range.
            BadInput: no scene gives a sample any more.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        for step in range(len(self.scenes)):
            name, scene = self.scenes[(index + step) % len(self.scenes)]
            try:
                return self.read(name, scene, np.random.default_rng((self.config.seed, index, step))).check()
            except BadInput as error:
                self.faults[name] = str(error)
        raise BadInput(f"expected a sample {index} from one of {len(self.scenes)} scenes; {self.fault_report()}")

    @abstractmethod
    def read(self, name: str, scene: Scene, random: np.random.Generator) -> Sample:
        """A sample of one scene.

        Raises:
            BadInput: the scene's files do not give one.
        """

    def fault_report(self) -> str:
        """How many scenes had faults, and what; "" where none had."""
        if not self.faults:
            return ""
        lines = [f"{len(self.faults)} scenes with faults:"]
        return "\n  ".join([*lines, *(f"{name}: {message}" for name, message in self.faults.items())])


def choose_frames(count: int, config: ReaderConfig, random: np.random.Generator) -> list[int]:
    """Numbers of `views` frames of a sequence in rising order, each step at random within the gaps; a sequence too
    short for them gets smaller ones.

    Raises:
        BadInput: fewer frames than views.
    """
    steps = config.views - 1
    if count <= steps:
        raise BadInput(f"expected at least {config.views} frames, got {count}")
    if not steps:
        return [int(random.integers(count))]
    longest = (count - 1) // steps
    low, high = min(config.least_gap, longest), min(max(config.least_gap, config.largest_gap), longest)
    gaps = random.integers(low, high + 1, size=steps)
    first = int(random.integers(count - int(gaps.sum())))
    return [first, *(first + np.cumsum(gaps)).tolist()]
