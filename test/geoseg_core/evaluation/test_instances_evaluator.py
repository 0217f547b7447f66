"""What is found on a wall, measured; all figures are worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from published import write_scan
from wall import TWO_THINGS, found, wall

from geoseg_core.config import build
from geoseg_core.datasets.scan import ScanFiles
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.instances_evaluator import Group, InstancesEvaluationConfig, evaluate_instances
from geoseg_core.evaluation.instances_pictures import instances_sheet

CONFIG = build(InstancesEvaluationConfig, {"least_px": 4, "least_points": 4, "voxel_m": 0.1})
PARTS = ("points", "points_without_vote")
SHARES = ("t_miou", "t_sr", "half_share", "miou_2d", "miou_3d")


def measured(sample, things, **given):
    """The report of one scene in which `things` are found."""
    finder = SimpleNamespace(find=lambda scene: things)
    (score,), (depth,) = (
        list(each.values()) if isinstance(each, dict) else each
        for each in evaluate_instances([Group(seen, {"oracle": finder})], [sample], CONFIG, **given)
    )
    return score.report() | {"depth": depth.report(), "refusals": score.refusals}


def seen(sample):
    """A scene whose depth is twice the true one: one scale makes it right."""
    return SimpleNamespace(views=[SimpleNamespace(depth_m=2 * each) for each in sample.depth.numpy()])


def half_right(better):
    """Thing A is right in view 0 and missing in view 1; thing B has a column too many and one too few in view 0."""
    a, b = (1, 2) if better == "A" else (2, 1)
    return found([0.9, 0.6], (0, {a: (0, 1, 2), b: (4, 5, 6)}), (1, {b: (5, 6, 7)}))


def test_what_is_right_has_one_everywhere():
    report = measured(wall(), found([0.9, 0.8], (0, TWO_THINGS), (1, TWO_THINGS)))
    for part in PARTS:
        assert report[part] == {"ap": 1.0, "ap50": 1.0, "ap25": 1.0}
    assert report["pixels"] == {"ap50": 1.0, "ap25": 1.0}
    assert [report[name] for name in SHARES] == [1.0] * 5
    assert (report["things"], report["found"], report["sets"], report["refused"]) == (2, 2, 1, 0)
    assert report["depth"] == pytest.approx({"abs_rel": 0.0, "delta125": 1.0})


def test_nothing_found_is_zero_everywhere():
    report = measured(wall(), found([], (0, {}), (1, {})))
    assert all(report[part] == {"ap": 0.0, "ap50": 0.0, "ap25": 0.0} for part in PARTS)
    assert [report[name] for name in SHARES] == [0.0] * 5


def test_every_figure_by_hand():
    report = measured(wall(), half_right("A"))
    # Thing 1: IoU 1 and 0. Thing 2: 8 of 16 pixels, then all.
    assert report["t_miou"] == (0.5 + 0.75) / 2
    assert report["t_sr"] == 0.5  # thing 1 has no pixel in view 1
    assert report["half_share"] == (0.5 + 1.0) / 2
    assert report["miou_2d"] == pytest.approx((12 / 16 + 20 / 28) / 2)
    # On points A is right, since one view of two is half; B has columns 4 to 7: 12 of 16 points.
    assert report["miou_3d"] == (1 + 0.75) / 2
    assert report["pixels"] == {"ap50": 1.0, "ap25": 1.0}
    # B fits at 0.50 to 0.70; above, A hits and B misses: half of the truths at precision 1.
    assert report["points_without_vote"] == pytest.approx({"ap": (5 * 1 + 5 * 0.5) / 10, "ap50": 1.0, "ap25": 1.0})
    # Where normals are known (rows 1 and 2), columns 3 and 4 vote together, half for B: 12 of 18 points.
    assert report["points"] == pytest.approx({"ap": (4 * 1 + 6 * 0.5) / 10, "ap50": 1.0, "ap25": 1.0})


def of_classes(classes):
    """The wall, its things with class ids."""
    sample = wall()
    return replace(sample, class_ids=torch.tensor([0, *classes])[sample.instance_ids])


def test_figures_by_class_are_means_over_the_classes_of_the_truths():
    named = replace(half_right("A"), classes=np.array([4, 2]))
    report = measured(of_classes((4, 2)), named)["points_by_class"]
    assert report["classes"]["4"] == {"ap": 1.0, "ap50": 1.0, "ap25": 1.0, "things": 1}
    # B fits at 0.50 to 0.65, as above.
    assert report["classes"]["2"] == pytest.approx({"ap": 0.4, "ap50": 1.0, "ap25": 1.0, "things": 1})
    assert (report["ap"], report["ap50"]) == pytest.approx((0.7, 1.0))
    wrong = measured(of_classes((4, 3)), named)["points_by_class"]
    assert set(wrong["classes"]) == {"3", "4"} and (wrong["ap"], wrong["ap50"], wrong["ap25"]) == (0.5, 0.5, 0.5)


def test_without_classes_there_are_reasons():
    named, none = replace(half_right("A"), classes=np.array([4, 2])), {"ap": None, "ap50": None, "ap25": None}
    unnamed = measured(of_classes((4, 2)), half_right("A"))["points_by_class"]
    assert unnamed == none | {"reason": "what is found has no class"}
    for sample in (wall(), of_classes((0, 0))):
        assert measured(sample, named)["points_by_class"] == none | {"reason": "no true thing has a class"}


def test_a_better_score_of_the_worse_thing_costs_precision():
    report = measured(wall(), half_right("B"))
    # Above 0.70 B comes first and misses: half of the truths at precision 1/2.
    assert report["points_without_vote"]["ap"] == pytest.approx((5 * 1 + 5 * 0.25) / 10)
    assert report["points"]["ap"] == pytest.approx((4 * 1 + 6 * 0.25) / 10)
    assert report["t_miou"] == (0.5 + 0.75) / 2


def test_the_order_of_the_views_does_not_matter():
    things = half_right("A")
    swapped = measured(wall(views=(1, 0)), replace(things, labels=things.labels[::-1]))
    plain = measured(wall(), things)
    for name in (*PARTS, "pixels", *SHARES, "things", "found"):
        assert swapped[name] == plain[name]


def test_one_view_is_enough():
    report = measured(wall(views=(0,)), found([0.9], (0, {1: (0, 1, 2)})))
    assert report["points"] == {"ap": 0.5, "ap50": 0.5, "ap25": 0.5}
    assert (report["t_miou"], report["t_sr"]) == (0.5, 0.5)


def test_a_scene_without_things_has_no_figures():
    report = measured(wall({}), found([0.9], (0, {1: (0, 1)}), (1, {})))
    assert all(set(report[part].values()) == {None} for part in (*PARTS, "pixels"))
    assert [report[name] for name in SHARES] == [None] * 5
    assert report["found"] == 1


def test_what_is_found_on_a_robot_is_left_out_and_on_the_wall_is_not():
    things = {1: (0, 1, 2), 3: (5, 6, 7)}
    right = {2: (0, 1, 2), 1: (5, 6, 7)}
    on_robot = measured(wall(things), found([0.9, 0.5], (0, right), (1, right)), no_things=frozenset([3]))
    assert (on_robot["points"]["ap"], on_robot["things"]) == (1.0, 1)
    on_wall = measured(wall({1: (0, 1, 2)}), found([0.9, 0.5], (0, right), (1, right)))
    assert on_wall["points"]["ap"] == 0.5


def with_scan(folder):
    """The wall with a scan of ten columns, and of four vertices of thing 2 and four of a third that no view sees; its
    segments end at columns 3, 5 and 8."""
    segments = [(7, 7, 7, 2, 2, 5, 5, 5, 1, 1)[column] for _ in range(4) for column in range(10)]
    points = [[(column - 0.5) * 0.1, (row - 0.5) * 0.1, 1] for row in range(4) for column in range(10)]
    points += [[9, 0.1 * each, 1] for each in range(8)]
    write_scan(folder, points, [*segments, *[5] * 4, *[8] * 4], {0: [7], 1: [5], 2: [8]})
    names = ("_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json", ".aggregation.json")
    return replace(wall(), scan=ScanFiles(*(folder / f"{folder.name}{name}" for name in names)))


def test_a_scan_is_measured_whole_and_its_own_segments_vote(tmp_path):
    report = measured(with_scan(tmp_path), half_right("A"))
    assert (report["scans"], report["things"]) == (1, 2)
    # B has 16 points, columns 4 to 7; 12 of them are among the 16 of thing 2: IoU 12 / 20, above 0.50 and 0.55.
    assert report["miou_3d"] == pytest.approx((1 + 12 / 20) / 2)
    assert report["points_without_vote"]["ap"] == pytest.approx((2 * 1 + 8 * 0.5) / 10)
    # After the vote B has columns 3 and 4, half of which it had, and all of the thing: 16 of 24, above 0.50 to 0.65.
    assert report["points"] == pytest.approx({"ap": (4 * 1 + 6 * 0.5) / 10, "ap50": 1.0, "ap25": 1.0})
    assert measured(wall(), half_right("A"))["scans"] == 0


def test_a_thing_that_the_views_hardly_show_is_no_truth(tmp_path):
    sample = with_scan(tmp_path)
    sample.instance_ids[0, 0, 3] = 3
    assert measured(sample, half_right("A"))["things"] == 2
    sample.instance_ids[0, :, 3] = 3
    assert measured(sample, half_right("A"))["things"] == 3


def test_a_damaged_scan_is_refused(tmp_path):
    sample = with_scan(tmp_path)
    sample.scan.mesh.write_bytes(b"ply")
    with pytest.raises(BadInput, match=r"_vh_clean_2\.ply"):
        measured(sample, half_right("A"))


def test_a_refused_scene_counts_as_if_nothing_was_found():
    def refuse(given):
        raise BadInput("too dark")

    finder = SimpleNamespace(find=refuse)
    for group in (Group(refuse, {"oracle": finder}), Group(seen, {"oracle": finder})):
        scores, (depth,) = evaluate_instances([group], [wall()], CONFIG)
        report = scores["oracle"].report()
        assert (report["points"]["ap25"], report["t_sr"], report["refused"]) == (0.0, 0.0, 1)
        named, _ = evaluate_instances([group], [of_classes((4, 2))], CONFIG)
        assert named["oracle"].report()["points_by_class"]["ap"] == 0.0
        assert scores["oracle"].refusals == ["wall: too dark"]
        assert depth.report()["abs_rel"] == pytest.approx(1.0 if group.encode is refuse else 0.0)


def test_predictions_of_all_scenes_are_ranked_together():
    right, wrong = {1: (0, 1, 2)}, {1: (8, 9)}
    answers = iter([found([0.3], (0, right), (1, right)), found([0.9], (0, wrong), (1, wrong))])
    finder = SimpleNamespace(find=lambda scene: next(answers))
    scores, _ = evaluate_instances([Group(seen, {"oracle": finder})], [wall({1: (0, 1, 2)})] * 2, CONFIG)
    # One of two truths is hit, behind a better-ranked miss: half of the truths at precision 1/2.
    assert scores["oracle"].report()["points"]["ap50"] == 0.25


def test_a_sheet_shows_truth_and_findings():
    sheets = []
    things = half_right("A")
    measured(wall(), things, on_set=lambda name, *seen: sheets.append(instances_sheet(*seen)))
    (sheet,) = sheets
    assert sheet.dtype == np.uint8 and sheet.shape[0] > 2 * 260 and sheet.shape[1] > 2 * 520
