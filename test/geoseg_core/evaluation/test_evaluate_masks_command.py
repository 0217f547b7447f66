"""`geoseg evaluate-masks` on worlds and on a bag."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_bag import write_small_bag
from small_models import small_vggt

from geoseg_core.cli import main
from geoseg_core.commands.evaluate_masks import matching
from geoseg_core.cross_view.matched import MatchedTransfer
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.evaluation.report import compare, figures, read_report
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata


@pytest.fixture(scope="module")
def head_file(tmp_path_factory):
    """An untrained head that fits the small network."""
    path = tmp_path_factory.mktemp("weights") / "head.safetensors"
    torch.manual_seed(0)
    save_file(UnionHead(tiny_head()).half().state_dict(), path, config_metadata(tiny_head()))
    return path


def test_a_world_gives_a_table_a_report_and_pictures(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate-masks", "classical", "--data", "worlds:0", "--out", str(out), "--pictures", "1"]) == 0
    printed = capsys.readouterr().out
    assert "worlds:0: 1 sets of views" in printed
    row = next(line for line in printed.splitlines() if line.startswith("classical "))
    report = read_report(out / "report.json")
    assert report["protocol"] == "masks" and report["method"] == "classical"
    assert f"{report['masks']['ego_to_exo']['iou']:.3f}" == row.split()[1]
    assert dict(figures(report))["masks.sets"] == 1
    assert sorted(path.name for path in out.glob("*.png")) == ["classical_0.png", "reliability.png"]


def test_a_bag_is_measured_with_all_kinds_of_methods(head_file, tmp_path):
    write_small_bag(tmp_path / "small", 1)
    methods = ["classical-orb", "matched", "reprojected", f"union-head={head_file}"]
    words = ["evaluate-masks", *methods, "--data", str(tmp_path / "small"), "--out", str(tmp_path / "out")]
    assert main([*words, "--pictures", "0", "--refinements", "0", "--anchors", "2", "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["method"] == "classical-orb" and list(found["others"]) == methods[1:]
    objects = {json.dumps(each["masks"]["ego_to_exo"]["objects"]) for each in (found, *found["others"].values())}
    assert len(objects) == 1 and objects != {"0"}
    assert all(each["masks"]["refused"] == 0 for each in found["others"].values())


def test_a_head_has_the_sizes_of_its_file_and_the_refinements_that_are_asked_for(head_file):
    assert load_union_head(head_file).head.config == tiny_head()
    assert load_union_head(head_file, refinements=3).head.config.refinements == 3
    with pytest.raises(BadConfig, match="refinements"):
        load_union_head(head_file, refinements=-1)
    with pytest.raises(BadInput):
        load_union_head(Path("nothing.safetensors"))


def test_an_encoder_that_matches_no_views_or_no_masks_is_refused():
    frames = FrameSet(tuple(View(name, np.zeros((60, 80, 3), np.uint8)) for name in ("ego", "exo")))
    masks = np.zeros((1, 60, 80), bool)
    masks[0, 20:40, 20:40] = True
    scene = SimpleNamespace(encoder=SimpleNamespace(name="blind"))
    with pytest.raises(BadConfig, match="matches views, such as tiny, got blind"):
        matching(SimpleNamespace(name="blind", encode=lambda frames: scene))(None)
    scene = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56)).encode(frames)
    with pytest.raises(BadConfig, match="matches masks, such as tiny, got vggt"):
        MatchedTransfer()(scene, 0, masks)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["guess"], "one of the methods"),
        (["union-head"], "one of the methods"),
        (["matched=file"], "one of the methods"),
        (["classical", "--least-px", "0"], "least_px"),
        (["classical", "--pairs", "-1"], "--pairs"),
        (["matched", "--encoder", "guess"], "one of the encoders"),
        (["union-head=nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_unknown_words_and_bad_numbers_are_refused(words, message, tmp_path, capsys):
    assert main(["evaluate-masks", *words, "--data", "worlds:0", "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("key", ["iou", "location_error", "contour_accuracy", "visibility_accuracy", "absent_accuracy"])
def test_compare_knows_which_way_each_figure_is_better(key):
    better = 0.4 if key == "location_error" else 0.6
    found = compare({"masks": {"ego_to_exo": {key: 0.5}}}, {"masks": {"ego_to_exo": {key: better}}})
    assert [each.verdict for each in found] == [1]
