"""The registry, the folders and the checks of files that are here."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geoseg_core import cli
from geoseg_core.errors import BadInput
from geoseg_core.resources import resource
from geoseg_core.weights.registry import CHECKPOINTS, checkpoint_named, markdown_table, size_words
from geoseg_core.weights.store import shipped_files, weights_file

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOSEG_WEIGHTS", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "named"


def test_the_document_holds_the_registry() -> None:
    assert markdown_table() in resource("docs/weights.md").read_text()


def test_entries_are_whole() -> None:
    assert len({checkpoint.name for checkpoint in CHECKPOINTS}) == len(CHECKPOINTS)
    for checkpoint in CHECKPOINTS:
        assert checkpoint.licence and checkpoint.serves and "\n" not in checkpoint.licence
        assert checkpoint.sha256 is None or re.fullmatch("[0-9a-f]{64}", checkpoint.sha256)
        assert checkpoint.revision is None or re.fullmatch("[0-9a-f]{7,40}", checkpoint.revision)


@pytest.mark.parametrize(
    ("name", "keys"), [("vggt-1b", "vggt_1b"), ("vggt-1b-commercial", "vggt_1b"), ("pi3", "pi3"), ("pi3x", "pi3x")]
)
def test_sizes_are_those_of_the_models_tensors(name: str, keys: str) -> None:
    path = ROOT.parent / "shared" / "reference" / "keys" / f"{keys}.json"
    if not path.is_file():
        pytest.skip("the reference tables (../shared/reference/keys) are not here")
    modules = json.loads(path.read_text())["per_top_level_module"].values()
    elements = sum(module["parameters"] + module["buffer_elements"] for module in modules)
    header_bytes = (checkpoint_named(name).size_bytes or 0) - 4 * elements
    assert 0 < header_bytes < 300_000


def test_names_are_found_as_people_write_them() -> None:
    assert checkpoint_named("VGGT-1B") is checkpoint_named("facebook/VGGT-1B") is CHECKPOINTS[0]
    with pytest.raises(BadInput, match=r"expected one of vggt-1b, .*got 'vgg'"):
        checkpoint_named("vgg")


def test_the_list_shows_licence_and_what_is_here(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights / "pi3").mkdir(parents=True)
    (weights / "pi3" / "model.safetensors").touch()
    assert cli.main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    here = {line.split()[0]: line.split()[1] for line in lines[1:] if not line.startswith(" ")}
    published = {checkpoint.name: "yes" if checkpoint.name == "pi3" else "no" for checkpoint in CHECKPOINTS}
    assert here == dict.fromkeys(shipped_files(), "yes") | published
    assert sum("licence: CC BY-NC 4.0: non-commercial use only" in line for line in lines) == 3
    assert cli.main(["weights", "list", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown_table() + "\n"


def test_the_named_folder_comes_before_the_cache(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cache" / "geoseg" / "weights" / "pi3" / "model.safetensors"
    assert cli.main(["weights", "where", "pi3"]) == 1
    assert capsys.readouterr().out.strip() == str(weights / "pi3" / "model.safetensors")
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert cli.main(["weights", "where", "pi3"]) == 0
    assert capsys.readouterr().out.strip() == str(cached) == str(weights_file("pi3"))
    (weights / "pi3").mkdir(parents=True)
    (weights / "pi3" / "model.safetensors").touch()
    assert weights_file("pi3") == weights / "pi3" / "model.safetensors"
    monkeypatch.delenv("GEOSEG_WEIGHTS")
    assert weights_file("pi3") == cached


def test_a_model_is_told_what_to_run(weights: Path) -> None:
    with pytest.raises(BadInput, match="geoseg weights pull vggt-s"):
        weights_file("vggt-s")
    (weights / "vggt-s").mkdir(parents=True)
    (weights / "vggt-s" / "main_exp.pth").touch()
    with pytest.raises(BadInput, match=r"geoseg weights convert .*main_exp\.pth"):
        weights_file("vggt-s")


def test_verify_refuses_what_was_not_published(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights", "verify", "pi3"]) == 1
    assert "geoseg weights pull pi3" in capsys.readouterr().err
    path = weights / "pi3" / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"a": torch.zeros(3)}, path)
    assert cli.main(["weights", "verify", "pi3"]) == 1
    assert "expected pi3 with sha256 33580e47" in capsys.readouterr().err
    assert cli.main(["weights", "verify", str(path)]) == 0
    assert "1 tensors, sha256 " in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-1])
    assert cli.main(["weights", "verify", str(path)]) == 1
    assert "expected a whole safetensors file" in capsys.readouterr().err


def test_verify_knows_a_converted_file_by_its_source(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights / "iggt" / "iggt_checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"a": torch.zeros(3)}, path, metadata={"source_sha256": str(checkpoint_named("iggt").sha256)})
    assert cli.main(["weights", "verify", "iggt"]) == 0
    assert "published as iggt" in capsys.readouterr().out


@pytest.mark.parametrize(("size", "words"), [(None, "not known"), (12, "12 B"), (898_083_611, "898.08 MB")])
def test_sizes_in_words(size: int | None, words: str) -> None:
    assert size_words(size) == words
