"""`geoseg parity`: exactness against the published models, and that a miss is noticed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from geoseg_core import cli
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Row, compare_tensor, run_one
from geoseg_core.evaluation.parity_field import compare_labels
from geoseg_core.evaluation.parity_kinds import RUNNERS
from geoseg_core.evaluation.parity_pi3 import conditions_of

REFERENCE = Path(__file__).parents[4] / "shared" / "reference"
FIXTURES = REFERENCE / "parity"
AIM = 1e-5

needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="no ../shared/reference/parity")
needs_keys = pytest.mark.skipif(not (REFERENCE / "keys").is_dir(), reason="no ../shared/reference/keys")


def rows_of(path: Path) -> list[Row]:
    return run_one(path, path.name, RUNNERS)


@needs_fixtures
@pytest.mark.parametrize("name", ["vggt_tiny", "iggt_tiny", "pi3_tiny", "pi3x_tiny", "pose_encoding"])
def test_the_published_numbers_come_out(name: str) -> None:
    rows = rows_of(FIXTURES / f"{name}.safetensors")
    with safe_open(FIXTURES / f"{name}.safetensors", framework="pt") as file:
        stored = {key.removeprefix("output.") for key in file.keys() if key.startswith("output.")}  # noqa: SIM118
    assert {row.tensor for row in rows} == stored
    assert [row for row in rows if not row.passed or row.error is None or row.error > AIM] == []


@needs_fixtures
def test_the_published_labels_come_out() -> None:
    rows = rows_of(FIXTURES / "iggt_postprocess.safetensors")
    names = ["knn_mean_features", "part_feat_normalized", "labels_with_noise", "labels"]
    assert sorted(row.tensor for row in rows) == sorted(names)
    assert [row for row in rows if not row.passed or row.error is None or row.error > AIM] == []


def test_labels_may_be_renumbered_but_noise_may_not() -> None:
    reference = torch.tensor([[0, 0, 1, 1, 1, 2, -1, -1, 1, 1]])
    ours = reference.numpy().copy()
    ours[reference == 0], ours[reference == 1], ours[reference == 2] = 1, 2, 0
    assert compare_labels("labels", ours, reference).error == 0
    ours[0, 5] = 1
    assert compare_labels("labels", ours, reference).error == pytest.approx(0.1)
    ours[reference == -1] = 0
    assert compare_labels("labels", ours, reference).error == pytest.approx(0.3)
    assert compare_labels("labels", ours[:, :5], reference).verdict.startswith("SHAPE")


@needs_keys
@pytest.mark.parametrize("name", ["vggt_1b", "iggt", "pi3", "pi3x"])
def test_full_models_have_the_tensors_of_their_checkpoints(name: str) -> None:
    (row,) = rows_of(REFERENCE / "keys" / f"{name}.json")
    assert row.passed, row.verdict


@needs_keys
def test_a_key_of_another_shape_is_named(tmp_path: Path) -> None:
    keys = json.loads((REFERENCE / "keys" / "pi3.json").read_text())
    keys["tensors"]["register_token"]["shape"] = [1, 1, 4, 1024]
    (tmp_path / "pi3.json").write_text(json.dumps(keys))
    (row,) = rows_of(tmp_path / "pi3.json")
    assert not row.passed and "register_token" in row.verdict


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no ../shared/reference")
def test_images_get_the_sizes_of_the_published_loaders(tmp_path: Path) -> None:
    rows = rows_of(REFERENCE / "preprocess_sizes.json")
    assert [row.verdict for row in rows] == ["pass"] * 4
    wrong = {"rows": [{"input_wh": [640, 480], "pi3_hw": [434, 588]}]}
    wrong["rows"][0] |= {"vggt_crop_hw": [392, 518], "vggt_pad_hw": [518, 518]}
    wrong["rows"][0] |= {"vggt_pad_content_y_x_range": [63, 455, 0, 518]}
    (tmp_path / "sizes.json").write_text(json.dumps(wrong))
    assert [row.tensor for row in rows_of(tmp_path / "sizes.json") if not row.passed] == ["pi3_hw"]


def changed(path: Path, name: str, amount: float) -> None:
    """Write the pose encoding fixture with one tensor changed."""
    with safe_open(FIXTURES / "pose_encoding.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors[name] = tensors[name] + amount
    save_file(tensors, path, metadata)


@needs_fixtures
def test_a_wrong_number_is_a_miss_and_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(FIXTURES / "pose_encoding.safetensors", tmp_path / "good.safetensors")
    assert cli.main(["parity", str(tmp_path), "--json", str(tmp_path / "out" / "report.txt")]) == 0
    assert "5 of 5 passed" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.txt").read_text())
    assert report["passed"] and {each["tensor"] for each in report["tensors"]} >= {"pose_encoding", "raw_extrinsics"}

    changed(tmp_path / "wrong.safetensors", "output.extrinsics", 0.01)
    assert cli.main(["parity", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "MISS" in printed and "9 of 10 passed" in printed


@needs_fixtures
def test_a_number_that_is_none_is_a_miss(tmp_path: Path) -> None:
    changed(tmp_path / "nan.safetensors", "input.raw_pose_encoding", float("nan"))
    verdicts = {row.tensor: row.verdict for row in rows_of(tmp_path / "nan.safetensors")}
    assert verdicts["raw_extrinsics"] == "NOT A NUMBER" and verdicts["extrinsics"] == "pass"


def test_errors_are_measured_against_the_largest_finite_number() -> None:
    infinite = float("inf")
    reference = torch.tensor([0.0, -4.0, infinite])
    assert compare_tensor("x", torch.tensor([0.001, -4.0, infinite]), reference).error == pytest.approx(0.00025)
    assert compare_tensor("x", torch.tensor([0.0, -4.0, 1e30]), reference).verdict == "MISS"
    assert compare_tensor("x", torch.tensor([0.0, infinite, infinite]), reference).verdict == "MISS"
    assert compare_tensor("x", torch.zeros(3), torch.zeros(3)).error == 0


def test_the_trunk_is_held_to_the_limit_that_shows_a_wrong_epsilon() -> None:
    reference = torch.ones(2)
    for name in ("patch_tokens", "aggregated.17", "decoder_tokens", "partial.decoder_tokens"):
        assert not compare_tensor(name, reference + 1e-5, reference).passed, name
    assert compare_tensor("depth", reference + 1e-5, reference).passed


@needs_fixtures
def test_tensors_that_nobody_computes_or_of_another_shape_are_misses(tmp_path: Path) -> None:
    with safe_open(FIXTURES / "pose_encoding.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["output.surprise"] = torch.zeros(1)
    tensors["output.intrinsics"] = torch.zeros(1)
    save_file(tensors, tmp_path / "more.safetensors", metadata)
    verdicts = {row.tensor: row.verdict for row in rows_of(tmp_path / "more.safetensors")}
    assert verdicts["surprise"] == "NOT COMPUTED" and verdicts["intrinsics"].startswith("SHAPE")


def test_unknown_and_broken_fixtures_are_reported_and_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"output.x": torch.zeros(1)}, tmp_path / "alien.safetensors", {"config": '{"model": "alien"}'})
    save_file({"output.x": torch.zeros(1)}, tmp_path / "mute.safetensors")
    save_file({"output.x": torch.zeros(1)}, tmp_path / "poor.safetensors", {"config": '{"model": "pi3"}'})
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    (tmp_path / "keys.json").write_text('{"model": "nobody", "tensors": {}}')
    (tmp_path / "alien.json").write_text("{}")  # belongs to alien.safetensors
    assert cli.main(["parity", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "UNKNOWN KIND 'alien'" in printed and "UNKNOWN KIND 'keys nobody'" in printed
    assert "without a configuration" in printed
    assert printed.count("CANNOT RUN") == 2 and "0 of 5 passed" in printed


def test_a_folder_without_fixtures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["parity", str(tmp_path)]) == 1
    assert "found none" in capsys.readouterr().err


def test_cases_are_read_from_their_names() -> None:
    inputs = {name: torch.ones(1, 2) for name in ("depths", "intrinsics", "rays", "poses", "mask_add_depth")}
    only = conditions_of("depth_only", inputs)
    assert only is not None and only.depth is not None and only.camera_to_world is None and only.depth_mask is None
    assert conditions_of("images_only", inputs) is None
    everything = conditions_of("all_conditions", inputs)
    assert everything is not None and everything.intrinsics is not None and everything.depth_mask is None
    partial = conditions_of("partial", inputs | {"partial.depths": torch.zeros(1, 2)})
    assert partial is not None and partial.depth_mask is not None and partial.pose_mask is None
    assert partial.depth is not None and not partial.depth.any()
    less = conditions_of("no_depth", inputs)
    assert less is not None and less.depth is None and less.intrinsics is not None
    assert less.camera_to_world is not None
    none = conditions_of("no_conditions", inputs)
    assert none is not None and none.depth is None and none.camera_to_world is None and none.intrinsics is None
    with pytest.raises(BadInput, match="upside_down"):
        conditions_of("upside_down", inputs)
