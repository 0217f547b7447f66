"""Objects followed through made-up clips, by a pipeline that knows each by its colour."""

import numpy as np
import pytest
import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.clips import Clip
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.tracks import TracksConfig
from geoseg_core.evaluation.tracks_evaluator import EGO, EXO, compared, evaluate_tracks, masks_of
from geoseg_core.evaluation.tracks_pictures import film_strip, picture, shown_sets
from geoseg_core.results import ObjectMask, PromptResult, SceneResult, ViewMasks, Visibility
from geoseg_core.views import FrameSet

SIZE = (40, 60)
CONFIG = TracksConfig(least_px=64, occluded_s=0.2)


class ColourPipeline:
    """Finds things by the brightness of their pixels, ten times their number; forgets those that it is told to.

    Args:
        takes: what it takes an object for, by number of the set and object.
        refuses: numbers of the sets that it refuses.
    """

    def __init__(self, takes=None, refuses=()):
        self.takes, self.refuses = takes or {}, refuses
        self.seen, self.resets = 0, 0

    def reset_memory(self):
        self.resets += 1
        self.number, self.things = -1, {}

    def process(self, frames: FrameSet) -> SceneResult:
        assert all(view.depth_m is None and view.intrinsics is None for view in frames.views)
        self.number, self.frames = self.number + 1, frames
        if self.number in self.refuses:
            raise BadInput("too dark")
        found = {each: self.takes.get((self.number, thing), thing) for each, thing in self.things.items()}
        return SceneResult(frames, self._masks(found), None, (), None, {})

    def segment(self, prompt) -> PromptResult:
        return self._answer(prompt, 0)

    def track_object(self, prompt) -> PromptResult:
        thing = self._thing(prompt)
        self.things[len(self.things) + 1] = thing
        return self._answer(prompt, len(self.things))

    def _thing(self, prompt) -> int:
        view = self.frames.views[self.frames.index(prompt.camera)]
        return round(float(np.median(view.image[prompt.mask])) / 10)

    def _answer(self, prompt, number) -> PromptResult:
        return PromptResult(self.frames, number, self._masks({number: self._thing(prompt)}), None, None, None)

    def _masks(self, things) -> tuple[ViewMasks, ...]:
        def mask(view, number, thing):
            return ObjectMask(number, view.image[..., 0] == 10 * thing, 1.0, Visibility.VISIBLE)

        views = self.frames.views
        return tuple(ViewMasks(view.camera, tuple(mask(view, *each) for each in things.items())) for view in views)


def clip(*hidden: tuple[int, int, int], sets: int = 5) -> Clip:
    """Things 1 and 2 of 100 pixels in two views; `hidden`: set, view and thing."""

    def read(number: int) -> Sample:
        labels = torch.zeros(2, *SIZE, dtype=torch.long)
        for view in range(2):
            for thing in (1, 2):
                if (number, view, thing) not in hidden:
                    labels[view, 10 * thing : 10 * thing + 10, number + 5 * view : number + 5 * view + 10] = thing
        images = (labels * 10 / 255).float()[:, None].expand(-1, 3, -1, -1)
        return Sample(images, instance_ids=labels, cameras=("ego", "exo"), moments=torch.full((2,), number / 10))

    return Clip("made up", tuple(range(0, 100 * sets, 100)), read)


def test_what_is_followed_exactly_has_exact_figures():
    pipeline, seen = ColourPipeline(), []
    score = evaluate_tracks(
        pipeline, [clip((2, 0, 1), (3, 0, 1))], CONFIG, lambda _, view, found: seen.append((view, found.number))
    )
    report = score.report()
    assert pipeline.resets == 2 and seen == [(view, number) for view in (0, 1) for number in range(5)]
    # 4 sets of 2 views and 2 things, less those that are hidden, from each prompt.
    assert report["from_ego"]["masks"] == {"all": 14, "ego": 6, "exo": 8, "source": 6, "others": 8}
    assert report["both"]["iou"] == dict.fromkeys(("all", "ego", "exo", "source", "others"), 1.0)
    assert report["both"]["identity"] == {"kept": 1, "taken_over": 0, "occlusions": 2}
    assert (report["tracks"], report["sets"], report["refused"]) == (4, 10, 0)
    assert (report["both"]["absent_accuracy"], report["both"]["absent_masks"]) == (1, 4)
    # Prompted in the ego view: without memory nothing is carried from where it is hidden.
    assert report["from_ego"]["overall"] == {"iou": 1, "single_frame_iou": 6 / 8, "gain": 2 / 8, "masks": 8}
    assert report["from_ego"]["with_occlusion"] == {"iou": 1, "single_frame_iou": 0, "gain": 1, "masks": 2}
    assert report["from_exo"]["overall"] == {"iou": 1, "single_frame_iou": 1, "gain": 0, "masks": 6}
    assert report["from_exo"]["with_occlusion"]["masks"] == 0


def test_an_object_that_is_taken_for_another_one_is_taken_over():
    pipeline = ColourPipeline(takes={(4, 1): 2})
    report = evaluate_tracks(pipeline, [clip((2, 0, 1), (3, 0, 1))], CONFIG).report()
    assert report["both"]["identity"] == {"kept": 0, "taken_over": 1, "occlusions": 2}
    assert report["from_ego"]["iou"]["ego"] == pytest.approx(5 / 6)


def test_refused_sets_and_prompts_count_as_nothing_found():
    report = evaluate_tracks(ColourPipeline(refuses=(2,)), [clip()], CONFIG).report()
    assert report["refused"] == 2 and report["both"]["iou"]["all"] == 3 / 4
    assert report["both"]["overall"]["single_frame_iou"] == 3 / 4
    score = evaluate_tracks(ColourPipeline(refuses=(0,)), [clip()], CONFIG)
    assert score.refusals == ["too dark"] * 2 and score.report()["both"]["iou"]["all"] == 0
    assert score.report()["both"]["overall"]["single_frame_iou"] == 1
    pipeline = ColourPipeline()
    pipeline.track_object = pipeline.segment = refuse
    report = evaluate_tracks(pipeline, [clip()], CONFIG).report()
    assert report["both"]["iou"]["all"] == 0 and report["refused"] == 2 * (2 + 5 * 2)


def refuse(prompt):
    raise BadInput("not there")


def test_a_clip_without_objects_in_one_of_its_views_is_followed_from_the_other():
    report = evaluate_tracks(ColourPipeline(), [clip((0, 1, 1), (0, 1, 2))], CONFIG).report()
    assert report["from_exo"]["iou"]["all"] is None and report["from_ego"]["iou"]["all"] == 1


def test_data_without_what_is_needed_is_refused():
    with pytest.raises(BadInput, match="made up: expected two sets or more"):
        evaluate_tracks(ColourPipeline(), [clip(sets=1)], CONFIG)
    with pytest.raises(BadInput, match="expected an object of 101 pixels or more"):
        evaluate_tracks(ColourPipeline(), [clip()], TracksConfig(least_px=101))
    alone = Sample(torch.zeros(1, 3, *SIZE), instance_ids=torch.zeros(1, *SIZE, dtype=torch.long), source="alone")
    with pytest.raises(BadInput, match="alone: expected two views or more"):
        evaluate_tracks(ColourPipeline(), [Clip("alone", (0, 100), lambda number: alone)], CONFIG)


def test_masks_are_compared_with_the_truth_of_the_object_and_of_all_else():
    labels = np.zeros((1, *SIZE), int)
    labels[0, :10, :10], labels[0, :10, 10:20] = 1, 3
    mask = np.zeros((1, 2, *SIZE), bool)
    mask[0, 0, :10, 5:20] = True  # 50 px on thing 1, 100 on thing 3
    pixels, own, strayed, found, single = compared(labels, np.array([1, 7]), mask, ~mask)
    assert pixels.tolist() == [[100, 0]] and found.tolist() == [[True, False]]
    assert own[0] == pytest.approx([50 / 200, 0]) and strayed[0] == pytest.approx([100 / 150, 0])
    assert single[0] == pytest.approx([50 / (40 * 60 - 150 + 50), 0])


def test_views_that_took_no_part_have_no_masks():
    frames = images_only(clip().read(0))
    only = ViewMasks("exo", (ObjectMask(4, np.ones(SIZE, bool), 1.0, Visibility.VISIBLE),))
    masks = masks_of(frames, [((only,), 4), ((only,), 5)])
    assert masks.any(axis=(-2, -1)).tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize("source", [EGO, EXO])
def test_a_strip_has_a_row_for_each_view_and_a_column_for_each_set(source):
    kept = []
    evaluate_tracks(ColourPipeline(), [clip()], CONFIG, lambda _, view, found: kept.append((view, found)))
    sets = [found for view, found in kept if view == source]
    strip = film_strip(sets, source)
    height, width = picture(sets[0], EGO, 0).shape[:2]
    assert strip.shape[0] > 2 * height and strip.shape[1] >= 5 * width
    assert shown_sets(3) == {0, 1, 2} and len(shown_sets(100)) == 8 and {0, 99} <= shown_sets(100)
