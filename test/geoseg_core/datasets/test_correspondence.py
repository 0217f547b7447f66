"""Correspondences computed by hand: a plane, a thing that moves, a thing in front, and what nobody knows."""

from dataclasses import replace

import pytest
import torch

from geoseg_core.datasets.correspondence import correspondences, random_points
from geoseg_core.datasets.sample import Sample, collate
from geoseg_core.errors import BadInput

HEIGHT, WIDTH, FOCAL = 30, 40, 50.0


def moved(x: float, y: float = 0.0, z: float = 0.0) -> torch.Tensor:
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([x, y, z])
    return pose


@pytest.fixture
def sample() -> Sample:
    """A wall 2 m away, seen from two places 0.1 m apart; object 1 is a patch of it, which moves to the right."""
    depth = torch.full((2, HEIGHT, WIDTH), 2.0)
    ids = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64)
    ids[0, 10:20, 10:18] = 1
    ids[1, 10:20, 17:25] = 1  # 0.4 m = 10 px to the right, 2.5 px to the left by the camera: columns 17.5 to 24.5
    intrinsics = torch.tensor([[FOCAL, 0, 19.5], [0, FOCAL, 14.5], [0, 0, 1]]).repeat(2, 1, 1)
    return Sample(
        images=torch.zeros(2, 3, HEIGHT, WIDTH),
        depth=depth,
        instance_ids=ids,
        intrinsics=intrinsics,
        camera_to_world=torch.stack([moved(0), moved(0.1)]),
        object_to_world=torch.stack([moved(0, 0, 2), moved(0.4, 0, 2)])[:, None],
        moments=torch.tensor([0.0, 1.0]),
        cameras=("ego", "exo_1"),
        source="by hand",
    )


def test_a_plane_shifts_by_focal_length_times_baseline_over_depth(sample: Sample) -> None:
    points = torch.tensor([[30.0, 5.0], [8.25, 25.75]])
    found = correspondences(sample, points, 0, 1)
    assert found.points_px == pytest.approx(points - torch.tensor([2.5, 0]), abs=1e-5)
    assert found.depth.tolist() == pytest.approx([2, 2])
    assert found.visible.tolist() == [True, True]


def test_a_thing_takes_its_points_along(sample: Sample) -> None:
    found = correspondences(sample, torch.tensor([[14.0, 15.0]]), 0, 1)
    assert found.points_px[0].tolist() == pytest.approx([14 + 10 - 2.5, 15], abs=1e-5)
    assert found.visible.all()
    back = correspondences(sample, found.points_px, 1, 0)
    assert back.points_px[0].tolist() == pytest.approx([14, 15], abs=1e-5)


def test_what_is_covered_by_another_thing_is_not_visible(sample: Sample) -> None:
    # The wall at column 22 of view 0 is at column 19.5 of view 1, where the thing is now.
    found = correspondences(sample, torch.tensor([[22.0, 15.0]]), 0, 1)
    assert not found.visible.any()


def test_what_is_nearer_hides_though_it_has_no_id(sample: Sample) -> None:
    depth = sample.depth.clone()
    depth[1, :, 25:30] = 1.0
    found = correspondences(replace(sample, depth=depth), torch.tensor([[30.0, 5.0], [35.0, 5.0]]), 0, 1)
    assert found.visible.tolist() == [False, True]


def test_outside_the_picture_and_behind_the_camera_is_not_visible(sample: Sample) -> None:
    assert not correspondences(sample, torch.tensor([[1.0, 5.0]]), 0, 1).visible.any()
    behind = replace(sample, camera_to_world=torch.stack([moved(0), moved(0, 0, 3)]))
    found = correspondences(behind, torch.tensor([[19.0, 5.0]]), 0, 1)
    assert found.depth[0].item() == pytest.approx(-1)
    assert not found.visible.any()


def test_unknown_depth_gives_nothing(sample: Sample) -> None:
    depth = sample.depth.clone()
    depth[0, 5, 30] = 0
    found = correspondences(replace(sample, depth=depth), torch.tensor([[30.0, 5.0], [32.0, 5.0]]), 0, 1)
    assert found.visible.tolist() == [False, True]


def test_a_thing_of_unknown_motion_is_visible_at_its_own_moment_only(sample: Sample) -> None:
    ids = torch.where(sample.instance_ids == 1, 2, 0)  # there is no pose of a second object
    point = torch.tensor([[15.0, 15.0]])
    later = replace(sample, instance_ids=ids)
    assert not correspondences(later, point, 0, 1).visible.any()
    ids = ids.clone()
    ids[1] = 0
    ids[1, 10:20, 7:16] = 2
    same = replace(sample, instance_ids=ids, moments=torch.zeros(2))
    assert correspondences(same, point, 0, 1).visible.all()


def test_depth_between_pixels_of_a_slanted_plane_is_exact(sample: Sample) -> None:
    # z = 2 / (1 - 0.2 (u - 19.5) / FOCAL): the plane z = 2 + 0.2 x.
    u = torch.arange(WIDTH).float()
    depth = (2 / (1 - 0.2 * (u - 19.5) / FOCAL)).expand(2, HEIGHT, WIDTH)
    still = replace(sample, depth=depth, instance_ids=None, object_to_world=None)
    found = correspondences(still, torch.tensor([[10.37, 8.61]]), 0, 1)
    z = 2 / (1 - 0.2 * (10.37 - 19.5) / FOCAL)
    assert found.depth[0].item() == pytest.approx(z, abs=1e-6)
    assert found.points_px[0, 0].item() == pytest.approx(10.37 - FOCAL * 0.1 / z, abs=1e-5)


def test_a_batch_holds_what_each_sample_gives(sample: Sample) -> None:
    other = replace(sample, depth=sample.depth * 1.5)
    points = torch.tensor([[[30.0, 5.0]], [[14.0, 15.0]]])
    together = correspondences(collate([sample, other]), points, 0, 1)
    for index, each in enumerate((sample, other)):
        alone = correspondences(each, points[index], 0, 1)
        assert torch.equal(together.points_px[index], alone.points_px)
        assert torch.equal(together.visible[index], alone.visible)


def test_random_points_are_seen_by_both_and_repeat_with_their_generator(sample: Sample) -> None:
    points = random_points(sample, 50, 0, 1, torch.Generator().manual_seed(3))
    assert points.shape == (50, 2)
    assert correspondences(sample, points, 0, 1).visible.all()
    assert torch.equal(points, random_points(sample, 50, 0, 1, torch.Generator().manual_seed(3)))
    nowhere = replace(sample, depth=torch.zeros_like(sample.depth))
    assert random_points(nowhere, 50, 0, 1, torch.Generator()).shape == (0, 2)


def test_says_what_is_missing(sample: Sample) -> None:
    with pytest.raises(BadInput, match=r"by hand: expected depth and cameras .* got no \['depth'\]"):
        correspondences(replace(sample, depth=None), torch.zeros(1, 2), 0, 1)
    with pytest.raises(BadInput, match=r"points_px: expected \(N, 2\), got \(1, 1, 2\)"):
        correspondences(sample, torch.zeros(1, 1, 2), 0, 1)
