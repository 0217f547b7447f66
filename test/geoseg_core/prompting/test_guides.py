"""What guides tell of each place, by numbers worked out by hand."""

import math

import torch

from geoseg_core.prompting.mv_sam.guides import MAPS, PIXEL_REACHES, REACHES, GuidePlaces, GuidePoints, Guides
from geoseg_core.prompting.mv_sam.marks import rim

NEAR = [math.exp(-((0.3 / reach) ** 2)) for reach in REACHES]


def one_row():
    """Two views of 1 x 2 places: looks along two axes, points 0.3 and 0.4 apart, one of them unknown."""
    looks = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [1.0, 0.0]]])  # views, places, channels
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]], [[0.0, 0.4, 0.0], [math.nan] * 3]])
    context = torch.zeros(1, 2, 1, 1, 2)
    return GuidePlaces(looks.mT[None, :, :, None], points[None, :, None], context)


def told(positive):
    """One point at the first place of the first view."""
    of_kind = torch.tensor([not positive, positive]).reshape(2, 1, 1, 1)
    places = one_row()
    return GuidePoints(
        of_kind, places.looks[:, 0, :, 0, 0][:, None, None], places.points[:, 0, 0, 0][:, None, None],
        torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 1, 1, 2, dtype=torch.int64),
    )  # fmt: skip


@torch.no_grad()
def test_maps_tell_how_alike_and_how_near_places_are_to_points_on_the_object():
    maps = Guides(features=2).maps(one_row(), told(positive=True))[0, 0, :, :, 0]  # (V, 2 * MAPS, 2)
    beside, on = maps[:, :MAPS], maps[:, MAPS:]
    assert torch.allclose(on[0, 0], torch.tensor([1.0, 0.0]))  # looks
    assert torch.allclose(on[1, 0], torch.tensor([0.6, 1.0]))
    assert torch.allclose(on[0, 1], torch.tensor([1.0, math.exp(-4.0 - 4.0 * 0.3)]))  # looks and distance at once
    assert torch.allclose(on[0, 2 : 2 + len(REACHES), 1], torch.tensor(NEAR), atol=1e-6)
    assert (on[1, 2 : 2 + len(REACHES), 1] == 0).all()  # an unknown place is near to nothing
    own = torch.tensor([math.exp(-((1 / reach) ** 2)) for reach in PIXEL_REACHES])
    assert torch.allclose(on[0, -len(PIXEL_REACHES) :, 1], own)
    assert (on[1, -len(PIXEL_REACHES) :] == 0).all()  # another image has no pixels of the point
    assert (beside[:, 0] == -1).all() and (beside[:, 2:] == 0).all()  # no point lies beside the object


@torch.no_grad()
def test_points_beside_the_object_have_maps_of_their_own():
    guides = Guides(features=2)
    on, beside = (guides.maps(one_row(), told(positive)) for positive in (True, False))
    assert torch.equal(on[:, :, :, MAPS:], beside[:, :, :, :MAPS])
    assert torch.equal(on[:, :, :, :MAPS], beside[:, :, :, MAPS:])


def test_the_rim_begins_some_pixels_from_the_mask_and_ends_there():
    mask = torch.zeros(30, 40, dtype=torch.bool)
    mask[10:20, 15:25] = True
    found = rim(mask)
    assert found[15].nonzero().ravel().tolist() == [7, 8, 9, 10, 11, 28, 29, 30, 31, 32]
    assert not rim(torch.zeros_like(mask)).any()
