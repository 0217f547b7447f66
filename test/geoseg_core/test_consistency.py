"""What is said of one set fits together, or is refused with what does not."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import render_set, tabletop

from geoseg_core.consistency import check_answer, check_scene
from geoseg_core.errors import InconsistentResult
from geoseg_core.pipeline import ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.results import ScaleState, ScaleStatus

BOX = Prompt("ego", box_px=np.array([20.0, 15.0, 45.0, 35.0]))


@pytest.fixture(scope="module")
def told():
    """A result with an object that is followed, and the answer to its prompt."""
    pipeline = ScenePipeline()
    for stamp_ns in (1, 100_000_001):
        frames, _ = render_set(tabletop(), size=(48, 64), names=("ego", "exo_left"))
        views = tuple(replace(view, stamp_ns=stamp_ns) for view in frames.views)
        result = pipeline.process(replace(frames, views=views))
        answer = pipeline.track_object(BOX)
    assert result.masks[0].masks and result.instances.instances
    return result, answer


def with_mask(result, view: int, **changed):
    """The first mask of a view changed."""
    masks = list(result.masks)
    first, *others = masks[view].masks
    masks[view] = replace(masks[view], masks=(replace(first, **changed), *others))
    return replace(result, masks=tuple(masks))


def with_cloud(result, **changed):
    return replace(result, instances=replace(result.instances, cloud=replace(result.instances.cloud, **changed)))


def with_instance(result, **changed):
    first, *others = result.instances.instances
    return replace(result, instances=replace(result.instances, instances=(replace(first, **changed), *others)))


def test_what_the_pipeline_says_fits_together(told):
    result, answer = told
    check_scene(result)
    check_answer(answer)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: replace(r, masks=r.masks[::-1]), "masks for the cameras"),
        (lambda r: replace(r, masks=r.masks[:1]), "masks for the cameras"),
        (lambda r: with_mask(r, 1, object_id=999), "the objects"),
        (lambda r: with_mask(r, 1, mask=np.zeros((2, 2), bool)), "a mask of \\(48, 64\\)"),
        (lambda r: with_mask(r, 0, score=float("nan")), "a score in"),
        (lambda r: replace(r, masks=tuple(replace(v, masks=v.masks * 2) for v in r.masks)), "every object once"),
        (lambda r: replace(r, instances=replace(r.instances, labels=r.instances.labels[:1])), "labels for 2 views"),
        (lambda r: replace(r, instances=replace(r.instances, instances=())), "labels in 'ego' of instances"),
        (lambda r: with_cloud(r, instance_id=r.instances.cloud.instance_id + 60_000), "the ids \\[60000"),
        (lambda r: with_cloud(r, rgb=r.instances.cloud.rgb[:-1]), "as many colours"),
        (lambda r: with_cloud(r, xyz=np.full_like(r.instances.cloud.xyz, np.inf)), "finite places"),
        (lambda r: with_instance(r, point_count=1_000_000), "1000000 points"),
        (lambda r: with_instance(r, centroid=np.full(3, np.nan)), "a finite centre"),
        (lambda r: with_instance(r, seen_by=("nobody",)), "seen by some of"),
        (lambda r: replace(r, scale=ScaleState(ScaleStatus.UNKNOWN)), "one scale"),
    ],
)
def test_a_contradiction_is_named(told, spoil, words):
    with pytest.raises(InconsistentResult, match=words):
        check_scene(spoil(told[0]))


def test_an_answer_with_points_of_another_object_is_refused(told):
    answer = told[1]
    others = np.full_like(answer.cloud.instance_id, answer.object_id + 1)
    with pytest.raises(InconsistentResult, match="points of instances that are listed"):
        check_answer(replace(answer, cloud=replace(answer.cloud, instance_id=others)))
