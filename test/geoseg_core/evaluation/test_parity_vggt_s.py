"""`geoseg parity` on the fixtures of VGGT-S: the published numbers come out, and what differs is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from geoseg_core.cross_view.union_head.config import UnionHeadConfig, config_of
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Row, run_one
from geoseg_core.evaluation.parity_kinds import RUNNERS
from geoseg_core.evaluation.parity_vggt_s import HeadSet

VGGT_S = Path(__file__).parents[4] / "shared" / "reference" / "vggt_s"
PARITY = VGGT_S / "parity"
# F1, the head at its full size, takes a minute; `geoseg parity ../shared/reference` runs it.
QUICK = (
    "A_io.safetensors", "A_stages_it0.safetensors", "A_weights.safetensors", "D1_geometry.safetensors",
    "D1_images.safetensors", "K_shared.safetensors", "P_pos_embed.safetensors", "T_shared.safetensors",
    "V_shared.safetensors", "recipe_A.json", "recipe_F1.json", "../keys.json",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not VGGT_S.is_dir(), reason="no ../shared/reference/vggt_s")


def rows_of(path: Path) -> list[Row]:
    return run_one(path, path.name, RUNNERS)


def copied(folder: Path, name: str, change: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    """A fixture with some tensors changed, without those that are changed to None."""
    with safe_open(PARITY / name, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()} | change  # noqa: SIM118
        given = file.metadata()
    save_file(tensors, folder / name, given if metadata is None else metadata)
    return folder / name


def misses(path: Path) -> dict[str, str]:
    return {row.tensor: row.verdict for row in rows_of(path) if not row.passed}


@pytest.mark.parametrize("name", QUICK)
def test_the_published_numbers_come_out(name: str) -> None:
    rows = rows_of(PARITY / name)
    assert rows and [row for row in rows if not row.passed] == []


def test_every_tensor_of_a_fixture_is_compared_but_its_inputs() -> None:
    for name in ("A_io", "T_shared", "D1_geometry", "V_shared"):
        with safe_open(PARITY / f"{name}.safetensors", framework="pt") as file:
            stored = {key for key in file.keys() if not key.startswith(("in.", "w."))}  # noqa: SIM118
        assert stored <= {row.tensor for row in rows_of(PARITY / f"{name}.safetensors")}, name


def test_changed_and_unknown_entries_of_a_call_are_misses(tmp_path: Path) -> None:
    shutil.copy(PARITY / "recipe_A.json", tmp_path)
    with safe_open(PARITY / "A_io.safetensors", framework="pt") as file:
        logits, metadata = file.get_tensor("it1.pred_logits"), file.metadata()
    change = {"it1.pred_logits": logits + 2e-4, "it1.surprise": torch.zeros(1), "in.unheard": torch.zeros(1)}
    found = misses(copied(tmp_path, "A_io.safetensors", change, metadata | {"blocks": "3", "novel": "1"}))
    assert found == {
        "it1.pred_logits": "MISS",
        "it1.surprise": "NOT COMPUTED",
        "in.unheard": "NOT COMPUTED",
        "config blocks": "EXPECTED 2",
        "config novel": "UNKNOWN KEY",
    }


def test_a_set_without_recipe_takes_its_stored_weights_and_maps(tmp_path: Path) -> None:
    for name in ("A_io", "A_weights"):
        shutil.copy(PARITY / f"{name}.safetensors", tmp_path)
    assert misses(tmp_path / "A_io.safetensors") == misses(tmp_path / "A_weights.safetensors") == {}
    shutil.copy(PARITY / "A_stages_it0.safetensors", tmp_path / "B_stages.safetensors")
    assert "CANNOT RUN" in rows_of(tmp_path / "B_stages.safetensors")[0].verdict


def test_unknown_settings_and_results_of_a_step_are_misses(tmp_path: Path) -> None:
    shutil.copy(PARITY / "T_shared.safetensors", tmp_path)
    content = json.loads((PARITY / "T_shared.json").read_text())
    content["configuration"]["warm_up"] = 3
    content["loss_of_boundaries"] = 0.1
    content["loss_dice"] += 1e-3
    (tmp_path / "T_shared.json").write_text(json.dumps(content))
    assert misses(tmp_path / "T_shared.safetensors") == {
        "config warm_up": "UNKNOWN KEY",
        "config loss_of_boundaries": "UNKNOWN KEY",
        "loss_dice": "MISS",
    }


def test_moved_points_pixels_and_facts_are_misses(tmp_path: Path) -> None:
    with safe_open(PARITY / "K_shared.safetensors", framework="pt") as file:
        points = file.get_tensor("bar.points5")
    shutil.copy(PARITY / "K_shared.json", tmp_path)
    facts = json.loads((PARITY / "K_shared.json").read_text())
    facts["bar.5"]["foreground"] += 1
    (tmp_path / "K_shared.json").write_text(json.dumps(facts))
    change = {"bar.points5": points + torch.eye(5)[:, :2], "bar.colours": torch.zeros(1)}
    found = misses(copied(tmp_path, "K_shared.safetensors", change))
    assert set(found) == {"bar.points5", "bar.colours", "bar.5.foreground"}


def test_checkpoints_of_other_names_shapes_or_order_are_named(tmp_path: Path) -> None:
    keys = json.loads((VGGT_S / "keys.json").read_text())
    tensors = keys["tensors"]
    tensors["mask_decoder.mask_tokens.weight"]["shape"] = [2, 128]
    tensors["mask_decoder.mask_tokens.bias"] = {"shape": [128], "kind": "parameter", "optimizer_index": 151}
    keys["notes"] = {}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    found = misses(tmp_path / "keys.json")
    assert found["config notes"] == "UNKNOWN KEY" and found["kinds and order"] == "MISS"
    (verdict,) = (each for name, each in found.items() if name.endswith("names and shapes"))
    assert "mask_tokens.weight" in verdict and "mask_tokens.bias" in verdict


def test_the_accumulated_vector_is_an_option_that_first_shows_in_the_second_call() -> None:
    files = HeadSet(PARITY / "A_io.safetensors")
    released = files.head()
    plain = UnionHead(replace(released.config, accumulate=False))
    plain.load_state_dict(released.state_dict())
    with torch.inference_mode():
        first = released.call(files.pairs)
        feedback = released.resized_feedback(first.raw)
        assert torch.equal(first.logits, plain.call(files.pairs).logits)
        second, other = (head.call(files.pairs, 1, feedback).logits for head in (released, plain))
    assert float((second - other).abs().max()) == pytest.approx(3.1, abs=0.1)


def test_sizes_are_read_from_names_and_shapes() -> None:
    tensors = json.loads((VGGT_S / "keys.json").read_text())["tensors"]
    shapes = {name: tuple(each["shape"]) for name, each in tensors.items()}
    assert config_of(shapes) == UnionHeadConfig()
    with pytest.raises(BadInput, match="tensors of a union head"):
        config_of({"a": (1,)})
