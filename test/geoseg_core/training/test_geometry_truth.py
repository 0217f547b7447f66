"""Truth for geometry from samples: units, first camera, tracks of points that move or hide, a teacher's word."""

import math

import pytest
import torch
from small_models import small_vggt

from geoseg_core.datasets.sample import Sample, collate
from geoseg_core.errors import BadInput
from geoseg_core.training.losses.teacher import taught
from geoseg_core.training.losses.track_truth import random_queries, true_tracks
from geoseg_core.training.losses.truth import geometry_truth

# A camera of 4 x 4 pixels whose focal length is 2 pixels: 90 degrees.
INTRINSICS = torch.tensor([[2.0, 0, 2], [0, 2, 2], [0, 0, 1]])


def at(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> torch.Tensor:
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([x, y, z])
    return pose


def wall(*cameras: torch.Tensor, depths: tuple[float, ...], **more: torch.Tensor) -> Sample:
    """Cameras that look along z at walls across their view, so far away."""
    views = len(cameras)
    return Sample(
        torch.zeros(views, 3, 4, 4),
        depth=torch.stack([torch.full((4, 4), each) for each in depths]),
        intrinsics=INTRINSICS.expand(views, 3, 3),
        camera_to_world=torch.stack(cameras),
        **more,
    ).check()


def test_lengths_are_in_units_of_the_mean_distance_from_the_first_camera() -> None:
    sample = wall(at(x=10), at(x=12), depths=(4.0, 4.0))
    sample.depth[:, 0] = 0  # the first row is not known
    truth = geometry_truth(collate([sample]))
    rows, columns = torch.meshgrid(torch.arange(1, 4), torch.arange(4), indexing="ij")
    x, y = (columns - 2) / 2 * 4.0, (rows - 2) / 2 * 4.0
    near = (x**2 + y**2 + 16).sqrt().mean()
    beside = ((x + 2) ** 2 + y**2 + 16).sqrt().mean()
    scale = float((near + beside) / 2)
    assert float(truth.scale) == pytest.approx(scale)
    assert truth.depth[0, 0, 1:] == pytest.approx(torch.full((3, 4), 4 / scale))
    assert truth.points[0, 1, 2, 2].tolist() == pytest.approx([2 / scale, 0, 4 / scale])
    assert not bool(truth.known[0, :, 0].any())
    half = math.pi / 2
    assert truth.encodings[0, 0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 1, half, half], abs=1e-6)
    assert truth.encodings[0, 1].tolist() == pytest.approx([-2 / scale, 0, 0, 0, 0, 0, 1, half, half], abs=1e-6)


def test_a_scene_twice_as_large_is_the_same_truth() -> None:
    small = geometry_truth(collate([wall(at(), at(x=1), depths=(2.0, 3.0))]))
    large = geometry_truth(collate([wall(at(), at(x=2), depths=(4.0, 6.0))]))
    assert torch.allclose(small.points, large.points)
    assert torch.allclose(small.encodings, large.encodings)


def test_where_nothing_is_known_lengths_stay_as_they_are() -> None:
    truth = geometry_truth(collate([wall(at(), at(x=1), depths=(0.0, 0.0))]))
    assert float(truth.scale) == 1
    assert not bool(truth.known.any())
    assert bool(torch.isfinite(truth.encodings).all())


def test_a_sample_without_poses_teaches_no_geometry() -> None:
    bare = collate([Sample(torch.zeros(1, 3, 4, 4), depth=torch.ones(1, 4, 4))])
    with pytest.raises(BadInput, match="expected depth, intrinsics and camera_to_world to learn from"):
        geometry_truth(bare)
    with pytest.raises(BadInput, match="expected depth and cameras"):
        true_tracks(bare, torch.zeros(1, 1, 2))


def test_a_point_is_where_the_other_camera_sees_it() -> None:
    batch = collate([wall(at(), at(x=2), depths=(4.0, 4.0))])
    tracks = true_tracks(batch, torch.tensor([[[2.0, 2.0], [0.0, 1.0]]]))
    # Two metres to the right at four metres: one pixel to the left.
    assert tracks.points_px[0].tolist() == [[[2, 2], [0, 1]], [[1, 2], [-1, 1]]]
    assert tracks.known.all()
    assert tracks.visible[0].tolist() == [[True, True], [True, False]], "the second has left the image"


def test_a_point_behind_something_is_hidden_and_still_known() -> None:
    batch = collate([wall(at(), at(), depths=(4.0, 2.0))])
    tracks = true_tracks(batch, torch.tensor([[[1.0, 1.0]]]))
    assert (tracks.known[0].tolist(), tracks.visible[0].tolist()) == ([[True], [True]], [[True], [False]])


def test_a_point_behind_the_camera_or_without_depth_is_not_known() -> None:
    behind = true_tracks(collate([wall(at(), at(z=9), depths=(4.0, 4.0))]), torch.tensor([[[1.0, 1.0]]]))
    assert behind.known[0].tolist() == [[True], [False]]
    nothing = true_tracks(collate([wall(at(), at(), depths=(0.0, 4.0))]), torch.tensor([[[1.0, 1.0]]]))
    assert not bool(nothing.known.any() | nothing.visible.any())


def test_points_move_with_their_object_and_the_rest_stays() -> None:
    ids = torch.zeros(2, 4, 4, dtype=torch.int64)
    ids[0, 2, 2] = 2
    objects = torch.stack([torch.stack([at(), at(x=1)]), torch.stack([at(x=9), at(x=3)])])  # (V, K, 4, 4)
    batch = collate([wall(at(), at(), depths=(4.0, 4.0), instance_ids=ids, object_to_world=objects)])
    tracks = true_tracks(batch, torch.tensor([[[2.0, 2.0], [1.0, 1.0]]]))
    assert tracks.points_px[0, 1].tolist() == [[3, 2], [1, 1]], "object 2 went two metres to the right"


def test_queries_are_drawn_where_something_is_known() -> None:
    known = torch.zeros(2, 3, 5, dtype=torch.bool)
    known[0, 2, 4] = True
    queries = random_queries(known, 50)
    assert queries[0].unique(dim=0).tolist() == [[4, 2]]
    assert len(queries[1].unique(dim=0)) > 5, "of a mask without any pixel all are taken"


def test_a_teachers_word_takes_the_place_of_the_truth() -> None:
    teacher = small_vggt()
    images = torch.rand(1, 2, 3, 42, 60, generator=torch.Generator().manual_seed(1))
    batch = taught(Sample(images, source="photographs"), teacher, least_confidence=0.0)
    assert batch.depth is not None and batch.camera_to_world is not None
    assert batch.depth.shape == (1, 2, 42, 60)
    assert (batch.depth > 0).all()
    assert not batch.metric
    truth = geometry_truth(batch)
    # The first camera becomes the world, whatever the teacher says of it.
    assert truth.encodings[0, 0, :7].tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 1], abs=1e-5)
    said = teacher(torch.nn.functional.interpolate(images[0], (42, 56), mode="bilinear", antialias=True)[None])
    fields = said.pose_encodings[-1][..., 7:]
    assert torch.allclose(truth.encodings[..., 7:], fields, atol=1e-5), "the same fields of view at another size"
    sure = taught(Sample(images), teacher, least_confidence=float(said.depth_confidence.detach().median()))
    assert sure.depth is not None
    assert 0.2 < float((sure.depth > 0).float().mean()) < 0.8
