"""How well instances were found in a batch."""

from collections.abc import Sequence

import numpy as np
import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.instances import InstanceScore
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.instances.queries.decoding import FoundInstances
from geoseg_core.instances.tiny.model import InstanceField
from geoseg_core.training.losses.field import drawn_cells, thing_numbers
from geoseg_core.training.losses.instance_truth import instance_truth

DRAWN = 512
# Features of length one at right angles are 1.41 apart; those of a thing that is well learned much less than this.
APART = 0.5


def instance_figures(found: Sequence[FoundInstances], batch: Sample, least_px: int) -> dict[str, float]:
    """Mean over the things of the best overlap, over all views together ("iou"), and average precision with all found
    instances of the batch ranked by their scores ("ap50"); nothing where no thing has `least_px` pixels."""
    assert batch.instance_ids is not None
    ids = batch.instance_ids.unique().tolist()
    score = InstanceScore({each: str(each) for each in ids if 0 < each <= batch.last_thing}, least_px)
    best: list[float] = []
    for instances, truth in zip(found, batch.instance_ids, strict=True):
        counts = overlap(list(truth.cpu().numpy()), list(instances.labels.cpu().numpy()))
        score.add(counts, dict(enumerate(instances.scores.tolist(), start=1)))
        things = (counts.truth_ids <= batch.last_thing) & (counts.truth_px.sum(axis=0) >= least_px)
        best += counts.iou()[things].max(axis=1, initial=0.0).tolist()
    return {"iou": float(np.mean(best)), "ap50": score.report()["ap50"]} if best else {}


def field_figures(field: InstanceField, batch: Sample) -> dict[str, float]:
    """Of the pairs of pixels drawn from the things: the part that is nearer than a half where they are of one thing,
    and farther where not, each kind counting the same ("told_apart"); and the overlap of what is on things with the
    truth ("things_iou"). Nothing where there is no thing; NaN where there is one alone."""
    truth = instance_truth(batch, (field.things.shape[-2], field.things.shape[-1]))
    numbers = thing_numbers(truth)
    on_things = field.things > 0
    both = (on_things & (numbers > 0)).sum() / (on_things | (numbers > 0)).sum().clamp(min=1)
    cells, known = drawn_cells(numbers, DRAWN)
    features = field.features.movedim(2, -1).flatten(1, 3)
    chosen = features.gather(1, cells[..., None].expand(-1, -1, features.shape[-1])).float()
    ids = numbers.flatten(1).gather(1, cells)
    same, near = ids[:, :, None] == ids[:, None], torch.cdist(chosen, chosen) < APART
    counted = known[:, :, None].expand_as(same)
    parts = [(near == kind)[counted & (same == kind)].float().mean() for kind in (True, False)]
    return {"told_apart": float(torch.stack(parts).mean()), "things_iou": float(both)} if known.any() else {}
