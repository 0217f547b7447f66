"""Whether masks of an object agree, on a plane that two cameras see five pixels apart."""

import numpy as np
import pytest

from geoseg_core.cross_view.agreement import with_agreement
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.results import Agreement, ObjectMask, Visibility

SIZE = (48, 64)
INTRINSICS = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
UNCHECKED, AGREED, DISPUTED = Agreement.UNCHECKED, Agreement.AGREED, Agreement.DISPUTED


def view(right_m: float = 0.0) -> ViewGeometry:
    pose = np.eye(4)
    pose[0, 3] = right_m
    depth = np.full(SIZE, 2.0, np.float32)
    return ViewGeometry(depth, np.ones(SIZE, np.float32), INTRINSICS, pose, lift(depth, INTRINSICS, pose))


VIEWS = (view(), view(0.2))


def block(left: int, width: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[10:20, left : left + width] = True
    return mask


def states(
    first: np.ndarray, second: np.ndarray, labels: tuple[np.ndarray, ...] | None = None, scores: tuple = (0.9, 0.8)
) -> list[Agreement]:
    given = zip((first, second), scores, strict=True)
    masks = [ObjectMask(1, mask, score, Visibility.VISIBLE) for mask, score in given]
    return [each.agreement for each in with_agreement(VIEWS, masks, labels)]


def test_masks_of_the_same_surface_agree_and_others_are_disputed() -> None:
    assert states(block(30), block(25)) == [AGREED, AGREED]
    assert states(block(30), block(29)) == [AGREED, AGREED]
    assert states(block(30), block(32)) == [DISPUTED, DISPUTED]


def test_a_part_that_is_hidden_is_no_contradiction() -> None:
    assert states(block(30), block(25, 4)) == [AGREED, AGREED]


def test_what_one_view_alone_shows_is_unchecked() -> None:
    assert states(block(30), block(0, 0), scores=(0.9, 0.0)) == [UNCHECKED, UNCHECKED]
    assert states(block(30, 2), block(25, 2)) == [UNCHECKED, UNCHECKED]
    assert states(block(0, 4), block(40)) == [UNCHECKED, UNCHECKED]


@pytest.mark.parametrize(("other", "wanted"), [(7, [AGREED, AGREED]), (8, [AGREED, DISPUTED])])
def test_instances_must_be_the_same_in_all_views(other: int, wanted: list[Agreement]) -> None:
    labels = (np.full(SIZE, 7, np.uint16), np.full(SIZE, other, np.uint16))
    assert states(block(30), block(25), labels) == wanted


def test_instances_do_not_outvote_the_reprojection() -> None:
    labels = (np.full(SIZE, 7, np.uint16),) * 2
    assert states(block(30), block(45), labels) == [DISPUTED, DISPUTED]


def test_masks_beside_all_instances_are_judged_by_reprojection_alone() -> None:
    labels = (np.zeros(SIZE, np.uint16),) * 2
    assert states(block(30), block(25), labels) == [AGREED, AGREED]
