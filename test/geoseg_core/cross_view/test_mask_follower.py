"""Objects followed by masks, on views whose features say exactly what each pixel shows."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg_core.cross_view.carrier import Forgetful, Found, nothing
from geoseg_core.cross_view.config import MaskFollowerConfig
from geoseg_core.cross_view.mask_follower import MaskFollower
from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks
from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.network_input import pi3_placements
from geoseg_core.geometry.pointmap import lift
from geoseg_core.instances import store
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter
from geoseg_core.instances.tracks import Track
from geoseg_core.moment import Moment
from geoseg_core.prompts import Prompt
from geoseg_core.results import ScaleState, Visibility
from geoseg_core.views import FrameSet, View

SIZE = (64, 80)
KINDS = 4
STEP_NS = 100_000_000
COLOURS = np.array([[90, 90, 90], [220, 40, 40], [40, 40, 220], [40, 200, 40]], np.uint8)


@dataclass(eq=False)
class IdScene:
    """Views whose features are the ids of what they show, one channel for each."""

    frames: FrameSet
    views: tuple[ViewGeometry, ...]
    labels: list[np.ndarray]
    scale: ScaleState = ScaleState()  # noqa: RUF009

    @property
    def placements(self):
        return pi3_placements([view.size for view in self.frames.views], SIZE[0] * SIZE[1], 16)

    def matching_maps(self, source: int) -> torch.Tensor:
        ids = torch.from_numpy(np.stack(self.labels)).long()
        return torch.nn.functional.one_hot(ids, KINDS).movedim(-1, 1).float()


class IdCarrier(Forgetful):
    """Finds what the mask shows, wherever it is shown."""

    method = "ids"

    def over_time(self, scene, asked, frame=0):
        found = []
        for each in asked:
            kind = int(each.sighting.maps[:, torch.from_numpy(each.sighting.mask)].sum(dim=1).argmax())
            mask = scene.labels[each.view] == kind
            found.append(Found(mask, mask, float(mask.any())))
        return found

    def between_views(self, scene, source, masks, object_ids=(), frame=0):
        masks = checked_masks(scene.frames, source, masks)
        kinds = [int(np.bincount(scene.labels[source][mask]).argmax()) for mask in masks]
        found = tuple(np.stack([labels == kind for kind in kinds]) for labels in scene.labels)
        there = np.array([[mask.any() for mask in each] for each in found])
        states = np.where(there, Visibility.VISIBLE, Visibility.OCCLUDED)
        return TransferredMasks(found, states, there.astype(float))


def labels_of(*things: tuple[int, int, int]) -> np.ndarray:
    """Squares of 12 pixels: kind, first row, first column."""
    labels = np.zeros(SIZE, int)
    for kind, row, column in things:
        labels[row : row + 12, column : column + 12] = kind
    return labels


def moment(labels: dict[str, np.ndarray], stamp_ns: int = 0) -> Moment:
    intrinsics = np.array([[60.0, 0, 39.5], [0, 60.0, 31.5], [0, 0, 1]])
    depth = np.ones(SIZE, np.float32)
    geometry = ViewGeometry(depth, depth, intrinsics, np.eye(4), lift(depth, intrinsics, np.eye(4)))
    views = tuple(View(name, COLOURS[each], stamp_ns=stamp_ns) for name, each in labels.items())
    scene = IdScene(FrameSet(views), (geometry,) * len(views), list(labels.values()))
    return Moment(scene, InstanceSegmenter(InstanceConfig()))


def follower() -> MaskFollower:
    numbers = iter(range(1, 100))
    return MaskFollower(IdCarrier(), MaskFollowerConfig(), lambda: next(numbers))


def both(column: int = 10, hidden: bool = False) -> dict[str, np.ndarray]:
    """Things 1 and 2 in two views; thing 1 may move, and be hidden from the ego view."""
    ego = labels_of((2, 40, 50)) if hidden else labels_of((1, 10, column), (2, 40, 50))
    return {"ego": ego, "exo": labels_of((1, 30, column + 20), (2, 5, 5))}


def masks_of(found, object_id: int) -> list[np.ndarray]:
    return [mask.mask for view in found for mask in view.masks if mask.object_id == object_id]


def test_a_prompted_object_is_followed_in_every_view_and_keeps_its_name():
    following = follower()
    asked = following.track(moment(both()), Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    assert asked.object_id == 1 and [view.masks[0].label for view in asked.views] == ["cup", "cup"]
    for number in range(1, 4):
        labels = both(10 + 4 * number)
        found = following.masks(moment(labels, number * STEP_NS))
        for mask, truth in zip(masks_of(found, 1), labels.values(), strict=True):
            assert (mask == (truth == 1)).all()
    (known,) = following.objects()
    assert (known.object_id, known.label, known.last_seen_ns) == (1, "cup", 3 * STEP_NS)


class FadingCarrier(IdCarrier):
    """Each carrying of a mask over time loses a column of it. What moved by more than `reach` columns is not found.

    asked: how many masks were carried over time in each set.
    """

    def __init__(self, reach: int, score: float) -> None:
        self.reach, self.score, self.asked = reach, score, []

    def over_time(self, scene, asked, frame=0):
        self.asked.append(len(asked))
        return [
            self._faded(scene, each, found) for each, found in zip(asked, super().over_time(scene, asked), strict=True)
        ]

    def _faded(self, scene, asked, found):
        first, last = (int(np.nonzero(mask.any(axis=0))[0][0]) for mask in (asked.sighting.mask, found.mask))
        if abs(last - first) > self.reach:
            return nothing(scene, asked.view)
        width = int(asked.sighting.mask.any(axis=0).sum()) - 1
        mask = found.mask & (np.arange(SIZE[1]) < last + width)
        return Found(mask, mask, self.score)


def fading(reach: int, score: float) -> tuple[MaskFollower, FadingCarrier]:
    carrier = FadingCarrier(reach, score)
    following = MaskFollower(carrier, MaskFollowerConfig(), lambda: 1)
    now = {"ego": labels_of((1, 10, 10))}
    following.track(moment(now), Prompt("ego", mask=now["ego"] == 1), 0, "")
    return following, carrier


def columns_after(following: MaskFollower, moves: int, start: int = 0) -> int:
    """Columns of the mask after so many sets, in each of which the thing, 12 columns wide, moves by 4."""
    for number in range(start + 1, start + moves + 1):
        found = following.masks(moment({"ego": labels_of((1, 10, 10 + 4 * number))}, number * STEP_NS))
    return int(found[0].masks[0].mask.any(axis=0).sum())


def test_errors_do_not_add_up_where_an_object_looks_as_it_was_marked():
    following, carrier = fading(reach=80, score=0.9)
    assert columns_after(following, 4) == 11
    # Found for sure, it is not looked for again.
    assert carrier.asked == [1, 0] * 4


def test_an_object_that_no_longer_looks_as_it_was_marked_is_found_as_it_was_seen_last():
    following, _ = fading(reach=8, score=0.9)
    # Two sets from the mark, then each from the one before.
    assert columns_after(following, 2) == 11
    assert columns_after(following, 3, start=2) == 8


def test_a_mask_from_a_doubtful_one_is_trusted_less():
    """Both ways give the same score, so that of the marked mask counts."""
    following, carrier = fading(reach=80, score=0.5)
    assert columns_after(following, 4) == 11
    assert carrier.asked == [1, 0, *[1, 1] * 3]


def test_an_object_that_was_hidden_is_found_again_under_its_id():
    following = follower()
    following.track(moment(both()), Prompt("exo", mask=both()["exo"] == 1), 0, "")
    for number in range(1, 4):
        ego, exo = following.masks(moment(both(hidden=True), number * STEP_NS))
        assert not ego.masks[0].mask.any() and ego.masks[0].visibility is Visibility.OCCLUDED
        assert ego.masks[0].score == 0 and (exo.masks[0].mask == (both()["exo"] == 1)).all()
    labels = both(30)
    found = following.masks(moment(labels, 4 * STEP_NS))
    assert (masks_of(found, 1)[0] == (labels["ego"] == 1)).all()


def test_a_camera_that_comes_later_gets_the_mask_of_the_others():
    following = follower()
    alone = {"ego": both()["ego"]}
    following.track(moment(alone), Prompt("ego", mask=alone["ego"] == 2), 0, "")
    found = following.masks(moment(both(), STEP_NS))
    assert (masks_of(found, 1)[1] == (both()["exo"] == 2)).all()


def test_several_objects_are_followed_and_forgotten_apart():
    following, now = follower(), moment(both())
    for kind in (1, 2):
        following.track(now, Prompt("ego", mask=both()["ego"] == kind), 0, f"thing {kind}")
    assert [len(view.masks) for view in following.masks(now)] == [2, 2]
    following.forget(1)
    assert [[mask.object_id for mask in view.masks] for view in following.masks(now)] == [[2], [2]]
    found = following.masks(moment(both(), STEP_NS))
    assert (masks_of(found, 2)[0] == (both()["ego"] == 2)).all()


def test_a_prompt_on_a_followed_object_gives_its_id_and_another_one_a_new_id():
    following, now = follower(), moment(both())
    first = following.track(now, Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    again = following.track(now, Prompt("exo", mask=both()["exo"] == 1), 0, "")
    other = following.track(now, Prompt("exo", mask=both()["exo"] == 2), 0, "")
    assert (first.object_id, again.object_id, other.object_id) == (1, 1, 2)
    assert again.views[0].masks[0].label == "cup"


class RoughCarrier(IdCarrier):
    """Finds 7 of the 12 columns of a thing in another view."""

    def __init__(self, score: float) -> None:
        self.score = score

    def between_views(self, scene, source, masks, object_ids=(), frame=0):
        found = super().between_views(scene, source, masks)
        rough = [each if view == source else each & (each.cumsum(axis=2) <= 7) for view, each in enumerate(found.masks)]
        scores = np.array([[1.0 if view == source else self.score] for view in range(len(rough))])
        return replace(found, masks=tuple(rough), scores=scores)


@pytest.mark.parametrize(("score", "object_id"), [(0.55, 1), (0.75, 2)])
def test_a_mark_in_another_view_means_the_object_whose_mask_is_as_good_there_as_expected(score, object_id):
    """Overlap 7/12."""
    numbers = iter(range(1, 100))
    following = MaskFollower(RoughCarrier(score), MaskFollowerConfig(), lambda: next(numbers))
    now = moment(both())
    for camera in ("ego", "exo"):
        found = following.track(now, Prompt(camera, mask=both()[camera] == 1), 0, "")
    assert found.object_id == object_id
    assert (found.views[1].masks[0].mask == (both()["exo"] == 1)).all()
    # The view that was marked first keeps its mark, unless this is another object.
    marked = found.views[0].masks[0].mask == (both()["ego"] == 1)
    assert marked.all() == (object_id == 1)


def test_a_correction_replaces_what_was_remembered():
    following, now = follower(), moment(both())
    following.track(now, Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    following.track(now, Prompt("ego", mask=both()["ego"] == 2), 1, "")
    found = following.masks(moment(both(), STEP_NS))
    assert (masks_of(found, 1)[1] == (both()["exo"] == 2)).all()
    assert [each.label for each in following.objects()] == ["cup"]


def test_points_alone_correct_the_mask_that_is_there():
    following, now = follower(), moment(both())
    two = both()["ego"] > 0
    following.track(now, Prompt("ego", mask=two), 0, "")
    point = Prompt("ego", points_px=np.array([[55.0, 45.0]]), positive=np.array([False]))
    corrected = following.track(now, point, 1, "")
    assert (corrected.views[0].masks[0].mask == (both()["ego"] == 1)).all()


class StrayingCarrier(IdCarrier):
    """Takes thing 2 for what it followed in the ego view, from a time on."""

    wrong_from_ns = 2 * STEP_NS

    def over_time(self, scene, asked, frame=0):
        if scene.frames.stamp_ns < self.wrong_from_ns:
            return super().over_time(scene, asked)
        mask = scene.labels[0] == 2
        return [Found(mask, mask, 1.0) if each.view == 0 else nothing(scene, each.view) for each in asked]


def test_a_correction_goes_back_to_where_the_object_went_wrong():
    """The exo view, which does not see the object when it is corrected, remembers it from the newest set that does."""
    numbers = iter(range(1, 100))
    straying = StrayingCarrier()
    following = MaskFollower(straying, MaskFollowerConfig(), lambda: next(numbers))
    following.track(moment(both()), Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    for number in (1, 2, 3):
        found = following.masks(moment(both(), number * STEP_NS))
    assert (masks_of(found, 1)[0] == (both()["ego"] == 2)).all()
    straying.wrong_from_ns = 10 * STEP_NS
    hidden = both() | {"exo": labels_of((2, 5, 5))}
    following.masks(now := moment(hidden, 4 * STEP_NS))
    following.track(now, Prompt("ego", mask=hidden["ego"] == 1), 1, "")
    later = {"ego": labels_of((2, 40, 50)), "exo": both(14)["exo"]}
    found = following.masks(moment(later, 5 * STEP_NS))
    assert (masks_of(found, 1)[1] == (later["exo"] == 1)).all()


def test_a_camera_that_is_no_longer_the_first_is_asked_by_way_of_others():
    """The first view of a set has features of another kind; those of before are not compared with them."""
    following = follower()
    labels = {"ego": both()["ego"], "left": both()["exo"], "right": both()["exo"]}
    following.track(moment(labels), Prompt("ego", mask=labels["ego"] == 1), 0, "")
    asked: list[int] = []
    following.carrier.over_time = lambda scene, given, frame=0: (
        asked.extend(each.view for each in given) or IdCarrier().over_time(scene, given, frame)
    )
    later = {"left": labels["left"], "right": labels["right"]}
    found = following.masks(moment(later, STEP_NS))
    assert asked == [1] and all((mask == (labels["left"] == 1)).all() for mask in masks_of(found, 1))


def test_the_answer_holds_points_and_a_box_in_three_dimensions():
    result = follower().segment(moment(both()), Prompt("ego", mask=both()["ego"] == 1))
    shown = moment(both()).scene.views[0].points[both()["ego"] == 1]
    assert result.object_id == 0 and len(result.cloud.xyz) > 100
    assert np.allclose(result.instance.box.size.max(), np.ptp(shown[:, 0]), atol=0.4)
    assert follower().objects() == []


def test_a_flushed_camera_is_served_by_the_others():
    following = follower()
    following.track(moment(both()), Prompt("ego", mask=both()["ego"] == 1), 0, "")
    following.flush_camera("ego")
    found = following.masks(moment(both(), STEP_NS))
    assert (masks_of(found, 1)[0] == (both()["ego"] == 1)).all()


def test_what_is_followed_outlives_a_file(tmp_path: Path):
    following = follower()
    following.track(moment(both()), Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    store.save(path := str(tmp_path / "memory.safetensors"), [], following.stored(), 5)
    other = follower()
    _, things, next_id = store.load(path, other.read)
    other.restore(things)
    assert next_id == 5 and [(each.object_id, each.label) for each in other.objects()] == [(1, "cup")]
    found = other.masks(moment(both(20), STEP_NS))
    assert (masks_of(found, 1)[0] == (both(20)["ego"] == 1)).all()


def test_a_file_holds_how_an_object_was_marked_and_how_it_was_seen_last(tmp_path: Path):
    following, _ = fading(reach=80, score=0.9)
    assert columns_after(following, 3) == 11
    store.save(path := str(tmp_path / "memory.safetensors"), [], following.stored(), 5)
    for reach, columns in ((80, 11), (8, 10)):
        other, _ = fading(reach=reach, score=0.9)
        _, things, _ = store.load(path, other.read)
        other.restore(things)
        assert columns_after(other, 1, start=3) == columns


def test_a_file_with_two_things_of_one_id_is_refused(tmp_path: Path):
    following = follower()
    following.track(moment(both()), Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    once = following.stored()
    again = {f"1.{name.removeprefix('0.')}": array for name, array in once.arrays.items()}
    twice = replace(once, arrays={**once.arrays, **again}, facts={"masks": once.facts["masks"] * 2})
    store.save(path := str(tmp_path / "memory.safetensors"), [], twice, 5)
    with pytest.raises(BadInput, match="distinct ids"):
        store.load(path, following.read)


def test_files_of_other_followers_or_other_networks_are_refused():
    following = follower()
    following.track(moment(both()), Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    stored = following.stored()
    with pytest.raises(KeyError):
        following.read(replace(stored, facts={"flat": []}))
    flat = {name: array[0] if name.endswith("maps") else array for name, array in stored.arrays.items()}
    with pytest.raises(ValueError, match="maps"):
        following.read(replace(stored, arrays=flat))


def test_a_prompt_on_an_instance_gives_its_id():
    following, seen = follower(), moment(both())
    seen.labels = tuple(np.where(labels == 1, 41, 0).astype(np.uint16) for labels in both().values())
    asked = following.track(seen, Prompt("exo", mask=both()["exo"] == 1), 0, "cup")
    assert asked.object_id == 41 and [each.object_id for each in following.objects()] == [41]
    other = following.track(seen, Prompt("ego", mask=both()["ego"] == 2), 0, "box")
    assert other.object_id == 1  # no instance there: a new one
    again = following.track(seen, Prompt("ego", mask=both()["ego"] == 1), 0, "")
    assert again.object_id == 41 and [view.masks[0].label for view in again.views] == ["cup", "cup"]


def test_a_followed_object_and_the_instance_that_it_is_share_an_id_in_a_file(tmp_path: Path):
    following, seen = follower(), moment(both())
    seen.labels = tuple(np.where(labels == 1, 3, 0).astype(np.uint16) for labels in both().values())
    following.track(seen, Prompt("ego", mask=both()["ego"] == 1), 0, "cup")
    points = np.ones((9, 3), np.float32)
    track = Track(3, points, points, np.ones(9, bool), 0, 0, look=np.array([0.6, 0.8], np.float32), followed=True)
    unplaced = Track(4, points[:0], points[:0], np.ones(0, bool), 0, 0)
    store.save(path := str(tmp_path / "memory.safetensors"), [track, unplaced], following.stored(), 5)
    (kept,), (thing,), next_id = store.load(path, following.read)
    assert (kept.object_id, thing.object_id, next_id) == (3, 3, 5) and kept.followed
    np.testing.assert_array_equal(kept.look, track.look)


def test_what_is_held_is_counted_and_where_memory_is_short_objects_are_followed_on():
    following = follower()
    assert following.held_bytes == 0
    for kind in (1, 2):
        following.track(moment(both()), Prompt("ego", mask=both()["ego"] == kind), 0, "")
        following.masks(moment(both(14), STEP_NS))
    # Two views' features, as first seen and as last seen; both objects share them from the second set on.
    maps = KINDS * SIZE[0] * SIZE[1] * 4
    assert maps <= following.held_bytes <= 8 * maps
    following.shrink()
    found = following.masks(moment(both(18), 2 * STEP_NS))
    assert [masks_of(found, number)[0].sum() for number in (1, 2)] == [144, 144]
