"""Things that a network finds: their labels, places and identities over time, on scenes with known truth."""

from dataclasses import replace

import numpy as np
import pytest
from found_things import SIZE, STEP_NS, Seen, ToldFinder, Workplace
from scenes import Solid, ball, box, render_set, tabletop

from geoseg_core.config import build
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.instances.segmenter import InstanceConfig
from geoseg_core.results import EventKind

PAIR = [box(1, -0.1, 0.0, (0.08, 0.08, 0.08)), box(2, 0.15, 0.0, (0.08, 0.08, 0.08))]


def kinds(seen: Seen) -> list[tuple[EventKind, int, tuple[int, ...]]]:
    return [(each.kind, each.object_id, each.related_ids) for each in seen.events]


def test_every_pixel_that_is_found_carries_its_id_and_boxes_stand_where_things_are() -> None:
    seen = Workplace().see(tabletop())
    ids = {label: seen.id_of(label) for label in range(1, 7)}
    assert len(set(ids.values())) == 6 and seen.ids() == set(ids.values()) and seen.id_of(0) == 0
    cube = next(each for each in seen.result.instances if each.instance_id == ids[2])
    np.testing.assert_allclose(cube.box.centre, [0, -0.12, 0.03], atol=0.006)
    np.testing.assert_allclose(cube.box.size, [0.06, 0.06, 0.06], atol=0.015)
    np.testing.assert_allclose(cube.box.rotation[:, 2], [0, 0, 1], atol=1e-9)
    assert cube.seen_by == ("ego", "exo_left", "exo_right") and 0.5 <= cube.score <= 0.9
    assert cube.point_count == (seen.result.cloud.instance_id == ids[2]).sum() > 50
    assert {each.object_id for each in seen.events if each.kind is EventKind.FOUND} == seen.ids()


def test_ids_stay_while_camera_and_things_move_and_depth_is_wrong() -> None:
    place = Workplace()
    first = place.see(tabletop())
    for number in range(1, 6):
        solids = [solid.moved(0.01 * number) if solid.label == 2 else solid for solid in tabletop()]
        seen = place.see(solids, sway=0.02 * number, distort=1 + 0.1 * (-1) ** number)
        assert [seen.id_of(label) for label in range(1, 7)] == [first.id_of(label) for label in range(1, 7)]
        assert not seen.events


def test_a_look_that_says_enough_finds_a_thing_again_wherever_it_is() -> None:
    place = Workplace()
    first = place.see(PAIR)
    moved = [PAIR[0].moved(-0.2, 0.25), PAIR[1]]
    assert place.see(moved).id_of(1) == first.id_of(1)
    place.finder.looks = {1: 9}
    other = place.see([PAIR[0].moved(0.1, 0.25), PAIR[1]])
    assert other.id_of(1) not in first.ids() and other.id_of(2) == first.id_of(2)


def test_of_things_that_look_the_same_the_place_says_which_is_which() -> None:
    place = Workplace(ToldFinder(looks={1: 7, 2: 7}))
    first = place.see(PAIR)
    for _ in range(3):
        seen = place.see(PAIR)
        assert (seen.id_of(1), seen.id_of(2)) == (first.id_of(1), first.id_of(2))


def test_a_thing_under_different_labels_in_different_views_is_one() -> None:
    place = Workplace()
    frames, labels = render_set(PAIR, size=SIZE)
    apart = (labels[0], np.where(labels[1] == 1, 3, labels[1]), labels[2])
    seen = place.take(RgbdEncoder().encode(frames), apart)
    assert {seen.id_of(1), seen.id_of(3)} == {seen.id_of(1)} and len(seen.ids()) == 2


def test_things_that_touch_stay_two() -> None:
    touching = [box(1, -0.04, 0.0, (0.08, 0.08, 0.08)), box(2, 0.04, 0.0, (0.08, 0.08, 0.08))]
    assert len(Workplace().see(touching).ids()) == 2


def test_what_is_gone_is_lost_and_back_under_its_id() -> None:
    place = Workplace()
    first = place.see(PAIR)
    events = [event for _ in range(12) for event in place.see(PAIR[1:]).events]
    (lost,) = events
    assert (lost.kind, lost.object_id) == (EventKind.LOST, first.id_of(1)) and lost.reason.startswith("not found")
    unseen = place.see(PAIR[1:]).result
    gone = next(each for each in unseen.instances if each.instance_id == first.id_of(1))
    assert gone.seen_by == () and gone.score < 0.5
    back = place.see(PAIR)
    assert kinds(back) == [(EventKind.FOUND, first.id_of(1), ())] and back.id_of(1) == first.id_of(1)


def test_a_thing_behind_another_is_lost_as_occluded_and_not_merged_into_it() -> None:
    place = Workplace()
    small = box(1, 0.0, 0.1, (0.05, 0.05, 0.05))
    first = place.see([small], names=("ego",))
    screen = Solid(2, (0.0, -0.05, 0.1), (0.15, 0.01, 0.1))
    events = [event for _ in range(12) for event in place.see([small, screen], names=("ego",)).events]
    assert [(each.kind, each.object_id) for each in events if each.object_id == first.id_of(1)] == [
        (EventKind.LOST, first.id_of(1))
    ]
    assert "occluded" in next(each.reason for each in events if each.kind is EventKind.LOST)
    assert not any(each.kind is EventKind.MERGED for each in events)


TOUCHING = [box(1, -0.04, 0.0, (0.1, 0.08, 0.08)), box(2, 0.05, 0.0, (0.08, 0.08, 0.08))]


def test_two_that_are_found_as_one_for_long_are_merged_and_split_again_under_a_new_id() -> None:
    place = Workplace()
    first = place.see(TOUCHING)
    large, small = first.id_of(1), first.id_of(2)
    place.finder.alias = {2: 1}
    seen = [place.see(TOUCHING) for _ in range(6)]
    assert [kinds(each) for each in seen[:4]] == [[]] * 4
    assert kinds(seen[4]) == [(EventKind.MERGED, large, (small,))] and kinds(seen[5]) == []
    assert seen[5].id_of(1) == large and seen[5].ids() == {large}
    place.finder.alias = {}
    seen = [place.see(TOUCHING) for _ in range(4)]
    assert [kinds(each) for each in seen[:2]] == [[], []] and seen[1].id_of(2) == 0
    new = seen[2].id_of(2)
    assert kinds(seen[2]) == [(EventKind.SPLIT, large, (new,))] and new not in (0, large, small)
    assert seen[3].id_of(1) == large and seen[3].id_of(2) == new


def test_two_that_are_found_as_one_for_a_moment_keep_their_ids() -> None:
    place = Workplace()
    first = place.see(TOUCHING)
    for alias in ({2: 1}, {2: 1}, {}, {2: 1}, {2: 1}, {2: 1}, {}):
        place.finder.alias = alias
        seen = place.see(TOUCHING)
        assert not seen.events
    assert (seen.id_of(1), seen.id_of(2)) == (first.id_of(1), first.id_of(2))


def test_a_new_thing_gets_its_id_at_once_from_two_cameras_and_later_from_one() -> None:
    place = Workplace()
    place.see(PAIR[1:])
    assert place.see(PAIR).id_of(1) == 2
    alone = Workplace()
    alone.see(PAIR[1:], names=("ego",))
    assert [alone.see(PAIR, names=("ego",)).id_of(1) for _ in range(4)] == [0, 0, 2, 2]


def test_what_is_unseen_for_long_is_forgotten_and_its_id_never_used_again() -> None:
    place = Workplace(config=build(InstanceConfig, {"identity.remember_s": 0.5, "identity.lost_after_s": 0.2}))
    first = place.see(PAIR)
    for _ in range(8):
        seen = place.see(PAIR[1:])
    assert seen.ids() == {first.id_of(2)}
    assert place.see(PAIR).id_of(1) == 3
    place.segmenter.reset()
    assert place.see(PAIR).ids() == {4, 5}


def test_nothing_found_is_an_empty_result_and_no_error() -> None:
    place = Workplace()
    for _ in range(2):
        seen = place.see([])
        assert seen.ids() == set() and not seen.events and not seen.result.cloud.instance_id.any()
    assert len(place.see(PAIR).ids()) == 2


def test_without_depth_things_keep_their_labels_and_get_no_box() -> None:
    place = Workplace()
    frames, labels = render_set(PAIR, size=SIZE)
    scene = RgbdEncoder().encode(frames)
    for bad in (np.nan, 0.0):
        views = tuple(
            replace(view, depth_m=np.full_like(view.depth_m, bad), points=np.full_like(view.points, np.nan))
            for view in scene.views
        )
        seen = place.take(replace(scene, views=views), labels)
        assert seen.id_of(1) == seen.id_of(1) > 0 and seen.ids() == set() and len(seen.result.cloud.xyz) == 0
    known = place.take(scene, labels)
    assert known.id_of(1) == seen.id_of(1) and known.ids() == {known.id_of(1), known.id_of(2)}


def test_some_nan_is_left_out_of_the_cloud() -> None:
    frames, labels = render_set(PAIR, size=SIZE)
    scene = RgbdEncoder().encode(frames)
    holed = [np.where(np.arange(SIZE[1]) % 2, view.depth_m, np.float32(np.nan)) for view in scene.views]
    views = tuple(replace(view, depth_m=depth_m) for view, depth_m in zip(scene.views, holed, strict=True))
    seen = Workplace().take(replace(scene, views=views), labels)
    assert len(seen.ids()) == 2 and np.isfinite(seen.result.cloud.xyz).all()


def test_little_confidence_is_no_part_of_clouds_and_boxes() -> None:
    frames, labels = render_set(PAIR, size=SIZE)
    scene = RgbdEncoder().encode(frames)
    unsure = [np.where(truth == 1, 0.4, 0.8).astype(np.float32) for truth in labels]
    views = tuple(replace(view, confidence=each) for view, each in zip(scene.views, unsure, strict=True))
    seen = Workplace().take(replace(scene, views=views), labels)
    assert seen.ids() == {seen.id_of(2)} and seen.id_of(1) > 0
    assert set(np.unique(seen.result.cloud.instance_id)) == {0, seen.id_of(2)}
    config = build(InstanceConfig, {"found.least_confidence": 0.3})
    assert len(Workplace(config=config).take(replace(scene, views=views), labels).ids()) == 2


def test_the_cloud_can_do_without_its_background() -> None:
    cloud = Workplace(config=InstanceConfig(with_background=False)).see(PAIR).result.cloud
    assert len(cloud.xyz) and cloud.instance_id.all()


def test_two_hundred_views_are_one_scene() -> None:
    frames, labels = render_set(PAIR, size=(30, 40))
    views = [replace(frames.views[n % 3], camera=f"camera_{n}") for n in range(200)]
    scene = RgbdEncoder().encode(replace(frames, views=tuple(views)))
    seen = Workplace().take(scene, [labels[n % 3] for n in range(200)])
    assert len(seen.ids()) == 2 and len(seen.result.instances[0].seen_by) == 200


def test_without_tf_boxes_stand_on_the_table_however_the_world_lies() -> None:
    frames, labels = render_set(PAIR, size=SIZE)
    scene = RgbdEncoder().encode(frames)
    turned = Similarity(2.0, np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.array([0.3, -1.0, 2.0]))
    views = tuple(turned.view(view) for view in scene.views)
    bare = replace(frames, views=tuple(replace(view, camera_to_world=None) for view in frames.views))
    seen = Workplace().take(replace(scene, frames=bare, views=views), labels)
    for each in seen.result.instances:
        np.testing.assert_allclose(each.box.rotation[:, 2], turned.rotation @ [0, 0, 1], atol=0.03)
        np.testing.assert_allclose(each.box.size[2], 0.16, atol=0.03)


def test_tracks_go_with_a_world_that_moves_and_a_camera_is_forgotten_alone() -> None:
    place = Workplace(ToldFinder(looks={1: 7, 2: 7}))
    first = place.see(PAIR)
    moved = Similarity(3.0, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([5.0, 0, 0]))
    place.segmenter.move_world(moved)
    place.segmenter.flush_camera("ego")
    frames, labels = render_set(PAIR, STEP_NS, size=SIZE)
    scene = RgbdEncoder().encode(frames)
    views = tuple(moved.view(view) for view in scene.views)
    seen = place.take(replace(scene, views=views), labels)
    assert (seen.id_of(1), seen.id_of(2)) == (first.id_of(1), first.id_of(2))
    size = next(each.box.size for each in seen.result.instances if each.instance_id == first.id_of(1))
    np.testing.assert_allclose(size, [0.24, 0.24, 0.24], atol=0.05)


def test_a_prompt_with_the_id_of_a_followed_object_wins_over_that_of_an_instance() -> None:
    place = Workplace()
    first = place.see(PAIR)
    keeper = place.segmenter.keeper
    track = next(each for each in keeper.tracks if each.object_id == first.id_of(1))
    followed = keeper.new_id()
    keeper.rename(track, followed, STEP_NS)
    keeper.rename(track, first.id_of(2), STEP_NS)  # carried by another track that is seen: refused
    seen = place.see(PAIR)
    assert seen.id_of(1) == followed
    assert kinds(seen) == [(EventKind.MERGED, followed, (first.id_of(1),))]


@pytest.mark.parametrize("names", [("ego",), ("ego", "exo_left")])
def test_fewer_cameras_do(names: tuple[str, ...]) -> None:
    place = Workplace()
    seen = place.see([*PAIR, ball(3, 0.0, 0.15, 0.05)], names=names)
    assert len(seen.ids()) == 3
    assert place.see([*PAIR, ball(3, 0.0, 0.15, 0.05)], names=names).ids() == seen.ids()
