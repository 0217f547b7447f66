"""How well instances were found in a batch."""

from collections.abc import Sequence

import numpy as np

from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.instances import InstanceScore
from geoseg_core.evaluation.overlap import overlap
from geoseg_core.instances.queries.decoding import FoundInstances


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
