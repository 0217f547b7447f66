"""Whether what is said of one set fits together: masks, labels, instances and points. A planner acts on it, so a result
that contradicts itself is a defect of ours and must not leave the house."""

from collections.abc import Sequence

import numpy as np

from geoseg_core.errors import InconsistentResult
from geoseg_core.instances.keeper import LAST_ID
from geoseg_core.results import Instance, InstanceResult, LabelledCloud, PromptResult, SceneResult, ViewMasks
from geoseg_core.views import FrameSet


def check_scene(result: SceneResult) -> None:
    """Check all that one frame set gave.

    Raises:
        InconsistentResult: names the first contradiction.
    """
    if result.masks:
        check_masks(result.masks, result.frames)
    if result.instances is not None:
        check_instances(result.instances, result.frames)
        expect(result.instances.scale == result.scale, "one scale", "instances with a scale of their own")


def check_answer(result: PromptResult) -> None:
    """Check the answer to a prompt.

    Raises:
        InconsistentResult: names the first contradiction.
    """
    check_masks(result.views, result.frames)
    check_cloud(result.cloud, known_ids([result.object_id]))
    if result.instance is not None:
        check_instance(result.instance, result.frames, len(result.cloud.xyz))


def check_masks(views: Sequence[ViewMasks], frames: FrameSet) -> None:
    """Masks of every view of the set, of its size, the same objects in each."""
    cameras = tuple(view.camera for view in views)
    expect(cameras == frames.cameras, f"masks for the cameras {frames.cameras}", f"{cameras}")
    ids = [mask.object_id for mask in views[0].masks]
    expect(len(set(ids)) == len(ids), "every object once in a view", f"{ids}")
    for given, view in zip(views, frames.views, strict=True):
        where = f"camera {given.camera!r}"
        found = [mask.object_id for mask in given.masks]
        expect(found == ids, f"the objects {ids} in {where}", f"{found}")
        for mask in given.masks:
            size = mask.mask.shape
            expect(size == view.size, f"a mask of {view.size} of object {mask.object_id} in {where}", f"{size}")
            expect(0 <= mask.score <= 1, f"a score in [0, 1] of object {mask.object_id} in {where}", f"{mask.score}")


def check_instances(result: InstanceResult, frames: FrameSet) -> None:
    """Labels and points are of instances that are listed; what is listed is of this set."""
    ids = [each.instance_id for each in result.instances]
    expect(len(set(ids)) == len(ids) and 0 not in ids, "every instance once, with an id", f"{ids}")
    known = known_ids(ids)
    expect(len(result.labels) == len(frames.views), f"labels for {len(frames.views)} views", f"{len(result.labels)}")
    for labels, view in zip(result.labels, frames.views, strict=True):
        expect(labels.shape == view.size, f"labels of {view.size} in {view.camera!r}", f"{labels.shape}")
        check_ids(labels, known, f"labels in {view.camera!r}")
    check_cloud(result.cloud, known)
    counts = np.bincount(result.cloud.instance_id, minlength=LAST_ID + 1)
    for each in result.instances:
        check_instance(each, frames, int(counts[each.instance_id]))


def check_instance(each: Instance, frames: FrameSet, points: int) -> None:
    """An instance has as many points as it says, a finite box and centre, and is seen by cameras of the set."""
    name = f"instance {each.instance_id}"
    expect(points == each.point_count, f"{each.point_count} points of {name}", f"{points}")
    numbers = (each.centroid, each.centroid_covariance, each.box.centre, each.box.rotation, each.box.size)
    expect(all(np.isfinite(number).all() for number in numbers), f"a finite centre and box of {name}", "others")
    expect(set(each.seen_by) <= set(frames.cameras), f"{name} seen by some of {frames.cameras}", f"{each.seen_by}")


def check_cloud(cloud: LabelledCloud, known: np.ndarray) -> None:
    """Points with finite places, each with colour, confidence, and an id that is known (65536,) or 0."""
    lengths = {len(part) for part in (cloud.xyz, cloud.rgb, cloud.instance_id, cloud.confidence)}
    expect(len(lengths) == 1, "as many colours, ids and confidences as points", f"{sorted(lengths)}")
    expect(bool(np.isfinite(cloud.xyz).all()), "points with finite places", "others")
    check_ids(cloud.instance_id, known, "points")


def known_ids(ids: Sequence[int]) -> np.ndarray:
    """(65536,) bool: whether an id may be met; 0, for none, always may."""
    known = np.zeros(LAST_ID + 1, bool)
    known[[0, *ids]] = True
    return known


def check_ids(ids: np.ndarray, known: np.ndarray, where: str) -> None:
    """Ids of any shape are known."""
    if not known.take(ids).all():
        strange = np.unique(ids[~known[ids]])
        raise InconsistentResult(f"expected {where} of instances that are listed, got the ids {strange[:5].tolist()}")


def expect(holds: bool, what: str, got: str) -> None:
    if not holds:
        raise InconsistentResult(f"expected {what}, got {got}")
