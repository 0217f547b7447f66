"""`geoseg evaluate` on a bag that is written here: the report, the pictures, the same figures twice."""

import json

import pytest
from safetensors.torch import save_file
from small_bag import write_small_bag
from small_models import VGGT, small_vggt

from geoseg_core import cli
from geoseg_core.weights.chosen import config_metadata


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluate") / "bag"
    write_small_bag(path, sets=4)
    return path


def evaluate(*arguments):
    return cli.main(["evaluate", *map(str, arguments)])


def test_report_and_pictures_are_written_and_the_figures_are_good(bag, tmp_path, capsys):
    assert evaluate(bag, "--out", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] > 0.85
    assert report["cross_view"]["rgbd"]["exo_to_ego"]["iou"] > 0.85
    instances = report["instances"]["rgbd"]
    assert instances["ap50"] > 0.8 and instances["id_switches"] == 0
    assert report["prompts"]["rgbd"]["one_click"]["miou"] > 0.8
    assert report["sets"] == {"received": 4, "processed": 4, "dropped": 0}
    assert {"encode", "instances", "total", "segment"} <= set(report["latency_ms"])
    assert set(report["latency_ms"]["total"]) == {"p50", "p95"}
    assert report["protocol"] == "lockstep" and report["machine"]["cores"] >= 1
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "overlay.png", "cloud.png", "cloud_0.ply", "iou.png", "ids.png", "latency.png"} <= written
    assert "cross_view rgbd ego_to_exo: iou 0." in capsys.readouterr().out


def test_the_same_bag_gives_the_same_figures_twice(bag, tmp_path):
    reports = []
    for number in range(2):
        evaluate(bag, "--out", tmp_path / f"out{number}", "--json", tmp_path / f"{number}.json")
        reports.append(json.loads((tmp_path / f"{number}.json").read_text()))
        del reports[-1]["latency_ms"]
    assert reports[0] == reports[1]
    assert not (tmp_path / "out0" / "report.json").exists()


def test_tasks_and_sets_are_chosen_and_weights_are_named_as_unused(bag, tmp_path, capsys):
    assert evaluate(bag, "--out", tmp_path, "--tasks", "instances", "--sets", "2", "--weights", "big.pt") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["sets"]["processed"] == 2
    assert "instances" in report and "cross_view" not in report and "prompts" not in report
    assert "--weights big.pt: the method rgbd uses no weights" in capsys.readouterr().out


def test_a_network_is_evaluated_by_its_settings(bag, tmp_path, capsys):
    weights = tmp_path / "small.safetensors"
    save_file(small_vggt().state_dict(), weights, metadata=config_metadata(VGGT))
    words = ("--set", "geometry.encoder=vggt", "--set", "geometry.vggt.side=56", "--set", "geometry.device=cpu")
    assert evaluate(bag, "--out", tmp_path, "--tasks", "instances", "--sets", "2", "--weights", weights, *words) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 <= report["instances"]["vggt"]["ap50"] <= 1 and report["sets"]["processed"] == 2
    assert "vggt is not measured" in report["geometry"]["reason"]
    assert f"encoder vggt, weights small ({weights}), licence: not known" in capsys.readouterr().out
    assert evaluate(bag, "--out", tmp_path, "--set", "geometry.encoder=eyes") == 1
    assert "geometry.encoder: expected one of ['rgbd', 'vggt'" in capsys.readouterr().err


def test_without_instances_the_pictures_show_images(bag, tmp_path):
    assert evaluate(bag, "--out", tmp_path, "--tasks", "cross_view", "--sets", "1") == 0
    assert (tmp_path / "overlay.png").exists() and not (tmp_path / "cloud.png").exists()


def test_a_bag_without_truth_is_processed_without_figures(tmp_path):
    write_small_bag(tmp_path / "bag", sets=1, truths=())
    assert evaluate(tmp_path / "bag", "--out", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] is None
    assert report["instances"]["rgbd"]["ap50"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--tasks", "dance"), "expected one of"), (("--sets", "-1"), "max_sets: expected 0"), ((), "none.mcap")],
)
def test_what_cannot_be_evaluated_is_named(bag, tmp_path, capsys, arguments, words):
    source = bag if arguments else tmp_path / "none.mcap"
    assert evaluate(source, "--out", tmp_path, *arguments) == 1
    assert words in capsys.readouterr().err
