"""`geoseg evaluate-prompts` on worlds, and the baselines that it measures."""

import numpy as np
import pytest
import torch
from published import write_nvos
from safetensors.torch import save_file

from geoseg_core.cli import main
from geoseg_core.commands.evaluate_prompts import open_method
from geoseg_core.datasets.marked import MarkedSample
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation import published_prompts
from geoseg_core.evaluation.prompt_baselines import in_sight
from geoseg_core.evaluation.prompts_variation import with_noise, with_views
from geoseg_core.evaluation.report import read_report
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.prompting.mv_sam.config import MvSamConfig
from geoseg_core.prompting.mv_sam.model import MvSam, SceneEmbedding
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam
from geoseg_core.weights.chosen import config_metadata


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network that fits the small encoder."""
    path = tmp_path_factory.mktemp("weights") / "prompts.safetensors"
    torch.manual_seed(0)
    model = TinyMvSam()
    torch.nn.init.constant_(model.decoder.first, model.config.decoder.threshold)
    save_file(model.state_dict(), path, config_metadata(model.config))
    return path


def test_all_methods_on_a_world(weights, tmp_path, capsys):
    methods = [f"{name}={weights}" for name in ("mv-sam", "projected", "view-by-view")]
    methods += ["carried=tiny-union-head", "grown"]
    words = ["evaluate-prompts", *methods, "--data", "worlds:1", "--views", "2", "--things", "1", "--pictures", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "worlds:1: 1 sets of views" in printed and "10+2 mIoU" in printed
    report = read_report(tmp_path / "out" / "report.json")
    assert report["protocol"] == "prompts" and [report["method"], *report["others"]] == methods
    figures = {methods[0]: report["prompts"], **{name: report["others"][name]["prompts"] for name in methods[1:]}}
    for each in figures.values():
        assert each["one_click"]["prompts"] == each["mask"]["prompts"] == 1
    assert all(figures[name]["refused"] == 0 for name in methods if name != methods[3])
    # A view without prompts of its own has no mask in it.
    assert figures[methods[2]]["one_click"]["others_miou"] == figures[methods[2]]["mask"]["others_miou"] == 0
    # A mask stays as it was drawn.
    assert figures[methods[0]]["mask"]["miou"] >= 0.5
    assert figures["grown"]["one_click"]["others_miou"] > 0.7 and figures[methods[3]]["mask"]["others_miou"] > 0.2
    assert len(list((tmp_path / "out").glob("*.png"))) == 5


def test_changes_of_the_decoder_are_rows_and_curves(weights, tmp_path, capsys):
    words = ["evaluate-prompts", f"mv-sam={weights}", "--data", "worlds:1", "--things", "1", "--pictures", "0"]
    words += ["--views", "2", "--point-noise", "0,9", "--low-share", "0.3", "--standardised", "false"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    names = [f"mv-sam={weights} point_noise={noise} low_share=0.3 standardised=false" for noise in (0, 9)]
    report = read_report(tmp_path / "report.json")
    assert [report["method"], *report["others"]] == names
    assert report["prompts"]["points_10_2"] != report["others"][names[1]]["prompts"]["points_10_2"]
    assert (tmp_path / "point_noise.png").stat().st_size > 5_000
    assert "MV-SAM, table 6" in printed and f"* {names[1]}, worlds:1" in printed and "table 1 " not in printed


def test_views_are_the_first_cameras_of_the_same_sets(tmp_path, capsys):
    words = ["evaluate-prompts", "grown", "--data", "worlds:1", "--things", "1", "--views", "2,1", "--pictures", "1"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert "MV-SAM, table 12" in capsys.readouterr().out
    report = read_report(tmp_path / "report.json")
    assert [report["method"], *report["others"]] == ["grown views=2", "grown views=1"]
    both, alone = report["prompts"]["one_click"], report["others"]["grown views=1"]["prompts"]["one_click"]
    assert both["others_miou"] is not None and alone["others_miou"] is None
    assert len(list(tmp_path.glob("grown_views_*_0.png"))) == 2 and (tmp_path / "views.png").is_file()


def test_benchmarks_are_read_and_stand_below_the_papers_rows(weights, tmp_path, capsys):
    write_nvos(tmp_path / "nvos")
    write_nvos(tmp_path / "nvos", "trex")
    (tmp_path / "nvos" / "masks" / "trex" / "IMG_1_mask.png").unlink()
    words = ["evaluate-prompts", f"mv-sam={weights}", "grown", "--data", f"nvos:{tmp_path / 'nvos'}", "--views", "2"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "trex is left out" in printed and "1 sets of views" in printed and "8+2 mIoU" in printed
    assert "table 15: mIoU on NVOS; * ours\n" in printed and "table 16" not in printed
    report = read_report(tmp_path / "out" / "report.json")
    figures = report["prompts"]["points_8_2"]
    assert figures["prompts"] == 1 and report["prompts"]["scenes"]["fern"]["miou"] == figures["miou"]
    # There is no depth to grow on.
    assert report["others"]["grown"]["prompts"]["refused"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--low-share", "2"], "low_share"),
        (["--standardised", "maybe"], "standardised"),
        (["--point-noise", "-1"], "point_noise: expected 0 or more"),
        (["--point-noise", "much"], "point_noise: expected 0 or more"),
        (["--views", "2,0"], "views: expected numbers from 1"),
        (["--views", "2,3", "--low-share", "0,0.1"], "several values for one option at most"),
    ],
)
def test_bad_changes_are_refused(words, message, weights, tmp_path, capsys):
    command = ["evaluate-prompts", f"mv-sam={weights}", "--data", "worlds:1", *words, "--out", str(tmp_path)]
    assert main(command) == 1
    assert message in capsys.readouterr().err


def test_noise_has_the_deviation_that_is_asked_for_on_each_axis_and_is_always_the_same():
    torch.manual_seed(0)
    decoder = MvSam(MvSamConfig(image=8, fine=4, width=16, inner=8, hidden=16, heads=2))
    points = torch.randn(1, 2, 64, 64, 3) * torch.tensor([1.0, 2.0, 5.0]) + 3
    points[0, 0, 0, 0] = torch.nan
    scene = SceneEmbedding(torch.randn(1, 2, 8, 8, 8), torch.randn(1, 2, 4, 32, 32), points, torch.rand(1, 2, 64, 64))
    given = decoder.prepare(scene)
    noisy = with_noise(decoder, given, 0.5)
    moved = (noisy.scene.points - points)[0, 1].flatten(0, 1).std(dim=0)
    torch.testing.assert_close(moved, torch.tensor([0.5, 1.0, 2.5]), rtol=0.05, atol=0)
    assert noisy.scene.points[0, 0, 0, 0].isnan().all() and not torch.equal(noisy.codes, given.codes)
    assert torch.equal(with_noise(decoder, given, 0.5).codes, noisy.codes)


def test_first_cameras_of_every_moment():
    sample = Sample(torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 2, 2), cameras=("a", "b", "c") * 2, source="made")
    fewer = with_views(sample, 2, 3)
    assert fewer.images[:, 0, 0, 0].tolist() == [0, 1, 3, 4] and fewer.cameras == ("a", "b") * 2
    assert with_views(sample, 3, 3) is sample
    marks = torch.zeros(2, 2, dtype=torch.int64)
    marked = MarkedSample(sample.images, marks=marks, scored=(1, 2), scene="fern")
    assert with_views(marked, 2, 6).scored == (1,)


@pytest.mark.parametrize("benchmark", ["nvos", "spin-nerf"])
def test_the_papers_figures_of_all_scenes_are_the_means_of_its_figures_of_each(benchmark):
    every, *by_scene = published_prompts.BENCHMARKS[benchmark]
    for column, each in enumerate(by_scene):
        for name, values in each.rows.items():
            assert len(values) == len(each.columns)
            # The paper's tables differ by as much: SAGA on NVOS, MV-SAM on SPIn-NeRF.
            assert np.mean(values) == pytest.approx(every.rows[name][column], abs=0.6), name


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
