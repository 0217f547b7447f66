"""Finding places by descriptors: made descriptors with a known answer."""

import torch

from geoseg_core.geometry.tiny.matching import (
    carried,
    cell_centres,
    cells_of,
    coarse_logits,
    follow,
    follow_coarsely,
    levelled,
    neighbourhood,
    refined,
    sampled,
    window_logits,
)

NOWHERE = torch.tensor(0.0)


def told_apart(height, width, channels, seed=0):
    """A map (1, D, h, w) whose cells have descriptors that agree with themselves alone."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, channels, height, width, generator=generator)
    return 8 * maps / maps.norm(dim=1, keepdim=True)


def test_sampling_at_the_centre_of_a_cell_gives_its_descriptor():
    maps = told_apart(6, 8, 16)
    centre = torch.tensor([[[3 * 8 + 3.5, 2 * 8 + 3.5]]])
    assert torch.allclose(sampled(maps, centre, 8)[0, 0], maps[0, :, 2, 3], atol=1e-5)


def test_a_moved_picture_is_followed_to_the_pixel():
    """The second view is the first one moved by two coarse cells to the right and one down."""
    coarse, fine = told_apart(6, 8, 64), told_apart(12, 16, 32, seed=1)
    moved = torch.roll(coarse, (1, 2), (2, 3)), torch.roll(fine, (2, 4), (2, 3))
    points = torch.tensor([[[3 * 8 + 1.5, 2 * 8 + 1.5], [8 + 5.5, 8 + 5.5]]])  # centres of fine cells
    found, seen = follow((coarse, moved[0]), (fine, moved[1]), NOWHERE, points)
    assert (found - points - torch.tensor([16.0, 8.0])).abs().max() < 0.8
    assert seen.min() > 0.5


def test_what_the_other_view_has_not_is_out_of_sight():
    described = sampled(told_apart(6, 8, 64), torch.tensor([[[20.0, 20.0]]]), 8)
    logits = coarse_logits(described, -0.1 * told_apart(6, 8, 64, seed=5), torch.tensor(8.0))
    assert logits.shape == (1, 1, 49) and logits.softmax(dim=-1)[..., :-1].sum() < 0.1


def test_a_place_between_two_cells_is_refined_between_them():
    logits = torch.full((1, 1, 49), -20.0)
    logits[..., 24] = logits[..., 25] = 5.0  # the centre and the cell to its right
    place = refined(torch.tensor([[[4, 3]]]), logits)
    assert torch.allclose(place, torch.tensor([[[(4.5 + 0.5) * 4 - 0.5, 3.5 * 4 - 0.5]]]), atol=1e-4)


def test_cells_outside_the_map_are_never_found():
    fine = told_apart(4, 4, 8)
    logits = window_logits(torch.ones(1, 1, 8), fine, torch.tensor([[[0, 0]]]))
    inside = logits.isfinite().reshape(7, 7)
    assert inside[3:, 3:].all() and not inside[:3].any() and not inside[:, :3].any()


def test_the_neighbourhood_is_the_mean_of_nine_cells_by_hand():
    cells = torch.tensor([[9.0, 0.0, 0.0, 18.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 27.0, 0.0]])
    wanted = torch.tensor([[1.0, 1.0, 2.0, 2.0], [1.0, 4.0, 5.0, 5.0], [0.0, 3.0, 3.0, 3.0]])
    assert torch.equal(neighbourhood(cells[None])[0], wanted)


def test_a_view_finds_itself_whatever_all_its_places_share():
    apart = told_apart(4, 6, 16)
    shared = apart + 40 * torch.randn(1, 16, 1, 1, generator=torch.Generator().manual_seed(0))
    places = cell_centres(32, 48)[None]
    plain, _ = follow_coarsely((shared, shared), NOWHERE, places)
    found, _ = follow_coarsely((levelled(shared), levelled(shared)), NOWHERE, places)
    wanted = cells_of(places)
    assert (found == wanted).all(-1).float().mean() > 0.9 > (plain == wanted).all(-1).float().mean()
    lengths = levelled(shared).norm(dim=1)
    assert torch.allclose(lengths, shared.norm(dim=1).mean().expand_as(lengths), rtol=1e-5)


def test_a_mask_is_carried_to_where_the_picture_moved():
    source = told_apart(6, 8, 64)
    target = torch.roll(source, (1, 2), dims=(2, 3))
    mask = torch.zeros(1, 48, 64, dtype=torch.bool)
    mask[0, 8:24, 16:40] = True
    both = torch.stack((mask[0], ~mask[0]))[None]
    found, rest = carried((source, target), NOWHERE, both)[0] > 0
    wanted = torch.roll(mask[0], (8, 16), dims=(0, 1))
    assert torch.equal(found[12::8, 12::8], wanted[12::8, 12::8])
    assert torch.equal(rest[12::8, 12::8], ~wanted[12::8, 12::8])
    with torch.autocast("cpu", torch.bfloat16):
        assert carried((source, target), NOWHERE, torch.ones_like(both)).isfinite().all()
    nothing = carried((source, told_apart(6, 8, 64, seed=1)), NOWHERE + 20, both)
    assert (nothing < 0).all()
