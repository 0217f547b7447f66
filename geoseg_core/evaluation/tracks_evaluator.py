"""A pipeline that follows objects against the truth of clips: images and the masks of the first set's view go in.

All objects of a view are prompted in the first set and followed together. A set or prompt that is refused counts as if
no mask was found.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.clips import Clip
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.masks_evaluator import EGO, objects_of, with_truth
from geoseg_core.evaluation.tracks import Track, TracksConfig, figures
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult, SceneResult, ViewMasks
from geoseg_core.views import FrameSet

EXO = 1
SOURCES = {"from_ego": EGO, "from_exo": EXO}
# Masks by camera and object, and the id of an object among them.
Answer = tuple[Sequence[ViewMasks], int]


class Pipeline(Protocol):
    """What is evaluated: see `geoseg_core.pipeline.ScenePipeline`."""

    def process(self, frames: FrameSet) -> SceneResult: ...

    def segment(self, prompt: Prompt) -> PromptResult: ...

    def track_object(self, prompt: Prompt) -> PromptResult: ...

    def reset_memory(self) -> None: ...


@dataclass(frozen=True, eq=False)
class FollowedSet:
    """A set of a clip and what was found in it.

    Attributes:
        number: of the set in its clip.
        frames: the images.
        labels: (V, H, W) true ids.
        objects: (K,) ids of those that are followed.
        masks: (V, K, H, W) bool, where they were found.
    """

    number: int
    frames: FrameSet
    labels: np.ndarray
    objects: np.ndarray
    masks: np.ndarray


@dataclass(eq=False)
class TracksScore:
    """Collects the tracks of all clips; `report` gives the figures.

    Attributes:
        refusals: what the pipeline could not do, for messages.
        seconds: of each set, prompts not included.
    """

    config: TracksConfig
    tracks: list[Track] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """The figures of both prompted views together and of each, sets, refusals and seconds for a set."""
        by_source = {
            name: figures([track for track in self.tracks if track.source == view], self.config)
            for name, view in SOURCES.items()
        }
        return {
            "both": figures(self.tracks, self.config),
            **by_source,
            "tracks": sum(track.pixels.shape[-1] for track in self.tracks),
            "sets": sum(len(track.times_ms) for track in self.tracks),
            "refused": len(self.refusals),
            "seconds_median": float(np.median(self.seconds)) if self.seconds else None,
        }


def evaluate_tracks(
    pipeline: Pipeline,
    clips: Sequence[Clip],
    config: TracksConfig = TracksConfig(),  # noqa: B008 (frozen)
    on_set: Callable[[Clip, int, FollowedSet], None] | None = None,
) -> TracksScore:
    """Follow the objects of every clip, prompted in its ego view and, from the start again, in its first exo view.

    Args:
        on_set: called with the clip and the prompted view after each set, for pictures and progress.

    Raises:
        BadInput: a clip of one set, a set of one view or without instance ids, or no object in any first set.
    """
    score = TracksScore(config)
    for clip in clips:
        if len(clip) < 2:
            raise BadInput(f"{clip.name}: expected two sets or more to follow objects through, got {len(clip)}")
        for source in SOURCES.values():
            score.tracks.append(_follow(pipeline, clip, source, score, on_set))
    if not any(track.pixels.shape[-1] for track in score.tracks):
        raise BadInput(
            f"expected an object of {config.least_px} pixels or more in the first set of a clip, got none; "
            "ask for fewer pixels or take other data"
        )
    return score


def _follow(
    pipeline: Pipeline,
    clip: Clip,
    source: int,
    score: TracksScore,
    on_set: Callable[[Clip, int, FollowedSet], None] | None,
) -> Track:
    pipeline.reset_memory()
    objects, run = objects_of(with_truth(clip.read(0)), source, score.config.least_px), ClipRun(pipeline, source, score)
    measured = []
    for number in range(len(clip)):
        sample = with_truth(clip.read(number))
        assert sample.instance_ids is not None
        labels, frames = sample.instance_ids.cpu().numpy(), images_only(sample)
        followed, single = run.step(frames, labels[source] == objects[:, None, None])
        measured.append(compared(labels, objects, followed, single))
        if on_set:
            on_set(clip, source, FollowedSet(number, frames, labels, objects, followed))
    return Track(source, np.array(clip.times_ms), *(np.stack(each) for each in zip(*measured, strict=True)))


class ClipRun:
    """K objects on their way through one clip."""

    def __init__(self, pipeline: Pipeline, source: int, score: TracksScore) -> None:
        self.pipeline, self.source, self.score = pipeline, source, score
        self._ids: list[int] | None = None

    def step(self, frames: FrameSet, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The masks (V, K, H, W) bool of a set that are followed, and those of a single frame.

        Args:
            truth: (K, H, W) bool in the source view; what is prompted in the first set.
        """
        start, nothing = time.perf_counter(), masks_of(frames, [((), 0)] * len(truth))
        is_first, self._ids = self._ids is None, self._ids or [0] * len(truth)
        try:
            result = self.pipeline.process(frames)
        except BadInput as error:
            self.score.refusals.append(str(error))
            return nothing, nothing
        self.score.seconds.append(time.perf_counter() - start)
        single = [self._ask(self.pipeline.segment, frames, mask) for mask in truth]
        followed: list[Answer] = [(result.masks, number) for number in self._ids]
        if is_first:
            followed = [self._ask(self.pipeline.track_object, frames, mask) for mask in truth]
            self._ids = [number for _, number in followed]
        return masks_of(frames, followed), masks_of(frames, single)

    def _ask(self, ask: Callable[[Prompt], PromptResult], frames: FrameSet, mask: np.ndarray) -> Answer:
        """What the pipeline makes of a mask of the source view; nothing of an empty one."""
        if not mask.any():
            return (), 0
        try:
            result = ask(Prompt(frames.cameras[self.source], mask=mask))
        except BadInput as error:
            self.score.refusals.append(str(error))
            return (), 0
        return result.views, result.object_id


def masks_of(frames: FrameSet, answers: Sequence[Answer]) -> np.ndarray:
    """(V, K, H, W) bool masks of the answers' objects; empty where there is none. All views have one size."""
    masks = np.zeros((len(frames.views), len(answers), *frames.views[0].size), bool)
    for row, (views, object_id) in enumerate(answers):
        for view in views:
            for each in view.masks:
                if each.object_id == object_id:
                    masks[frames.index(view.camera), row] = each.mask
    return masks


def compared(
    labels: np.ndarray, objects: np.ndarray, followed: np.ndarray, single: np.ndarray
) -> tuple[np.ndarray, ...]:
    """What `Track` says of a set, from pixels on, each (V, K).

    Args:
        labels: (V, H, W) true ids.
        objects: (K,) ids of those that are followed.
        followed, single: (V, K, H, W) bool.
    """
    pixels = (labels[:, None] == objects[:, None, None]).sum(axis=(-2, -1))
    own, strayed, alone = np.zeros((3, *pixels.shape))
    for view, row in np.ndindex(*pixels.shape):
        number = int(objects[row])
        ious = overlaps(followed[view, row], labels[view], number)
        own[view, row] = ious[number]
        strayed[view, row] = np.delete(ious, (0, number)).max(initial=0)
        alone[view, row] = overlaps(single[view, row], labels[view], number)[number]
    return pixels, own, strayed, np.asarray(followed.any(axis=(-2, -1))), alone


def overlaps(mask: np.ndarray, labels: np.ndarray, least: int) -> np.ndarray:
    """(N,) IoU of a mask (H, W) with each number of labels (H, W), up to `least` at least."""
    areas = np.bincount(labels.ravel(), minlength=least + 1)
    shared = np.bincount(labels[mask], minlength=len(areas))
    return shared / np.maximum(mask.sum() + areas - shared, 1)
