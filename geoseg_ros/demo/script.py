"""What the demo asks for: three large objects that are well visible, each by one click or box in two views."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from geoseg_core.datasets.truth import LabelledSet
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.prompts import bounding_box, click, deepest_pixel
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompts import Prompt

OBJECTS = 3
SEEN_WELL = 0.002  # of an image: what has fewer pixels is not seen well


@dataclass(frozen=True, eq=False)
class Request:
    """One click or box on one object: its truth id (0 where there is no truth) and its name."""

    truth_id: int
    name: str
    prompt: Prompt


def choose_requests(first: LabelledSet, names: dict[int, str], ego: str, boxes: bool = False) -> list[Request]:
    """Mark the objects with the most pixels in their worst of two views: the ego view and their best exo view.

    Args:
        first: the first set of the bag with its labels.
        names: names of the objects by id.
        ego: name of the ego camera; without exo views the ego view alone decides.
        boxes: whether they are marked by boxes, which images alone answer better, in place of clicks.

    Returns:
        For each object a prompt in the ego view, then one in its best exo view.
    """
    exos = [camera for camera in first.labels if camera != ego]
    sizes = {camera: np.bincount(labels.ravel(), minlength=65536) for camera, labels in first.labels.items()}
    best = {each: max(exos, key=lambda camera: sizes[camera][each], default=ego) for each in names}
    pixels = {each: min(sizes[camera][each] for camera in {ego, best[each]} & set(sizes)) for each in names}
    chosen = sorted((each for each in names if pixels[each] > 0), key=lambda each: -pixels[each])[:OBJECTS]
    requests = []
    for each in chosen:
        for camera in [camera for camera in dict.fromkeys((ego, best[each])) if camera in first.labels]:
            mask = first.labels[camera] == each
            whole, inside = Prompt(camera, box_px=bounding_box(mask)), click(camera, [deepest_pixel(mask)], [True])
            requests.append(Request(each, names[each], whole if boxes else inside))
    return requests


def first_complete(sequence: Iterable[LabelledSet], with_labels: bool) -> LabelledSet:
    """The first set in which every camera took part (and has labels, if they are wanted); else simply the first.

    Raises:
        BadInput: there is no set.
    """
    first = complete = None
    for labelled in sequence:
        first = first or labelled
        if not labelled.frames.missing:
            complete = complete or labelled
            if not with_labels or len(labelled.labels) == len(labelled.frames.views):
                return labelled
    if first is None:
        raise BadInput("bag: expected at least one frame set, got none")
    return complete or first


def stand_in_truth(first: LabelledSet, config: PipelineConfig) -> tuple[LabelledSet, dict[int, str]]:
    """Where a bag has no ground truth: the first set with the instances that are found in it, to choose clicks from."""
    result = ScenePipeline(replace(config, tasks=("instances",))).process(first.frames)
    assert result.instances is not None
    labels = dict(zip(result.frames.cameras, result.instances.labels, strict=True))
    ids = [each.instance_id for each in result.instances.instances]
    ranks = {each: wholeness([image == each for image in labels.values()]) for each in ids}
    shown = [each for each in ids if (labels[result.frames.cameras[0]] == each).any()]
    best = sorted(shown or ids, key=lambda each: ranks[each], reverse=True)[:OBJECTS]
    return LabelledSet(first.frames, labels), {each: f"object_{each}" for each in best}


def wholeness(masks: list[np.ndarray]) -> tuple[int, float]:
    """How much a thing with these masks (H, W), one for each view, looks like a whole thing that is worth a click.

    Returns:
        in how many views it is seen well, and the sum of its pixels there, each view's times the part of their box
        that they fill, and half where the image's border cuts them.
    """
    seen, total = 0, 0.0
    for mask in masks:
        pixels = np.count_nonzero(mask)
        if pixels < SEEN_WELL * mask.size:
            continue
        _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
        cut = mask[[0, -1]].any() or mask[:, [0, -1]].any()
        seen += 1
        total += pixels * pixels / (width * height) * (0.5 if cut else 1.0)
    return seen, total
