"""Ways to answer prompts against the truth of samples: images and prompts go in, masks of all views come out.

The kinds of prompts are those of MV-SAM's tables and those that people use. Points: 10 on a thing and 2 beside it,
drawn from all views; all other kinds are given in one view, the one that shows most of the thing. Masks and boxes are
the thing's own there. A view counts that shows `least_px` of the thing; a thing is prompted that has such a view.

    miou         mean over prompts of the mean IoU over the views that count
    macc         the same of the share of the thing's pixels that were found (its accuracy as a class)
    others_miou  miou over the views without a prompt
    pixel_accuracy  share of the pixels of all views that are rightly in the mask or out of it, as for NVOS

Benchmarks that say where to point (`MarkedSample`) are asked as MV-SAM's table 2 has it: 8 points on what is marked in
the first view and 2 on what is marked as something else there; views count whose truth is known, but not the first.

What is refused, by the encoder, by the method or in one answer, counts as if nothing was found.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoseg_core.config import setting
from geoseg_core.datasets.marked import MarkedSample
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.instances_evaluator import mean
from geoseg_core.evaluation.overlap import mask_iou
from geoseg_core.evaluation.prompts import ask as ask_in_view
from geoseg_core.evaluation.prompts import click
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet

KINDS = ("points_10_2", "one_click", "three_clicks", "box", "mask")
POSITIVES, NEGATIVES, ALL_VIEWS = 10, 2, -1
# The kind of benchmarks that say where to point, and how many points are drawn.
MARKED, MARKED_ON, MARKED_BESIDE = "points_8_2", 8, 2
# Masks (H, W) bool of all views for prompts on one object.
Answer = Callable[[Sequence[Prompt]], Sequence[np.ndarray]]
# Makes of an encoded scene what answers on it.
Method = Callable[[EncodedScene], Answer]


@dataclass(frozen=True)
class PromptsEvaluationConfig:
    """What is asked, and what counts."""

    least_px: int = setting(64, "pixels of a thing in a view that counts", "px", 1)
    things: int = setting(0, "things of a set that are prompted, those with the most pixels; 0: all", low=0)
    kinds: tuple[str, ...] = setting(KINDS, "kinds of prompts that are given; benchmarks that say where to point have "
                                     "their own", choices=KINDS)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Group:
    """Methods that read one encoder's scenes.

    Attributes:
        encode: makes the scene of a sample, of what the methods may see of it.
    """

    encode: Callable[[Sample], EncodedScene]
    methods: Mapping[str, Method]

    def embedded(self, sample: Sample) -> Iterator[tuple[str, Answer, float]]:
        """What answers prompts on a sample, by method, and the seconds that it took to make it of the scene. Where the
        sample is refused, so is every prompt."""
        try:
            scene = self.encode(sample)
        except BadInput as error:
            yield from ((name, refusing(error), 0.0) for name in self.methods)
            return
        for name, method in self.methods.items():
            start = time.perf_counter()
            try:
                answer = method(scene)
            except BadInput as error:
                answer = refusing(error)
            yield name, answer, time.perf_counter() - start


def refusing(error: BadInput) -> Answer:
    """What answers no prompt."""

    def answer(prompts: Sequence[Prompt]) -> Sequence[np.ndarray]:
        raise error

    return answer


@dataclass(frozen=True, eq=False)
class Answered:
    """One thing that was prompted, and the answer.

    Attributes:
        thing: its id.
        source: the view that was prompted, or ALL_VIEWS.
        truth, found: (V, H, W) bool.
        scored: the views whose truth is known; None for all.
        scene: its name, where a benchmark tells the figures of each.
    """

    kind: str
    thing: int
    source: int
    truth: np.ndarray
    found: np.ndarray
    scored: tuple[int, ...] | None = None
    scene: str = ""


class PromptsScore:
    """Collects answers; `report` gives the figures of each kind of prompt."""

    def __init__(self, least_px: int, kinds: Sequence[str] = KINDS) -> None:
        self.least_px, self.kinds = least_px, kinds
        self.embed_s: list[float] = []
        self.click_s: list[float] = []
        self.refusals: list[str] = []
        self._figures: dict[str, list[dict[str, float]]] = {}
        self._scenes: dict[str, dict[str, float]] = {}

    def add(self, answered: Answered) -> None:
        """Count one answer."""
        scored = range(len(answered.truth)) if answered.scored is None else answered.scored
        truth, found = answered.truth, answered.found
        counted = [view for view in scored if truth[view].sum() >= self.least_px]
        ious = {view: mask_iou(truth[view], found[view]) for view in counted}
        figures = {
            "miou": float(np.mean(list(ious.values()))),
            "macc": float(np.mean([found[view][truth[view]].mean() for view in counted])),
            "pixel_accuracy": float(np.mean([(truth[view] == found[view]).mean() for view in scored])),
        }
        if answered.scene:
            self._scenes[answered.scene] = dict(figures)
        others = [iou for view, iou in ious.items() if view != answered.source]
        if answered.source != ALL_VIEWS and others:
            figures["others_miou"] = float(np.mean(others))
        self._figures.setdefault(answered.kind, []).append(figures)

    def ask_all(self, sample: Sample, truths: Mapping[int, np.ndarray], answer: Answer) -> list[Answered]:
        """Prompt the things of a sample by their true masks (V, H, W) in all ways, and count the answers."""
        frames, answers = images_only(sample), []
        for thing, truth in truths.items():
            for kind in (MARKED,) if isinstance(sample, MarkedSample) else self.kinds:
                start = time.perf_counter()
                try:
                    found = prompted(kind, sample, frames, truth, answer, thing)
                except BadInput as error:
                    self.refusals.append(f"{sample.source}, thing {thing}, {kind}: {error}")
                    found = np.zeros_like(truth)
                if kind in ("one_click", MARKED):
                    self.click_s.append(time.perf_counter() - start)
                answers.append(Answered(kind, thing, source_of(kind, truth), truth, found))
                if isinstance(sample, MarkedSample):
                    answers[-1] = replace(answers[-1], scored=sample.scored, scene=sample.scene)
                self.add(answers[-1])
        return answers

    def report(self) -> dict[str, Any]:
        """Means over the prompts of each kind, None where there is none, and the figures of each scene that has a name;
        seconds to embed a set and to answer a click on it."""
        names = ("miou", "macc", "others_miou", "pixel_accuracy")
        kinds = {
            kind: {name: mean(each[name] for each in figures if name in each) for name in names}
            | {"prompts": len(figures)}
            for kind, figures in self._figures.items()
        }
        times = {"embed_s_median": self.embed_s, "click_s_median": self.click_s}
        medians = {name: float(np.median(each)) if each else None for name, each in times.items()}
        scenes = {"scenes": self._scenes} if self._scenes else {}
        return kinds | scenes | medians | {"refused": len(self.refusals)}


def evaluate_prompts(
    groups: Sequence[Group],
    samples: Iterable[Sample],
    config: PromptsEvaluationConfig = PromptsEvaluationConfig(),  # noqa: B008 (frozen)
    no_things: frozenset[int] = frozenset(),
    on_set: Callable[[str, Sample, list[Answered]], None] | None = None,
) -> dict[str, PromptsScore]:
    """Prompt every thing of every sample in all ways, by every method; a score for each method.

    Args:
        samples: with instance ids.
        no_things: ids that are no things, such as the robot's.
        on_set: called for each method after each set, for pictures.

    Raises:
        BadInput: a sample without instance ids.
    """
    scores = {name: PromptsScore(config.least_px, config.kinds) for group in groups for name in group.methods}
    for sample in samples:
        truths = true_masks(sample, config, no_things)
        for group in groups:
            for name, answer, embedded_s in group.embedded(sample):
                answers = scores[name].ask_all(sample, truths, answer)
                if answers:
                    scores[name].embed_s.append(embedded_s)
                if on_set:
                    on_set(name, sample, answers)
    return scores


def true_masks(sample: Sample, config: PromptsEvaluationConfig, no_things: frozenset[int]) -> dict[int, np.ndarray]:
    """Masks (V, H, W) bool of the things that are prompted, by id, those with the most pixels first.

    Raises:
        BadInput: no instance ids.
    """
    if sample.instance_ids is None:
        raise BadInput(f"{sample.source}: expected instance ids to prompt things by, got none; take other data")
    labels = sample.instance_ids.cpu().numpy()
    ids, pixels = np.unique(labels, return_counts=True)
    ranked = [int(ids[row]) for row in np.argsort(-pixels, kind="stable")]
    masks = {each: labels == each for each in ranked if 0 < each <= sample.last_thing and each not in no_things}
    shown = {each: mask for each, mask in masks.items() if mask.sum(axis=(1, 2)).max() >= config.least_px}
    return dict(list(shown.items())[: config.things or None])


def source_of(kind: str, truth: np.ndarray) -> int:
    """The view in which a mask (V, H, W) is prompted: the one that shows most of it, -1 for all views."""
    if kind == MARKED:
        return 0
    return ALL_VIEWS if kind == "points_10_2" else int(truth.sum(axis=(1, 2)).argmax())


def prompted(
    kind: str, sample: Sample, frames: FrameSet, truth: np.ndarray, answer: Answer, seed: int
) -> np.ndarray:
    """The masks (V, H, W) bool that are found of the thing of a true mask."""
    if not isinstance(sample, MarkedSample):
        return ask(kind, frames, truth, answer, seed)[1]
    marks, generator = sample.marks.cpu().numpy(), np.random.default_rng(seed)
    drawn = [
        pixels[generator.integers(len(pixels), size=count)]
        for pixels, count in ((np.argwhere(marks > 0), MARKED_ON), (np.argwhere(marks < 0), MARKED_BESIDE))
        if len(pixels)
    ]
    points = np.concatenate(drawn)[:, ::-1].astype(float)
    return np.stack(answer([click(frames.cameras[0], list(points), [n < MARKED_ON for n in range(len(points))])]))


def ask(kind: str, frames: FrameSet, truth: np.ndarray, answer: Answer, seed: int) -> tuple[int, np.ndarray]:
    """Prompt the thing of a true mask (V, H, W) in one way: the view that was prompted, and the masks."""
    source = source_of(kind, truth)
    if source == ALL_VIEWS:
        return source, np.stack(answer(drawn_points(frames, truth, seed)))
    camera, mask = frames.cameras[source], truth[source]
    if kind == "mask":
        return source, np.stack(answer([Prompt(camera, mask=mask)]))
    return source, np.stack(ask_in_view(kind, camera, source, mask, lambda prompt: answer([prompt]), seed))


def drawn_points(frames: FrameSet, truth: np.ndarray, seed: int) -> list[Prompt]:
    """Points on a mask (V, H, W) and beside it, drawn evenly from the pixels of all views, always the same ones."""
    generator = np.random.default_rng(seed)
    drawn = []
    for pixels, count, positive in ((np.argwhere(truth), POSITIVES, True), (np.argwhere(~truth), NEGATIVES, False)):
        if len(pixels):
            drawn += [(*each, positive) for each in pixels[generator.integers(len(pixels), size=count)].tolist()]
    prompts = []
    for view, camera in enumerate(frames.cameras):
        here = [(column, row, positive) for number, row, column, positive in drawn if number == view]
        if here:
            prompts.append(click(camera, [np.array(each[:2], float) for each in here], [each[2] for each in here]))
    return prompts
