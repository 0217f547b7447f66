"""`geoseg evaluate-tracks` on a world and on a bag."""

import json

import pytest
import torch
from safetensors.torch import save_file
from small_bag import write_small_bag

from geoseg_core.cli import main
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.evaluation.report import figures, read_report
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.weights.chosen import config_metadata


@pytest.fixture(scope="module")
def head_file(tmp_path_factory):
    """An untrained head that fits the small network."""
    path = tmp_path_factory.mktemp("weights") / "head.safetensors"
    torch.manual_seed(0)
    save_file(UnionHead(tiny_head()).state_dict(), path, config_metadata(tiny_head()))
    return path


def test_a_world_gives_a_table_a_report_and_pictures(head_file, tmp_path, capsys):
    words = ["evaluate-tracks", "--data", "worlds:0", "--head", str(head_file), "--out", str(tmp_path)]
    assert main([*words, "--moments", "3", "--blackout", "0.1,0.3", "--occluded-s", "0.2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    report = read_report(tmp_path / "report.json")
    assert report["protocol"] == "tracks" and report["source"] == "worlds:0"
    tracks = report["tracks"]
    assert "worlds:0: 1 clips, 3 sets of views" in printed and tracks["sets"] == 6
    # Every object that the ego view shows again after the blackout was hidden for 0.2 s.
    assert f"kept of {tracks['both']['identity']['occlusions']}" in printed
    assert tracks["both"]["identity"]["occlusions"] > 0 < tracks["from_ego"]["with_occlusion"]["masks"]
    assert tracks["both"]["masks"]["all"] == dict(figures(report))["tracks.both.masks.all"] > 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "film_from_ego_0.png", "film_from_exo_0.png", "tracks.png",
    ]  # fmt: skip


def test_a_bag_is_one_clip(head_file, tmp_path):
    write_small_bag(tmp_path / "small", 3)
    words = ["evaluate-tracks", "--data", str(tmp_path / "small"), "--head", str(head_file), "--out", str(tmp_path)]
    words += ["--every", "2", "--sets", "2", "--pictures", "0", "--device", "cpu"]
    assert main([*words, "--set", "cross_view.follow.least_score=0.9"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["source"] == "small" and report["tracks"]["sets"] == 4
    assert report["tracks"]["both"]["masks"]["others"] == 2 * report["tracks"]["both"]["masks"]["source"]
    assert not list(tmp_path.glob("film*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--head", "nothing.safetensors"], "--head:"),
        (["--head", "nothing"], "--head: expected one of"),
        (["--encoder", "guess"], "one of the encoders"),
        (["--encoder", "pi3"], "an encoder by whose features views are matched"),
        (["--set", "guess=1"], "guess"),
        (["--least-px", "0"], "least_px"),
        (["--occluded-s", "-1"], "occluded_s"),
        (["--moments", "0"], "moments"),
        (["--moments", "1"], "two sets or more"),
        (["--step-s", "-1"], "time_step_s"),
        (["--every", "0"], "--every"),
        (["--sets", "-1"], "--sets"),
        (["--blackout", "1"], "--blackout"),
        (["--blackout", "2,1"], "--blackout"),
        (["--blackout", "0,1"], "blackout of sets between"),
        (["--data", "worlds:a"], "expected seeds"),
        (["--data", "nothing"], "nothing"),
    ],
)
def test_bad_options_are_refused(words, message, head_file, tmp_path, capsys):
    given = ["--data", "worlds:0", "--head", str(head_file), "--out", str(tmp_path)]
    assert main(["evaluate-tracks", *given, *words]) == 1
    assert message in capsys.readouterr().err


def test_bags_of_one_view_or_without_objects_are_refused(head_file, tmp_path, capsys):
    write_small_bag(tmp_path / "one", 2, cameras=("ego",))
    write_small_bag(tmp_path / "bare", 2, truths=())
    for name in ("one", "bare"):
        assert main(["evaluate-tracks", "--data", str(tmp_path / name), "--head", str(head_file)]) == 1
        assert "expected two views or more with instance ids" in capsys.readouterr().err
