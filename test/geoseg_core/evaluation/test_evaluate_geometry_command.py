"""`geoseg evaluate-geometry` on a bag and on worlds."""

import json

import pytest
from small_bag import write_small_bag

from geoseg_core.cli import main
from geoseg_core.commands.evaluate_geometry import open_encoder
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.report import compare, figures, read_report

KEYS = ("rotation_error_deg_median", "auc30", "abs_rel", "delta125", "track_pck4")


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "small"
    write_small_bag(path, 2)
    return path


def test_a_bag_gives_a_table_a_report_and_pictures(bag, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate-geometry", "classical", "--data", str(bag), "--out", str(out), "--pictures", "1"]) == 0
    printed = capsys.readouterr().out
    assert "small: 2 sets of views" in printed
    row = next(line for line in printed.splitlines() if line.startswith("classical "))
    report = read_report(out / "report.json")
    assert all(key in report["geometry"] for key in KEYS)
    assert f"{report['geometry']['auc30']:.3f}" in row
    assert dict(figures(report))["geometry.sets"] == 2
    assert [path.name for path in out.glob("*.png")] == ["classical_0.png"]


def test_worlds_are_measured_by_their_seeds(tmp_path):
    report = tmp_path / "report.json"
    words = ["evaluate-geometry", "classical", "--data", "worlds:5,8", "--pairs", "1", "--json", str(report)]
    assert main([*words, "--out", str(tmp_path / "out"), "--pictures", "0"]) == 0
    found = json.loads(report.read_text())
    assert found["source"] == "worlds:5,8" and found["geometry"]["sets"] == 1


def test_unknown_encoders_and_bad_numbers_are_refused(bag, tmp_path, capsys):
    with pytest.raises(BadConfig, match="one of the encoders"):
        open_encoder("guess", "cpu")
    with pytest.raises(BadConfig, match="one of the encoders"):
        open_encoder("classical=weights", "cpu")
    assert main(["evaluate-geometry", "classical", "--data", str(bag), "--pairs", "-1"]) == 1
    assert "--pairs: expected 0 or more" in capsys.readouterr().err
    assert main(["evaluate-geometry", "vggt=nothing.safetensors", "--data", str(bag)]) == 1
    assert "nothing.safetensors" in capsys.readouterr().err
    assert main(["evaluate-geometry", "classical", "--data", str(tmp_path / "none")]) == 1


@pytest.mark.parametrize("key", [*KEYS, "auc30_folded", "track_pck1", "visibility_accuracy", "seconds_median"])
def test_compare_knows_which_way_each_figure_is_better(key):
    lower = key in ("rotation_error_deg_median", "abs_rel", "seconds_median")
    better = compare({"geometry": {key: 0.5}}, {"geometry": {key: 0.4 if lower else 0.6}})
    assert [each.verdict for each in better] == [1]
