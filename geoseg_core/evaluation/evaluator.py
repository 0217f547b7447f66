"""Evaluate a pipeline on a labelled sequence, in lockstep: every set is processed once, in order.

Cross-view IoU gives the ground-truth mask of each object in each source view of every set (a one-shot prompt) and
compares the masks that come back for the other views; instances are compared as they come out of every set;
prompts are drawn on every n-th set.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from geoseg_core.datasets.truth import LabelledSet, TruthObject
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.config import EvaluationConfig
from geoseg_core.evaluation.cross_view import CrossViewScore, direction
from geoseg_core.evaluation.instances import InstanceScore
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.evaluation.prompts import PROMPT_KINDS, PromptScore, ask
from geoseg_core.prompts import Prompt
from geoseg_core.results import InstanceResult, PromptResult, SceneResult
from geoseg_core.views import FrameSet


class Pipeline(Protocol):
    """What is evaluated: see `geoseg_core.pipeline.ScenePipeline`."""

    def process(self, frames: FrameSet) -> SceneResult: ...

    def segment(self, prompt: Prompt) -> PromptResult: ...


@dataclass(frozen=True)
class SetFigures:
    """What one set showed, for plots: IoU by direction and object name, matched id by object name, stage times."""

    stamp_ns: int
    iou: dict[str, dict[str, float]] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    stage_ms: dict[str, float] = field(default_factory=dict)


class Evaluator:
    """Feeds labelled sets to a pipeline and collects all figures."""

    def __init__(
        self, pipeline: Pipeline, ego: str, objects: Iterable[TruthObject], config: EvaluationConfig
    ) -> None:
        """`ego` names the ego camera; `objects` say what the label numbers stand for."""
        self.pipeline, self.ego, self.config = pipeline, ego, config
        self.names = unique_names(objects)
        self.history: list[SetFigures] = []
        self._cross_view = CrossViewScore(config.min_pixels)
        self._instances = InstanceScore(self.names, config.min_pixels)
        self._prompts = PromptScore(config.min_pixels)
        self._segment_ms: list[float] = []

    def add(self, labelled: LabelledSet) -> SceneResult:
        """Process one set and measure it."""
        result = self.pipeline.process(labelled.frames)
        figures = SetFigures(labelled.frames.stamp_ns, stage_ms=dict(result.stage_ms))
        if "cross_view" in self.config.tasks:
            figures.iou.update(self._measure_cross_view(labelled))
        if "instances" in self.config.tasks and result.instances is not None and labelled.labels:
            figures.ids.update(self._measure_instances(labelled, result))
        if "prompts" in self.config.tasks and len(self.history) % self.config.prompt_every == 0:
            self._measure_prompts(labelled)
        self.history.append(figures)
        return result

    def report(self, method: str) -> dict[str, Any]:
        """The figures of cross_view, instances and prompts; a task that was not asked for is left out."""
        figures = {
            "cross_view": self._cross_view.report(),
            "instances": self._instances.report(),
            "prompts": self._prompts.report(),
        }
        return {task: {method: parts} for task, parts in figures.items() if task in self.config.tasks}

    def stage_samples(self) -> dict[str, list[float]]:
        """Milliseconds of every stage in every set, and of every one-shot prompt (`segment`)."""
        samples: dict[str, list[float]] = defaultdict(list)
        for figures in self.history:
            for stage, milliseconds in figures.stage_ms.items():
                samples[stage].append(milliseconds)
        return {**samples, "segment": self._segment_ms}

    def _visible(self, labels: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Objects with enough pixels in a label image, each with its mask."""
        counts = np.bincount(labels.ravel(), minlength=1)
        ids = [each for each in np.flatnonzero(counts >= self.config.min_pixels).tolist() if each in self.names]
        return [(each, labels == each) for each in ids]

    def _measure_cross_view(self, labelled: LabelledSet) -> dict[str, dict[str, float]]:
        ious: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for source in labelled.labels:
            targets = {each: way for each in labelled.labels if (way := direction(source, each, self.ego))}
            for object_id, mask in self._visible(labelled.labels[source]) if targets else ():
                masks = self._answer(labelled.frames, Prompt(source, mask=mask))
                for target, way in targets.items():
                    truth = labelled.labels[target] == object_id
                    iou = self._cross_view.add(way, self.names[object_id], truth, masks[target])
                    if iou is not None:
                        ious[way][self.names[object_id]].append(iou)
        return {way: {name: float(np.mean(each)) for name, each in names.items()} for way, names in ious.items()}

    def _measure_instances(self, labelled: LabelledSet, result: SceneResult) -> dict[str, int]:
        assert result.instances is not None
        predicted = _labels_by_camera(result.frames, result.instances)
        cameras = [each for each in labelled.frames.cameras if each in labelled.labels]
        truth = [labelled.labels[camera] for camera in cameras]
        counts = overlap(truth, [predicted.get(camera, np.zeros_like(labelled.labels[camera])) for camera in cameras])
        scores = {each.instance_id: each.score for each in result.instances.instances}
        return {self.names[truth_id]: chosen for truth_id, chosen in self._instances.add(counts, scores).items()}

    def _measure_prompts(self, labelled: LabelledSet) -> None:
        """Each visible object is prompted in one view; which one changes from set to set."""
        cameras = [each for each in labelled.frames.cameras if each in labelled.labels]
        if not cameras:
            return
        round_number = len(self.history) // self.config.prompt_every
        view = round_number % len(cameras)
        for object_id, truth in self._visible(labelled.labels[cameras[view]]):
            truths = [labelled.labels[camera] == object_id for camera in cameras]

            def answer(prompt: Prompt) -> list[np.ndarray]:
                masks = self._answer(labelled.frames, prompt)
                return [masks[camera] for camera in cameras]

            for kind in PROMPT_KINDS:
                seed = 65536 * round_number + object_id
                self._prompts.add(kind, truths, ask(kind, cameras[view], view, truth, answer, seed))

    def _answer(self, frames: FrameSet, prompt: Prompt) -> dict[str, np.ndarray]:
        """The mask of a one-shot prompt in every view; empty where the pipeline refuses the prompt."""
        masks = {view.camera: np.zeros(view.size, bool) for view in frames.views}
        start = time.perf_counter()
        try:
            result = self.pipeline.segment(prompt)
        except BadInput:
            return masks
        self._segment_ms.append(1e3 * (time.perf_counter() - start))
        masks.update((view.camera, view.masks[0].mask) for view in result.views if view.masks)
        return masks


def unique_names(objects: Iterable[TruthObject]) -> dict[int, str]:
    """Names by id of what is evaluated (role "object"); a name that occurs twice gets the id behind it."""
    wanted = [each for each in objects if each.role == "object"]
    count = Counter(each.name for each in wanted)
    return {each.id: each.name if count[each.name] == 1 else f"{each.name}_{each.id}" for each in wanted}


def _labels_by_camera(frames: FrameSet, instances: InstanceResult) -> dict[str, np.ndarray]:
    """The label image of each view that took part; an encoder may have left some views out."""
    return dict(zip(frames.cameras, instances.labels, strict=True))


def evaluate_sequence(
    sequence: Iterable[LabelledSet],
    evaluator: Evaluator,
    on_set: Callable[[LabelledSet, SceneResult], None] | None = None,
) -> int:
    """Measure every set of a sequence, or the first `max_sets` of them.

    Args:
        sequence: labelled sets in time order.
        evaluator: collects the figures.
        on_set: called after each set that was processed, for pictures and progress.

    Returns:
        The number of sets that the pipeline refused (without depth or calibration, say); they are left out.

    Raises:
        BadInput: it refused all of them; the message is that of the last refusal.
    """
    limit, refused, refusal = evaluator.config.max_sets, 0, None
    for labelled in sequence:
        try:
            result = evaluator.add(labelled)
        except BadInput as error:
            refused, refusal = refused + 1, error
            continue
        if on_set:
            on_set(labelled, result)
        if limit and len(evaluator.history) >= limit:
            break
    if refusal and not evaluator.history:
        raise refusal
    return refused
