"""Ways to carry masks against the truth of samples: images and the masks of one view go in, those of others come out.

The first view is the ego view; masks are carried from it into each other view and from each other view into it. A set
that is refused, by the encoder or by the method, counts as if no mask was found.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg_core.config import setting
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.cross_view import DIRECTIONS
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.evaluation.masks import Carried, MaskScore
from geoseg_core.results import Visibility
from geoseg_core.views import FrameSet

EGO = 0
# A MaskTransfer; what it asks of the scene is between it and what made the scene.
Transfer = Callable[[Any, int, np.ndarray], TransferredMasks]


@dataclass(frozen=True)
class MaskEvaluationConfig:
    """Which objects count."""

    least_px: int = setting(64, "pixels of an object in the source and in the target, at least", "px", 1)


def evaluate_masks(
    encode: Callable[[FrameSet], Any],
    transfers: Mapping[str, Transfer],
    samples: Iterable[Sample],
    config: MaskEvaluationConfig = MaskEvaluationConfig(),  # noqa: B008 (frozen)
    on_set: Callable[[str, Sample, list[Carried]], None] | None = None,
) -> dict[str, MaskScore]:
    """Encode every sample once, carry its masks by every method, and compare; a score for each method.

    Args:
        encode: makes of the images alone what the methods are given.
        samples: with instance ids.
        on_set: called for each method after each set, for pictures.

    Raises:
        BadInput: a sample of one view or without instance ids.
    """
    scores = {name: MaskScore(config.least_px) for name in transfers}
    for sample in map(with_truth, samples):
        frames, start = images_only(sample), time.perf_counter()
        methods = transfers
        try:
            scene = encode(frames)
        except BadInput as error:
            scene, methods = None, dict.fromkeys(transfers, refusing(error))
        encoding_s = time.perf_counter() - start
        for name, transfer in methods.items():
            start = time.perf_counter()
            found, refusals = carry(transfer, scene, sample, config.least_px)
            scores[name].seconds.append(encoding_s + time.perf_counter() - start)
            scores[name].refusals += refusals
            for each in found:
                scores[name].add(DIRECTIONS[each.source != EGO], each)
            if on_set:
                on_set(name, sample, found)
    return scores


def carry(transfer: Transfer, scene: Any, sample: Sample, least_px: int) -> tuple[list[Carried], list[str]]:
    """All objects of a sample in all directions, and what was refused."""
    assert sample.instance_ids is not None
    labels, carried, refusals = sample.instance_ids.cpu().numpy(), [], []
    for source in range(len(labels)):
        ids = objects_of(sample, source, least_px)
        if not len(ids):
            continue
        masks = labels[source] == ids[:, None, None]  # (K, H, W)
        try:
            made = transfer(scene, source, masks)
        except BadInput as error:
            made = nothing(labels.shape, len(ids))
            refusals.append(f"{sample.source}: {error}")
        for target in targets_of(source, len(labels)):
            for row, number in enumerate(ids.tolist()):
                visible = made.visibility[target, row] == Visibility.VISIBLE
                score, truth = float(made.scores[target, row]), labels[target] == number
                carried.append(Carried(number, source, target, truth, made.masks[target][row], bool(visible), score))
    return carried, refusals


def objects_of(sample: Sample, view: int, least_px: int) -> np.ndarray:
    """(K,) ids that have so many pixels in a view, in order. Where objects have poses, what has none is no object: the
    arm of the worlds."""
    assert sample.instance_ids is not None
    ids, pixels = np.unique(sample.instance_ids[view].cpu().numpy(), return_counts=True)
    return ids[(ids > 0) & (ids <= sample.last_thing) & (pixels >= least_px)]


def targets_of(source: int, views: int) -> list[int]:
    """All other views for the ego view, and that one for the others."""
    return list(range(1, views)) if source == EGO else [EGO]


def refusing(error: BadInput) -> Transfer:
    """What carries no mask, with the same error each time."""

    def transfer(scene: Any, source: int, masks: np.ndarray) -> TransferredMasks:
        raise error

    return transfer


def nothing(shape: tuple[int, int, int], count: int) -> TransferredMasks:
    """Empty masks of so many objects in views of a shape (V, H, W)."""
    views, height, width = shape
    empty = np.zeros((count, height, width), bool)
    return TransferredMasks((empty,) * views, np.full((views, count), Visibility.OCCLUDED), np.zeros((views, count)))


def with_truth(sample: Sample) -> Sample:
    """The sample, if masks can be carried between its views and compared.

    Raises:
        BadInput: it has one view, or no instance ids.
    """
    if sample.instance_ids is None or len(sample.images) < 2:
        raise BadInput(f"{sample.source}: expected two views or more with instance ids; take other data")
    return sample
