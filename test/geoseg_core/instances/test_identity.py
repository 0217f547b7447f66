"""Identities over time: motion, touch, hiding, loss and return, in scenes with known truth."""

from collections.abc import Sequence

import numpy as np
from scenes import Solid, ball, box, iou, render_set, tabletop

from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.results import EventKind, ObjectEvent, SceneResult

STEP_NS = 100_000_000


def play(sets: Sequence[list[Solid]], sway: float = 0.0) -> tuple[list[SceneResult], list[tuple[np.ndarray, ...]]]:
    """Process one set after the other, a tenth of a second apart."""
    pipeline, results, truths = ScenePipeline(PipelineConfig()), [], []
    for number, solids in enumerate(sets):
        frames, labels = render_set(solids, number * STEP_NS, sway * number)
        results.append(pipeline.process(frames))
        truths.append(labels)
    return results, truths


def id_of(result: SceneResult, truth: tuple[np.ndarray, ...], label: int) -> int:
    """The id that covers an object best over all views; 0 where less than half of it."""
    assert result.instances is not None
    mine = np.stack(truth) == label
    found = np.stack(result.instances.labels)
    best = int(np.bincount(found[mine]).argmax())
    return best if best and iou(mine, found == best) > 0.5 else 0


def events(results: list[SceneResult], kind: EventKind) -> list[ObjectEvent]:
    return [event for result in results for event in result.events if event.kind is kind]


def test_six_objects_get_six_ids_with_place_and_box() -> None:
    (result,), (truth,) = play([tabletop()])
    ids = [id_of(result, truth, label) for label in range(1, 7)]
    assert len(set(ids)) == 6 and 0 not in ids
    things = {thing.instance_id: thing for thing in result.instances.instances}
    cube = things[ids[1]]
    np.testing.assert_allclose(cube.box.centre, [0, -0.12, 0.03], atol=0.006)
    np.testing.assert_allclose(cube.box.size, [0.06, 0.06, 0.06], atol=0.012)
    assert set(cube.seen_by) == {"ego", "exo_left", "exo_right"}
    cloud = result.instances.cloud
    assert cube.point_count == (cloud.instance_id == ids[1]).sum() > 100
    assert np.isfinite(cloud.xyz).all() and cloud.xyz.dtype == np.float32
    assert {event.object_id for event in events([result], EventKind.FOUND)} == set(things)


def test_ids_stay_while_the_camera_and_one_object_move() -> None:
    def at(number: int) -> list[Solid]:
        return [solid.moved(0.012 * number) if solid.label == 2 else solid for solid in tabletop()]

    results, truths = play([at(number) for number in range(8)], sway=0.02)
    for label in range(1, 7):
        ids = {id_of(result, truth, label) for result, truth in zip(results, truths, strict=True)}
        assert len(ids) == 1 and ids != {0}, (label, ids)
    assert not events(results, EventKind.LOST)


def test_a_pusher_that_touches_and_moves_a_box_leaves_both_their_ids() -> None:
    def at(number: int) -> list[Solid]:
        tip = -0.2 + 0.015 * number
        pushed = max(0.0, tip + 0.02 + 0.03)  # the finger's front and half the box
        finger = Solid(1, (tip, 0.0, 0.08), (0.02, 0.02, 0.075), colour=(30, 30, 30))
        return [finger, box(2, pushed, 0.0, (0.06, 0.06, 0.06)), ball(3, 0.2, 0.15, 0.04)]

    results, truths = play([at(number) for number in range(16)])
    for label in (1, 2, 3):
        ids = {id_of(result, truth, label) for result, truth in zip(results, truths, strict=True)}
        assert len(ids) == 1 and ids != {0}, (label, ids)
    last = np.stack(results[-1].instances.labels)
    truth = np.stack(truths[-1])
    for label in (1, 2):
        assert iou(truth == label, last == id_of(results[-1], truths[-1], label)) > 0.85


def test_an_object_that_goes_is_reported_lost_and_found_under_its_id_when_it_is_back() -> None:
    here, gone = tabletop(), [solid for solid in tabletop() if solid.label != 3]
    results, truths = play([here] * 2 + [gone] * 13 + [here] * 3)
    before, after = id_of(results[1], truths[1], 3), id_of(results[-1], truths[-1], 3)
    assert before == after != 0
    lost = events(results, EventKind.LOST)
    assert [event.object_id for event in lost] == [before] and "gone" in lost[0].reason
    found = [event for event in events(results, EventKind.FOUND) if "again" in event.reason]
    assert [event.object_id for event in found] == [before]
    unseen = next(thing for thing in results[10].instances.instances if thing.instance_id == before)
    assert unseen.seen_by == () and unseen.last_seen_ns == STEP_NS


def test_what_hides_behind_a_screen_is_lost_as_occluded() -> None:
    def walls(number: int) -> list[Solid]:
        closed = [Solid(9, (0, y, 0.1), (0.09, 0.004, 0.1), colour=(15, 15, 15)) for y in (-0.09, 0.09)]
        closed += [Solid(9, (x, 0, 0.1), (0.004, 0.09, 0.1), colour=(15, 15, 15)) for x in (-0.09, 0.09)]
        closed.append(Solid(9, (0, 0, 0.205), (0.1, 0.1, 0.004), colour=(15, 15, 15)))
        return [box(1, 0, 0, (0.05, 0.05, 0.05)), ball(2, 0.3, 0.1, 0.04), *(closed if number >= 2 else [])]

    results, truths = play([walls(number) for number in range(15)])
    hidden = id_of(results[0], truths[0], 1)
    lost = events(results, EventKind.LOST)
    assert [event.object_id for event in lost] == [hidden] and "occluded" in lost[0].reason


def test_two_boxes_taken_for_one_are_split_when_they_part() -> None:
    def at(number: int) -> list[Solid]:
        apart = min(max(0, number - 1), 6) * 0.012
        return [box(1, -0.03 - apart, 0, (0.06, 0.06, 0.06)), box(2, 0.03 + apart, 0, (0.06, 0.06, 0.06))]

    results, truths = play([at(number) for number in range(12)])
    assert id_of(results[0], truths[0], 1) == id_of(results[0], truths[0], 2) or 0 in (
        id_of(results[0], truths[0], 1), id_of(results[0], truths[0], 2),
    )  # fmt: skip
    ids = id_of(results[-1], truths[-1], 1), id_of(results[-1], truths[-1], 2)
    assert 0 not in ids and ids[0] != ids[1]
    split = events(results, EventKind.SPLIT)
    assert len(split) == 1 and {split[0].object_id, *split[0].related_ids} == set(ids)


def test_noise_that_one_camera_sees_once_gets_no_id() -> None:
    extra = box(7, 0.1, 0.0, (0.04, 0.04, 0.04))
    pipeline = ScenePipeline(PipelineConfig())
    plain = [render_set(tabletop(), number * STEP_NS)[0] for number in range(4)]
    ghost = render_set([*tabletop(), extra], 2 * STEP_NS)[0]
    for number, frames in enumerate(plain):
        if number == 2:
            frames = type(frames)((ghost.views[0], *frames.views[1:]))
        things = pipeline.process(frames).instances.instances
        assert len(things) >= 6
        assert all(np.linalg.norm(thing.centroid - [0.1, 0, 0.02]) > 0.05 for thing in things)


def test_a_scene_without_objects_has_no_things_on_the_table() -> None:
    (result,), (truth,) = play([[]])
    assert result.instances is not None
    assert all(found[labels == 200].max() == 0 for found, labels in zip(result.instances.labels, truth, strict=True))
