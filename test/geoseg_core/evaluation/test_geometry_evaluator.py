"""Encoders measured against samples: a perfect one, spoiled ones, and one that refuses."""

import numpy as np
import pytest
import torch
from scenes import render_set, tabletop

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.geometry_evaluator import (
    GeometryEvaluationConfig,
    GeometryScore,
    evaluate_geometry,
    images_only,
    make_queries,
    track_pairs,
)
from geoseg_core.evaluation.geometry_pictures import depth_colours, scene_sheet, tracks_picture
from geoseg_core.geometry.encoder import PointTracks, ViewGeometry

FEW = GeometryEvaluationConfig(points=64)


@pytest.fixture(scope="module")
def sample():
    """The exact little table: an ego and an exo view."""
    frames, labels = render_set(tabletop(), 10**9)
    views, labels = frames.views[:2], labels[:2]
    return Sample(
        torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2).float() / 255,
        torch.from_numpy(np.stack([view.depth_m for view in views])),
        torch.from_numpy(np.stack(labels).astype(np.int64)),
        intrinsics=torch.from_numpy(np.stack([view.intrinsics for view in views])).float(),
        camera_to_world=torch.from_numpy(np.stack([view.camera_to_world for view in views])).float(),
        cameras=("ego", "exo"),
        source="the little table",
    ).check()


class Knowing:
    """Knows the sample; shrinks its world, turns the second camera and moves tracks as told."""

    name = "knowing"

    def __init__(self, sample, scale=0.5, turn_deg=0.0, depth_factor=1.0, shift_px=0.0, refuse=False):
        self.sample, self.scale, self.turn_deg, self.depth_factor = sample, scale, turn_deg, depth_factor
        self.shift_px, self.refuse, self.seen = shift_px, refuse, []

    def encode(self, frames):
        if self.refuse:
            raise BadInput("not today")
        self.seen.append(frames)
        self.frames = frames
        poses = self.sample.camera_to_world.double().numpy().copy()
        poses[:, :3, 3] *= self.scale
        c, s = np.cos(np.radians(self.turn_deg)), np.sin(np.radians(self.turn_deg))
        poses[1, :3, :3] = poses[1, :3, :3] @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        depth = self.scale * self.sample.depth.numpy() * np.array([1, self.depth_factor], np.float32)[:, None, None]
        matrices = self.sample.intrinsics.double().numpy()
        self.views = tuple(
            ViewGeometry(each, np.ones_like(each), matrix, pose, np.zeros((*each.shape, 3)))
            for each, matrix, pose in zip(depth, matrices, poses, strict=True)
        )
        return self

    def track(self, points_px, source, targets):
        query = make_queries(self.sample, FEW, 0)[source]
        found = np.stack([query.truth_px[np.abs(query.points_px - point).sum(1).argmin()] for point in points_px])
        count = len(points_px)
        return PointTracks(found[None] + self.shift_px, np.ones((1, count), bool), np.ones((1, count)))


def test_a_perfect_encoder_is_perfect_in_any_unit_of_length(sample):
    encoder = Knowing(sample, scale=0.2)
    report = evaluate_geometry(encoder, [sample], FEW).report()
    assert report["rotation_error_deg_median"] == pytest.approx(0, abs=1e-3)
    assert report["auc30"] == pytest.approx(1, abs=1e-4)
    assert report["auc30_folded"] == pytest.approx(1, abs=1e-4)
    assert report["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert report["delta125"] == 1
    assert [report[f"track_pck{percent}"] for percent in (1, 2, 4)] == [1, 1, 1]
    assert (report["sets"], report["pairs"], report["refused"]) == (1, 1, 0)


def test_the_encoder_is_shown_images_alone(sample):
    encoder = Knowing(sample)
    evaluate_geometry(encoder, [sample], FEW)
    for view in encoder.seen[0].views:
        assert view.intrinsics is None and view.camera_to_world is None and view.depth_m is None
    expected = (sample.images[1] * 255).round().permute(1, 2, 0)
    np.testing.assert_array_equal(encoder.seen[0].views[1].image, expected)


def test_each_fault_shows_in_its_figure(sample):
    turned = evaluate_geometry(Knowing(sample, turn_deg=6), [sample], FEW).report()
    assert turned["rotation_error_deg_median"] == pytest.approx(6, abs=1e-3)
    # The second camera turned on its spot: its direction from the first is right.
    assert turned["auc30"] == pytest.approx(1 - 6 / 30, abs=1e-3)
    width = sample.images.shape[-1]
    moved = evaluate_geometry(Knowing(sample, shift_px=0.03 * width / np.sqrt(2)), [sample], FEW).report()
    assert [moved[f"track_pck{percent}"] for percent in (1, 2, 4)] == [0, 0, 1]
    # One view twice as deep as the other: one scale cannot mend both.
    deep = evaluate_geometry(Knowing(sample, depth_factor=2), [sample], FEW).report()
    assert deep["abs_rel"] > 0.2 and 0.2 < deep["delta125"] < 0.8


def test_saying_visible_always_is_right_as_often_as_points_are_visible(sample):
    queries = make_queries(sample, FEW, 0)
    share = np.mean([query.visible.mean() for query in queries])
    assert 0 < share < 1
    report = evaluate_geometry(Knowing(sample), [sample], FEW).report()
    assert report["visibility_accuracy"] == pytest.approx(share)


def test_a_refusal_counts_as_wholly_wrong(sample):
    score = evaluate_geometry(Knowing(sample, refuse=True), [sample, sample], FEW)
    report = score.report()
    assert report["refused"] == 2 and score.refusals[0] == "the little table: not today"
    assert (report["auc30"], report["abs_rel"], report["delta125"], report["track_pck4"]) == (0, 1, 0, 0)
    assert report["rotation_error_deg_median"] == 180


def test_queries_lie_on_known_depth_and_depend_on_the_seed(sample):
    first, second = (make_queries(sample, FEW, 0) for _ in range(2))
    other = make_queries(sample, FEW, 1)
    assert [(each.source, each.target) for each in first] == [(0, 1), (1, 0)]
    np.testing.assert_array_equal(first[0].points_px, second[0].points_px)
    assert not np.array_equal(first[0].points_px, other[0].points_px)
    u, v = first[0].points_px.astype(int).T
    assert (sample.depth[0].numpy()[v, u] > 0).all()


def test_views_without_anything_in_common_leave_no_tracks(sample):
    apart = sample.camera_to_world.clone()
    apart[1, :3, 3] += 100
    lone = Sample(sample.images, sample.depth, None, None, sample.intrinsics, apart, cameras=("ego", "exo"))
    assert make_queries(lone, FEW, 0) == []
    report = evaluate_geometry(Knowing(lone), [lone], FEW).report()
    assert report["track_pck4"] is None and report["visibility_accuracy"] is None
    assert report["delta125"] == 1


def test_tracks_go_to_and_from_the_ego_view():
    assert track_pairs(("ego", "exo_1", "exo_2"), 3) == [(0, 1), (0, 2), (1, 0), (2, 0)]
    assert track_pairs(("0", "7"), 2) == [(0, 1), (1, 0)]
    assert track_pairs((), 2) == [(0, 1), (1, 0)]


def test_views_of_one_camera_get_names_of_their_own():
    twice = Sample(torch.zeros(2, 3, 4, 4), cameras=("ego", "ego"), moments=torch.tensor([0.0, 0.5]))
    frames = images_only(twice)
    assert frames.cameras == ("ego_0", "ego_1")
    assert [view.stamp_ns for view in frames.views] == [0, 500_000_000]
    assert images_only(Sample(torch.zeros(1, 3, 4, 4))).cameras == ("view_0",)


def test_samples_without_truth_are_refused():
    with pytest.raises(BadInput, match="true depth and cameras"):
        evaluate_geometry(Knowing(None), [Sample(torch.zeros(2, 3, 4, 4))])
    with pytest.raises(BadInput, match="at least one set"):
        GeometryScore().report()


def test_pictures_show_right_tracks_in_green_and_wrong_ones_in_red(sample):
    query = make_queries(sample, FEW, 0)[0]
    images = [np.zeros((480, 640, 3), np.uint8)] * 2

    def count(shift_px, channel):
        picture = tracks_picture(Knowing(sample, shift_px=shift_px), query, images).astype(int)
        other = picture[..., 1 - channel]
        return int((picture[..., channel] > other + 100).sum())

    assert count(0, 1) > 1000 and count(0, 0) == 0
    assert count(400, 0) > 1000 and count(400, 1) == 0


def test_a_sheet_has_a_row_for_each_view_and_each_direction(sample):
    sheet = scene_sheet(sample, Knowing(sample).encode(images_only(sample)), make_queries(sample, FEW, 0))
    assert sheet.shape[0] == 4 * (240 + 24 + 6) - 6


def test_depth_is_coloured_by_the_range_of_the_truth():
    truth = np.array([[1.0, 2.0, 4.0, 0.0]])
    colours = depth_colours(truth, truth)
    assert colours[0, 3].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(depth_colours(np.array([[1.0, 9.0]]), truth)[0, 0], colours[0, 0])
    np.testing.assert_array_equal(depth_colours(np.array([[1.0, 9.0]]), truth)[0, 1], colours[0, 2])
