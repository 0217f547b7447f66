"""A finder for tests that finds what it is told to, on scenes with exact depth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scenes import Solid, render_set

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.instances.finder import FoundThings
from geoseg_core.instances.found_segmenter import FoundSegmenter
from geoseg_core.instances.segmenter import InstanceConfig
from geoseg_core.results import InstanceResult, ObjectEvent

STEP_NS = 100_000_000
SIZE = (120, 160)
LOOKS = 16


@dataclass(eq=False)
class ToldFinder:
    """Finds the labels below 100 of the set that comes, numbered anew in each set.

    Attributes:
        labels: true labels (H, W) of each view of the next set.
        alias: label to the label that it is found as; 0 = not found.
        looks: label to the number of its look, the label itself where it is not there.
    """

    labels: Sequence[np.ndarray] = ()
    alias: Mapping[int, int] = field(default_factory=dict)
    looks: Mapping[int, int] = field(default_factory=dict)
    method: str = "queries"
    sets: int = 0

    def find(self, scene: EncodedScene) -> FoundThings:
        self.sets += 1
        table = np.where(np.arange(1000) < 100, np.arange(1000), 0)
        for label, other in self.alias.items():
            table[label] = other
        images = [table[image] for image in self.labels]
        shown = np.setdiff1d(np.unique(np.stack(images)), [0])
        order = np.random.default_rng(self.sets).permutation(shown)
        numbers = np.zeros(1000, np.uint16)
        numbers[order] = np.arange(1, len(order) + 1)
        looks = np.eye(LOOKS, dtype=np.float32)[[self.looks.get(int(label), int(label)) for label in order]]
        scores = np.linspace(0.9, 0.5, len(order))
        return FoundThings(tuple(numbers[image] for image in images), scores, looks.reshape(-1, LOOKS))


@dataclass(eq=False)
class Workplace:
    """A segmenter with a told finder, fed with rendered sets a tenth of a second apart."""

    finder: ToldFinder = field(default_factory=ToldFinder)
    config: InstanceConfig = field(default_factory=InstanceConfig)

    def __post_init__(self) -> None:
        self.segmenter = FoundSegmenter(self.config, self.finder)
        self.sets = 0

    def see(
        self,
        solids: list[Solid],
        sway: float = 0.0,
        names: tuple[str, ...] = ("ego", "exo_left", "exo_right"),
        distort: float = 1.0,
    ) -> "Seen":
        """One set. `distort`: all depth times this, as a network may err."""
        frames, labels = render_set(solids, self.sets * STEP_NS, sway, SIZE, names)
        views = tuple(replace(view, depth_m=view.depth_m * np.float32(distort)) for view in frames.views)
        scene = RgbdEncoder().encode(replace(frames, views=views))
        return self.take(scene, labels)

    def take(self, scene: EncodedScene, labels: Sequence[np.ndarray]) -> "Seen":
        self.sets += 1
        self.finder.labels = labels
        layout = self.segmenter.update(scene)
        result = self.segmenter.result(layout)
        return Seen(result, tuple(labels), self.segmenter.keeper.take_events())


@dataclass(frozen=True, eq=False)
class Seen:
    """What came of one set, and its truth."""

    result: InstanceResult
    truth: tuple[np.ndarray, ...]
    events: tuple[ObjectEvent, ...]

    def id_of(self, label: int) -> int:
        """The id that all pixels of a label carry."""
        found = {int(each) for image, truth in zip(self.result.labels, self.truth, strict=True)
                 for each in np.unique(image[truth == label])}  # fmt: skip
        assert len(found) == 1, f"label {label} carries {found}"
        return found.pop()

    def ids(self) -> set[int]:
        return {each.instance_id for each in self.result.instances}
