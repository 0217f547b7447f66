"""Worlds: the same seed gives the same scene, alone or in a batch, and its ground truth agrees with itself."""

import pytest
import torch

from geoseg_core.config import build
from geoseg_core.datasets.correspondence import correspondences, random_points
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

SMALL = WorldsConfig(width=80, height=60, moments=2, time_step_s=0.8, exo_min=1, exo_max=2)


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    torch.set_num_threads(1)
    return Worlds(SMALL)


def test_a_batch_holds_what_each_seed_gives_alone(worlds: Worlds) -> None:
    batch = worlds.batch([3, 11, 5], exo=2)
    alone = worlds.sample(5, exo=2).check()
    for name, value in alone.tensors().items():
        assert torch.allclose(batch.tensors()[name][2].float(), value.float(), atol=1e-5), name


def test_the_same_seed_gives_the_same_scene_again(worlds: Worlds) -> None:
    first, second = worlds.sample(9), Worlds(SMALL).sample(9)
    for name, value in first.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
    assert first.cameras == second.cameras


def test_more_exo_cameras_change_nothing_for_the_others(worlds: Worlds) -> None:
    few, many = worlds.sample(6, exo=1), worlds.sample(6, exo=2)
    assert few.cameras == ("ego", "exo_1") * 2 and many.cameras == ("ego", "exo_1", "exo_2") * 2
    same = [0, 1, 3, 4]
    assert torch.equal(few.depth, many.depth[same])
    assert (few.images - many.images[same]).abs().max() < 2 / 255
    assert few.moments.tolist() == pytest.approx([0, 0, 0.8, 0.8])


def test_the_number_of_exo_cameras_varies_by_seed_within_its_range(worlds: Worlds) -> None:
    assert {worlds.exo_of(seed) for seed in range(20)} == {1, 2}


def test_an_id_is_the_same_thing_in_every_view_and_moment(worlds: Worlds) -> None:
    batch = worlds.batch(range(12), exo=2)
    things = SMALL.objects_max
    assert batch.object_to_world.shape[2] == things
    arms = 0
    for ids, classes in zip(batch.instance_ids, batch.class_ids, strict=True):
        assert (classes[ids == 0] == 0).all()
        for each in ids.unique().tolist():
            (name,) = {worlds.class_names[index] for index in classes[ids == each].unique().tolist()}
            assert (name == "none") == (each == 0)
            assert (name == "arm") == (each == things + 1)
            arms += each == things + 1
    assert 3 <= arms <= 12


def test_surfaces_of_a_thing_have_the_same_place_in_its_frame_at_every_moment() -> None:
    worlds = Worlds(WorldsConfig(width=80, height=60, moments=3, time_step_s=0.7))
    moving = 0
    for seed in range(10):
        sample = worlds.sample(seed)
        poses = sample.object_to_world.double()
        shift = (poses[4, :, :3, 3] - poses[0, :, :3, 3]).norm(dim=1)
        for each in (shift > 0.03).nonzero().flatten().tolist():
            v, u = (sample.instance_ids[1] == each + 1).nonzero().unbind(1)
            found = correspondences(sample, torch.stack([u, v], dim=1).float(), 1, 5)
            if not found.visible.any():
                continue
            moving += 1
            local = [
                (torch.linalg.inv(poses[view, each]) @ lifted(sample, view, points)[..., None])[..., 0]
                for view, points in ((1, torch.stack([u, v], 1)[found.visible]), (5, found.points_px[found.visible]))
            ]
            assert (local[0] - local[1]).norm(dim=1).median() < 6e-3  # nearest pixels
    assert moving >= 2


def lifted(sample: Sample, view: int, points_px: torch.Tensor) -> torch.Tensor:
    """World points (N, 4) of the pixels nearest to points."""
    u, v = points_px.round().long().unbind(1)
    depth = sample.depth[view, v, u].double()
    rays = torch.stack([points_px[:, 0], points_px[:, 1], torch.ones(len(u))], dim=1).double()
    local = rays @ torch.linalg.inv(sample.intrinsics[view].double()).T * depth[:, None]
    return torch.cat([local, torch.ones(len(u), 1)], dim=1).double() @ sample.camera_to_world[view].double().T


def test_cameras_are_right_handed_inside_the_room_and_see_things(worlds: Worlds) -> None:
    batch = worlds.batch(range(12), exo=2)
    rotation = batch.camera_to_world[..., :3, :3]
    eye = torch.eye(3).expand_as(rotation)
    assert (rotation @ rotation.transpose(-1, -2) - eye).abs().max() < 1e-5
    assert torch.linalg.det(rotation).min() > 0.99
    assert batch.depth.min() > 0.02 and batch.depth.max() < 10
    things = (batch.instance_ids > 0) & (batch.instance_ids <= SMALL.objects_max)
    assert (things.float().mean(dim=(-1, -2)) > 0.003).float().mean() > 0.95
    ego, exo = batch.depth[:, 0].flatten(1).median(dim=1)[0], batch.depth[:, 1].flatten(1).median(dim=1)[0]
    assert ego.median() < 0.9 < exo.median()


def test_the_arm_can_be_left_out() -> None:
    batch = Worlds(WorldsConfig(width=48, height=40, arm=False)).batch(range(8))
    assert (batch.instance_ids <= 10).all()


def test_without_difficulty_views_are_near_to_each_other() -> None:
    angles = {}
    for difficulty in (0.0, 1.0):
        poses = Worlds(WorldsConfig(width=16, height=16, difficulty=difficulty)).batch(range(16)).camera_to_world
        relative = poses[:, 0, :3, :3].transpose(1, 2) @ poses[:, 1, :3, :3]
        cosine = (relative.diagonal(dim1=1, dim2=2).sum(dim=1) - 1) / 2
        angles[difficulty] = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))
    assert angles[0.0].median() < 30
    assert angles[1.0].median() > 1.5 * angles[0.0].median()


def test_another_seed_gives_another_scene(worlds: Worlds) -> None:
    assert not torch.equal(worlds.sample(1, exo=1).depth, worlds.sample(2, exo=1).depth)


def test_points_of_one_view_come_back_from_the_other(worlds: Worlds) -> None:
    sample = worlds.sample(4, exo=1)
    for target in (1, 2, 3):
        points = random_points(sample, 200, 0, target, torch.Generator().manual_seed(1))
        there = correspondences(sample, points, 0, target)
        assert there.visible.all()
        back = correspondences(sample, there.points_px, target, 0)
        assert (back.points_px - points).norm(dim=1).median() < 1e-3


def test_refuses_what_it_cannot_make(worlds: Worlds) -> None:
    with pytest.raises(BadInput, match="exo_max = 2"):
        worlds.sample(0, exo=3)
    with pytest.raises(BadInput, match="seeds from 0"):
        worlds.batch([])
    with pytest.raises(BadConfig, match="objects_min: expected at most objects_max = 4, got 6"):
        WorldsConfig(objects_min=6, objects_max=4)
    with pytest.raises(BadConfig, match="difficulty"):
        build(WorldsConfig, {"difficulty": 1.5})
