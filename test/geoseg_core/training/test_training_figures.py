"""Figures and pictures of predicted geometry against values worked out by hand."""

import math

import cv2
import numpy as np
import pytest
import torch

from geoseg_core.datasets.sample import Sample, collate
from geoseg_core.geometry.vggt.pose_encoding import encode_pose
from geoseg_core.geometry.vggt.track_head import Tracks
from geoseg_core.training.geometry_metrics import camera_figures, depth_figures, depth_rows, track_figures
from geoseg_core.training.losses.track_truth import TrueTracks
from geoseg_core.training.pictures import depth_colours, png_bytes
from geoseg_core.training.report import smoothed

INTRINSICS = torch.tensor([[2.0, 0, 2], [0, 2, 2], [0, 0, 1]])


def turned(degrees: float, x: float = 0.0) -> torch.Tensor:
    """A pose: a turn about y, then a move along x."""
    angle = math.radians(degrees)
    pose = torch.eye(4)
    pose[0, 0] = pose[2, 2] = math.cos(angle)
    pose[0, 2], pose[2, 0] = math.sin(angle), -math.sin(angle)
    pose[0, 3] = x
    return pose


def scene(*poses: torch.Tensor, depth: float = 2.0) -> Sample:
    views = len(poses)
    depths = torch.full((views, 4, 4), depth)
    return collate(
        [Sample(torch.zeros(views, 3, 4, 4), depths, None, None, INTRINSICS.expand(views, 3, 3), torch.stack(poses))]
    )


def encoded(*poses: torch.Tensor) -> torch.Tensor:
    world_to_camera = torch.stack(poses).inverse()[None, :, :3]
    return encode_pose(world_to_camera, INTRINSICS.expand(1, len(poses), 3, 3), (4, 4))


def test_cameras_are_compared_with_the_first_one() -> None:
    batch = scene(turned(0), turned(10, x=1), turned(20, x=2))
    exact = camera_figures(encoded(turned(0), turned(10, x=1), turned(20, x=2)), batch)
    assert exact == pytest.approx({"field_of_view_deg": 0, "rotation_deg": 0, "direction_deg": 0, "auc30": 1}, abs=1e-3)
    # Both turned 3 degrees too far; how far they moved does not count.
    off = camera_figures(encoded(turned(0), turned(13, x=5), turned(23, x=7)), batch)
    assert off["rotation_deg"] == pytest.approx(3, abs=1e-3)
    assert off["auc30"] == pytest.approx(0.9, abs=1e-3)
    wide = encoded(turned(0), turned(10, x=1), turned(20, x=2)) + torch.tensor([0.0] * 8 + [0.1])
    assert camera_figures(wide, batch)["field_of_view_deg"] == pytest.approx(math.degrees(0.1), abs=1e-3)
    assert set(camera_figures(encoded(turned(0)), scene(turned(0)))) == {"field_of_view_deg"}


def test_depth_has_one_scale_in_a_scene() -> None:
    batch = scene(turned(0), turned(0))
    found = torch.full((1, 2, 4, 4), 1.0)
    assert depth_figures(found, batch) == {"abs_rel": 0, "delta125": 1}
    found[0, 0, 0] = 1.5  # an eighth of the pixels is half too far
    assert depth_figures(found, batch) == pytest.approx({"abs_rel": 0.5 / 8, "delta125": 7 / 8})
    assert depth_figures(found, scene(turned(0), turned(0), depth=0.0)) == {}


def test_tracks_count_where_the_truth_is_seen_and_not_in_the_first_view() -> None:
    places = torch.zeros(1, 2, 3, 2)
    visible = torch.tensor([[[True, True, True], [True, True, False]]])
    known = torch.tensor([[[True, True, True], [True, True, True]]])
    truth = TrueTracks(places[:, 0], places, visible, known)
    found = places.clone()
    found[0, 0] = 99  # does not count
    found[0, 1] = torch.tensor([[0.3, 0.0], [0.5, 0.0], [99.0, 0.0]])
    sure = torch.tensor([[[0.0, 0.0, 0.0], [0.9, 0.1, 0.1]]])
    figures = track_figures(Tracks((found,), sure, sure), truth, scene(turned(0), turned(0)), near=0.1)
    assert figures == pytest.approx({"tracks_near": 1 / 2, "visibility_right": 2 / 3})
    hidden = TrueTracks(places[:, 0], places, visible & False, known & False)
    assert track_figures(Tracks((found,), sure, sure), hidden, scene(turned(0), turned(0)), near=0.1) == {}


def test_pictures_hold_images_true_depth_and_depth() -> None:
    batch = scene(turned(0), turned(0))
    assert depth_rows(batch, None).shape == (2 * 4, 2 * 4, 3)
    batch.depth[0, 0, 0] = 0
    picture = depth_rows(batch, torch.full((1, 2, 4, 4), 7.0))
    assert picture.shape == (3 * 4, 2 * 4, 3)
    assert not picture[4, :4].any(), "unknown depth is black"
    assert (picture[5:8] == picture[9:12]).all(), "a constant factor is taken out"


def test_near_is_bright_and_far_is_dark() -> None:
    near, middle, far = depth_colours(np.array([1.0, 1.5, 3.0]), 1.0, 3.0).astype(int)
    assert near.tolist() == [250, 230, 60]
    assert far.tolist() == [13, 22, 72]
    assert middle.tolist() == [38, 157, 140], "halfway in 1 / depth"


def test_a_png_made_by_hand_is_read_by_others() -> None:

    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    read = cv2.imdecode(np.frombuffer(png_bytes(picture), np.uint8), cv2.IMREAD_COLOR)
    assert (read[..., ::-1] == picture).all()


def test_a_curve_is_smoothed_over_what_came_before() -> None:
    values = np.array([1.0, 3.0, 5.0, 7.0])
    assert smoothed(values, share=0.5).tolist() == [1, 2, 4, 6]
    assert smoothed(values, share=0.0).tolist() == values.tolist()
