"""Objects that are followed by masks and instances on which they lie: one id for one thing."""

from dataclasses import dataclass, field

import numpy as np
from found_things import STEP_NS, ToldFinder
from scenes import Solid, box, render_set

from geoseg_core.cross_view.same_things import best_label
from geoseg_core.instances.found_segmenter import FoundSegmenter
from geoseg_core.instances.segmenter import InstanceConfig
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.results import EventKind, ObjectMask, SceneResult, ViewMasks, Visibility

PAIR = [box(1, -0.1, 0.0, (0.08, 0.08, 0.08)), box(2, 0.15, 0.0, (0.08, 0.08, 0.08))]
SIZE = (120, 160)


@dataclass(eq=False)
class Told:
    """A pipeline whose instances and masks are what it is told: a label for each followed object."""

    labels: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pipeline = ScenePipeline(PipelineConfig(tasks=("cross_view", "instances")))
        self.finder = ToldFinder()
        self.pipeline._segmenter = FoundSegmenter(InstanceConfig(), self.finder)
        self.pipeline._follower = self
        self.method, self.sets, self.held_bytes = "told", 0, 0

    def masks(self, moment):
        return tuple(
            ViewMasks(camera, tuple(
                ObjectMask(number, image == label, 1.0, Visibility.VISIBLE) for number, label in self.labels.items()
            ))
            for camera, image in zip(moment.scene.frames.cameras, self.finder.labels, strict=True)
        )  # fmt: skip

    def see(self, solids: list[Solid]) -> SceneResult:
        frames, self.finder.labels = render_set(solids, self.sets * STEP_NS, 0.0, SIZE)
        self.sets += 1
        return self.pipeline.process(frames)

    def id_of(self, label: int, result: SceneResult) -> int:
        (number,) = np.unique(result.instances.labels[0][self.finder.labels[0] == label])
        return int(number)

    def new_id(self) -> int:
        return self.pipeline._segmenter.keeper.new_id()


def test_an_instance_takes_the_id_of_the_object_that_is_followed_on_it_after_some_sets() -> None:
    told = Told()
    first = told.see(PAIR)
    before = told.id_of(1, first)
    followed = told.new_id()
    told.labels = {followed: 1}
    results = [told.see(PAIR) for _ in range(4)]
    assert [told.id_of(1, each) for each in results] == [before, before, before, followed]
    assert [(each.kind, each.object_id, each.related_ids) for result in results for each in result.events] == [
        (EventKind.MERGED, followed, (before,))
    ]
    assert told.id_of(2, results[-1]) == told.id_of(2, first)


def test_a_candidate_takes_it_at_once_and_is_not_merged_away() -> None:
    told = Told()
    told.see(PAIR[1:])
    followed = told.new_id()
    told.labels = {followed: 1}
    told.finder.alias = {1: 0}
    told.see(PAIR)
    told.finder.alias = {}
    told.see(PAIR)  # seen by several cameras: an id of its own
    for _ in range(3):
        result = told.see(PAIR)
    assert told.id_of(1, result) == followed
    told.finder.alias = {1: 2}
    events = [event for _ in range(8) for event in told.see(PAIR).events]
    assert not any(event.kind is EventKind.MERGED for event in events)


def test_an_object_that_lies_on_an_instance_of_its_id_or_on_none_changes_nothing() -> None:
    told = Told()
    first = told.see(PAIR)
    told.labels = {told.id_of(1, first): 1, told.new_id(): 77}
    for _ in range(5):
        result = told.see(PAIR)
        assert (told.id_of(1, result), told.id_of(2, result)) == (told.id_of(1, first), told.id_of(2, first))
        assert not result.events


def test_the_label_under_masks_is_counted_over_all_views() -> None:
    left, right = np.zeros((2, 4), np.uint16), np.zeros((2, 4), np.uint16)
    left[:, :2], right[:, :3] = 5, 5
    mask = np.zeros((2, 4), bool)
    mask[:, :2] = True
    assert best_label([mask, mask], [left, right]) == 5  # 8 of 10 pixels
    assert best_label([mask, np.roll(mask, 2, axis=1)], [left, right]) == 0  # 6 of 12: not more than half
    assert best_label([mask, mask], [left * 0, right * 0]) == 0
    assert best_label([], []) == 0


