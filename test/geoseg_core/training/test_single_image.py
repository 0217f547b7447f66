"""Pairs made of single images: what moved where, by hand."""

import pytest
import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.training.single_image import ImagePairs, ImagePairsConfig, image_pairs, random_moves, warped

STILL = ImagePairsConfig(adaptive_turn_deg=0, adaptive_scale=1, shift=0, light=1)


def sample(count=2, height=24, width=32):
    images = torch.rand(count, 1, 3, height, width, generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(count, 1, height, width, dtype=torch.long)
    ids[:, 0, 8:14, 10:20] = 7
    return Sample(images, instance_ids=ids, source="made")


def test_a_copy_without_a_change_is_the_image():
    made = image_pairs(sample(), True, STILL)
    assert torch.allclose(made.sample.images[:, 0], made.sample.images[:, 1], atol=1e-5)
    assert torch.equal(made.sample.instance_ids[:, 0], made.sample.instance_ids[:, 1])


def test_a_shifted_map_by_hand():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    moves = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    found = warped(maps, moves, "nearest")[0, 0]
    assert found.tolist() == [[0.0, 0.0, 1.0, 2.0], [0.0, 4.0, 5.0, 6.0], [0.0, 8.0, 9.0, 10.0]]
    pairs = ImagePairs(Sample(torch.zeros(1, 2, 3, 3, 4)), moves)
    assert pairs.moved(torch.tensor([[[2.0, 1.0]]]), torch.tensor([0])).tolist() == [[[3.0, 1.0]]]


@pytest.mark.parametrize("adaptive", [True, False])
def test_points_go_where_the_masks_go(adaptive):
    torch.manual_seed(3)
    made = image_pairs(sample(4, 96, 128), adaptive, ImagePairsConfig(adaptive_scale=1.2, large_scale=1.2, shift=0.0))
    ids = made.sample.instance_ids
    centre = torch.tensor([[[14.5, 10.5]]]).expand(4, 1, 2)
    moved = made.moved(centre, torch.arange(4))[:, 0].round().long()
    height, width = ids.shape[-2:]
    within = [row for row, (x, y) in enumerate(moved.tolist()) if 0 <= x < width and 0 <= y < height]
    assert within
    for row in within:
        assert ids[row, 1, moved[row, 1], moved[row, 0]] == 7


def test_families_turn_as_far_as_they_say():
    torch.manual_seed(0)
    settings = ImagePairsConfig()
    for adaptive, least, most in ((True, 0, 15), (False, 30, 180)):
        moves = random_moves(200, (24, 32), adaptive, settings)
        angle = torch.rad2deg(torch.atan2(-moves[:, 0, 1], moves[:, 1, 1])).abs()
        assert least - 1e-3 <= angle.min() and angle.max() <= most + 1e-3
        mirrored = torch.linalg.det(moves[:, :, :2]) < 0
        assert mirrored.any() != adaptive


def test_light_changes_the_copy_alone():
    torch.manual_seed(0)
    made = image_pairs(sample(), True, ImagePairsConfig(adaptive_turn_deg=0, adaptive_scale=1, shift=0, light=2))
    given = sample().images[:, 0]
    assert torch.equal(made.sample.images[:, 0], given)
    ratio = made.sample.images[:, 1].mean(dim=(1, 2, 3)) / given.mean(dim=(1, 2, 3))
    assert ((ratio - 1).abs() > 0.01).any() and ((ratio > 0.5) & (ratio < 2)).all()
