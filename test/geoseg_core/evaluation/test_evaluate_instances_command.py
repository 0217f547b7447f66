"""`geoseg evaluate-instances` on worlds, on a bag and on a dataset."""

import json

import numpy as np
import pytest
import torch
from published import write_scan, write_scannet
from safetensors.torch import save_file
from scenes import FLOOR, TABLE, WALL
from small_bag import TRUTHS, write_small_bag
from small_models import small_segvggt

from geoseg_core.cli import main
from geoseg_core.commands.evaluate_instances import ReadingConfig, depth_lines, open_bag, open_finder
from geoseg_core.datasets.truth import TruthObject
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.published import published_lines
from geoseg_core.evaluation.report import compare, read_report
from geoseg_core.instances.tiny.model import TinyInstances
from geoseg_core.weights.chosen import config_metadata


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network that fits the small encoder."""
    path = tmp_path_factory.mktemp("weights") / "instances.safetensors"
    torch.manual_seed(0)
    model = TinyInstances()
    save_file(model.state_dict(), path, config_metadata(model.config))
    return path


def test_worlds_give_tables_a_report_and_pictures(tmp_path, capsys):
    words = ["evaluate-instances", "rgbd", "--data", "worlds:1", "--views", "2", "--moments", "2"]
    assert main([*words, "--out", str(tmp_path / "out"), "--pictures", "1"]) == 0
    printed = capsys.readouterr().out
    assert "worlds:1: 1 sets of views" in printed
    assert "rgbd: no figures by class, since what is found has no class" in printed
    row = next(line for line in printed.splitlines() if line.startswith("rgbd ")).split()
    report = read_report(tmp_path / "out" / "report.json")
    assert report["protocol"] == "instances" and report["method"] == "rgbd" and report["machine"]["cores"] >= 1
    figures = report["instances"]
    assert row[5:7] == ["none", "none"]
    assert row[1:4] + row[7:9] == [
        f"{each:.3f}" for each in (*figures["points"].values(), figures["t_miou"], figures["t_sr"])
    ]
    assert report["instances"]["t_miou"] > 0.5 and "depth" not in report["instances"]
    assert "SegVGGT, ScanNet++" in printed and "* rgbd, worlds:1" in printed
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["rgbd_0.png"]


def test_vggt_is_measured_with_the_instances_and_classes_of_its_own_weights(tmp_path):
    bag, path = tmp_path / "small", tmp_path / "segvggt.safetensors"
    write_small_bag(bag, 1)
    model = small_segvggt(classes=2)
    save_file(model.state_dict(), path, config_metadata(model.config))
    words = ["evaluate-instances", "queries", "--encoder", f"vggt={path}", "--data", str(bag), "--pictures", "0"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    report = read_report(tmp_path / "out" / "report.json")
    by_class = report["instances"]["points_by_class"]
    assert report["method"] == "queries" and by_class["ap"] is not None
    assert sum(each["things"] for each in by_class["classes"].values()) == report["instances"]["things"]
    with pytest.raises(BadConfig, match="no FILE with --encoder vggt"):
        open_finder("queries", ReadingConfig(), "cpu", "tiny")


def test_a_bag_is_measured_with_all_kinds_of_methods(weights, tmp_path, capsys):
    write_small_bag(tmp_path / "small", 2)
    methods = [f"queries={weights}", f"field={weights}", "rgbd"]
    words = ["evaluate-instances", *methods, "--data", str(tmp_path / "small"), "--out", str(tmp_path / "out")]
    words += ["--pictures", "0", "--device", "cpu", "--sets", "1", "--before", "tiny"]
    assert main([*words, "--set", "queries.least_score=0.0"]) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["method"] == methods[0] and list(found["others"]) == methods[1:]
    queries, field, rgbd = (
        each["instances"] for each in (found, *(found["others"][method] for method in methods[1:]))
    )
    assert queries["things"] == field["things"] == rgbd["things"] == 6
    assert [each["refused"] for each in (queries, field, rgbd)] == [0, 0, 0]
    assert queries["found"] > 0 and queries["depth"] == queries["depth_before"] == field["depth"]
    assert rgbd["points"]["ap50"] == 1.0 and rgbd["t_sr"] == 1.0
    assert "+0.0 %" in capsys.readouterr().out


def test_robots_and_tables_of_a_bag_are_no_things(tmp_path):
    robot = (*TRUTHS[:5], TruthObject(6, "arm", "robot", "robot"), *TRUTHS[6:])
    write_small_bag(tmp_path / "small", 1, robot)
    data = open_bag(str(tmp_path / "small"), None, 0)
    assert data.no_things == {6, TABLE, FLOOR, WALL}
    assert set(data.read(0).instance_ids.unique().tolist()) - {0} == {1, 2, 3, 4, 5} | data.no_things
    assert len(data.read(0).images) == 3 and len(open_bag(str(tmp_path / "small"), 2, 0).read(0).images) == 2


def test_a_dataset_is_measured(tmp_path):
    folder = write_scannet(tmp_path / "scans", frames=12)
    words = ["evaluate-instances", "rgbd", "--data", f"scannet:{tmp_path / 'scans'}", "--views", "2"]
    assert main([*words, "--out", str(tmp_path / "out"), "--pictures", "0", "--voxel-m", "0.05"]) == 0
    figures = read_report(tmp_path / "out" / "report.json")["instances"]
    assert (figures["sets"], figures["things"], figures["scans"]) == (1, 1, 0)
    points = np.stack(np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-0.5, 0.5, 11), 2), axis=-1).reshape(-1, 3)
    write_scan(folder, points, np.where(points[:, 0] < 0, 4, 6).tolist(), {2: [4]})
    assert main([*words, "--out", str(tmp_path / "out"), "--pictures", "0", "--voxel-m", "0.05"]) == 0
    figures = read_report(tmp_path / "out" / "report.json")["instances"]
    assert (figures["sets"], figures["things"], figures["scans"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["guess"], "one of the methods"),
        (["queries"], "one of the methods"),
        (["rgbd=file"], "one of the methods"),
        (["rgbd", "--least-px", "0"], "least_px"),
        (["rgbd", "--views", "0"], "--views"),
        (["rgbd", "--sets", "-1"], "--sets"),
        (["rgbd", "--before", "guess"], "one of the encoders"),
        (["rgbd", "--set", "queries.guess=1"], "unknown"),
        (["field=nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_unknown_words_and_bad_numbers_are_refused(words, message, tmp_path, capsys):
    assert main(["evaluate-instances", *words, "--data", "worlds:0", "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_our_rows_stand_below_those_of_the_papers_in_their_units():
    ours = {"points": {"ap": 0.5, "ap50": 0.75, "ap25": None}, "t_miou": 0.625, "depth": {"abs_rel": 0.05}}
    ours["points_by_class"] = {"ap": 0.25}
    lines = published_lines("worlds:0-9", {"queries": ours})
    mine = [line.removeprefix("* queries, worlds:0-9").split() for line in lines if line.startswith("* queries")]
    assert mine == [
        ["50.00", "75.00", "-"], ["25.00", "-", "-"], ["62.50", "-"], ["0.0500", "-"], ["5.00"],
    ]  # fmt: skip
    first = next(line for line in lines if line.startswith("SegVGGT, ScanNetv2"))
    assert first.split()[-3:] == ["62.90", "87.40", "97.40"]


def test_depth_before_and_after_is_told_as_a_change():
    assert depth_lines({"depth": {"abs_rel": 0.105}, "depth_before": {"abs_rel": 0.1}}) == [
        "AbsRel 0.1050, before 0.1000: +5.0 %"
    ]
    assert depth_lines({"depth": {"abs_rel": 0.1}}) == []


@pytest.mark.parametrize("key", ["ap", "ap50", "ap25", "t_miou", "t_sr", "half_share", "miou_2d", "miou_3d", "abs_rel"])
def test_compare_knows_which_way_each_figure_is_better(key):
    found = compare({"instances": {key: 0.5}}, {"instances": {key: 0.4 if key == "abs_rel" else 0.6}})
    assert [each.verdict for each in found] == [1]
