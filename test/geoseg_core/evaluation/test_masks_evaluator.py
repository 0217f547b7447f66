"""Mask transfers measured against samples: one that knows all, one that knows nothing, and those that refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.masks_evaluator import MaskEvaluationConfig, evaluate_masks, objects_of, targets_of
from geoseg_core.evaluation.masks_pictures import HEIGHT_PX, masks_sheet
from geoseg_core.results import Visibility

LEAST = MaskEvaluationConfig(least_px=20)


@pytest.fixture
def sample():
    """Object 1 is in both views, 2 in the ego view alone, 3 too small in the exo view, 4 too small in the ego view."""
    ids = torch.zeros(2, 30, 40, dtype=torch.int64)
    ids[0, 2:10, 2:10], ids[1, 4:12, 20:28] = 1, 1
    ids[0, 15:20, 5:15] = 2
    ids[0, 15:20, 20:30], ids[1, 20:22, 3:6] = 3, 3
    ids[0, 25:27, 3:6], ids[1, 20:28, 30:38] = 4, 4
    images = torch.rand(2, 3, 30, 40, generator=torch.manual_seed(0))
    return Sample(images, instance_ids=ids, cameras=("ego", "exo_1"), source="two views").check()


class Knowing:
    """Reads masks off the sample, and remembers what it was given."""

    def __init__(self, sample):
        self.labels, self.seen = sample.instance_ids.numpy(), []

    def __call__(self, scene, source, masks):
        self.seen.append((scene, source, masks))
        ids = [self.labels[source][mask][0] for mask in masks]
        found = [np.stack([labels == each for each in ids]) for labels in self.labels]
        there = np.array([each.any(axis=(1, 2)) for each in found])
        return TransferredMasks(
            tuple(found), np.where(there, Visibility.VISIBLE, Visibility.OCCLUDED), there.astype(float)
        )


def refuse(*_):
    raise BadInput("not today")


def test_who_knows_all_is_perfect_and_sees_images_alone(sample):
    known = Knowing(sample)
    score = evaluate_masks(lambda frames: frames, {"knowing": known}, [sample], LEAST)["knowing"]
    report = score.report()
    there, back = report["ego_to_exo"], report["exo_to_ego"]
    keys = ("iou", "location_error", "contour_accuracy", "visibility_accuracy")
    assert [there[key] for key in keys] == [1, 0, 1, 1]
    assert (there["objects"], there["absent_objects"]) == (1, 1)
    assert (back["objects"], back["absent_objects"], back["visibility_accuracy"]) == (1, 0, None)
    assert report["calibration_error"] == 0 and report["refused"] == 0
    assert [(source, len(masks)) for _, source, masks in known.seen] == [(0, 3), (1, 2)]
    for view in known.seen[0][0].views:
        assert view.depth_m is None and view.intrinsics is None and view.camera_to_world is None


def test_a_scene_is_made_once_for_all_methods(sample):
    made = []
    known = {name: Knowing(sample) for name in ("one", "another")}
    shown = []
    evaluate_masks(made.append, known, [sample], LEAST, lambda *each: shown.append(each))
    assert len(made) == 1
    assert [(name, len(carried)) for name, _, carried in shown] == [("one", 5), ("another", 5)]


def test_what_is_refused_counts_as_not_found(sample):
    for encode, transfer, refusals in ((refuse, Knowing(sample), 2), (lambda frames: frames, refuse, 2)):
        report = evaluate_masks(encode, {"a": transfer}, [sample], LEAST)["a"].report()
        assert report["refused"] == refusals
        assert (report["ego_to_exo"]["iou"], report["exo_to_ego"]["iou"]) == (0, 0)
        assert report["ego_to_exo"]["absent_accuracy"] == 1 and report["ego_to_exo"]["present_accuracy"] == 0


def test_an_encoder_that_refuses_one_set_serves_the_next(sample):
    answers = iter([refuse, lambda frames: frames])
    score = evaluate_masks(lambda frames: next(answers)(frames), {"a": Knowing(sample)}, [sample, sample], LEAST)["a"]
    assert score.report()["ego_to_exo"]["iou"] == 0.5
    assert score.refusals == ["two views: not today"] * 2


def test_what_has_no_pose_where_others_have_is_no_object(sample):
    assert objects_of(sample, 0, 20).tolist() == [1, 2, 3]
    posed = replace(sample, object_to_world=torch.eye(4).expand(2, 2, 4, 4))
    assert objects_of(posed, 0, 20).tolist() == [1, 2]


def test_masks_go_from_the_ego_view_to_all_and_back():
    assert [targets_of(view, 3) for view in range(3)] == [[1, 2], [0], [0]]


def test_samples_without_labels_or_other_views_are_refused(sample):
    for lacking in (replace(sample, instance_ids=None), replace(sample, images=sample.images[:1])):
        with pytest.raises(BadInput, match="two views: expected two views or more with instance ids"):
            evaluate_masks(lambda frames: frames, {"a": refuse}, [lacking], LEAST)


def test_a_sheet_has_a_row_for_the_views_and_for_each_object(sample):
    found = {}
    evaluate_masks(
        lambda frames: frames, {"a": Knowing(sample)}, [sample], LEAST, lambda name, _, each: found.update({name: each})
    )
    sheet = masks_sheet(sample, found["a"])
    assert sheet.dtype == np.uint8 and sheet.shape[0] > 6 * HEIGHT_PX
    empty = masks_sheet(sample, [])
    assert empty.shape[0] < 2 * HEIGHT_PX
