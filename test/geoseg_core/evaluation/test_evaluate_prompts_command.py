"""`geoseg evaluate-prompts` on worlds, and the baselines that it measures."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoseg_core.cli import main
from geoseg_core.commands.evaluate_prompts import open_method
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.prompt_baselines import in_sight
from geoseg_core.evaluation.report import read_report
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam
from geoseg_core.weights.chosen import config_metadata


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network that fits the small encoder."""
    path = tmp_path_factory.mktemp("weights") / "prompts.safetensors"
    torch.manual_seed(0)
    model = TinyMvSam()
    torch.nn.init.constant_(model.decoder.first, 0.0)
    save_file(model.state_dict(), path, config_metadata(model.config))
    return path


def test_all_methods_on_a_world(weights, tmp_path, capsys):
    methods = [f"{name}={weights}" for name in ("mv-sam", "projected", "view-by-view")]
    words = ["evaluate-prompts", *methods, "--data", "worlds:1", "--views", "2", "--things", "2", "--pictures", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "worlds:1: 1 sets of views" in printed and "10+2 mIoU" in printed
    report = read_report(tmp_path / "out" / "report.json")
    assert report["protocol"] == "prompts" and [report["method"], *report["others"]] == methods
    figures = {methods[0]: report["prompts"], **{name: report["others"][name]["prompts"] for name in methods[1:]}}
    for each in figures.values():
        assert each["one_click"]["prompts"] == each["mask"]["prompts"] == 2 and each["refused"] == 0
    # A view without prompts of its own has no mask in it.
    assert figures[methods[2]]["one_click"]["others_miou"] == figures[methods[2]]["mask"]["others_miou"] == 0
    # A mask stays as it was drawn.
    assert figures[methods[0]]["mask"]["miou"] >= 0.5
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_unknown_methods_are_refused(weights):
    for word in ("mv-sam", f"sam={weights}"):
        with pytest.raises(BadConfig, match=r"expected one of the methods \['mv-sam=FILE'"):
            open_method(word, "cpu")


def test_points_that_something_hides_are_not_in_sight():
    intrinsics = np.array([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]])
    depth = np.full((11, 11), 2.0, np.float32)
    depth[5, 5] = 1.0
    depth[0, 0] = 0.0
    view = ViewGeometry(depth, np.ones_like(depth), intrinsics, np.eye(4), lift(depth, intrinsics, np.eye(4)))
    points = np.array([
        [0, 0, 1.0],  # on what is seen at (5, 5)
        [0, 0, 2.0],  # behind it
        [0.2, 0, 2.0],  # on what is seen at (6, 5)
        [0.2, 0, 2.2],  # a tenth behind it
        [9, 0, 2.0],  # out of the image
        [0, 0, -2.0],  # behind the camera
        [-1.0, -1.0, 2.0],  # at (0, 0), where nothing is known
        [np.nan, 0, 1],
    ])  # fmt: skip
    pixels, seen = in_sight(points, view, (11, 11))
    assert seen.tolist() == [True, False, True, False, False, False, False, False]
    assert pixels[2].tolist() == pytest.approx([6, 5])
