"""What a head expects of its masks, corrected by what it reached."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoseg_core.cross_view.calibration import Calibration, fitted, stored_calibration
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.errors import BadInput
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.weights.chosen import config_metadata, stored_config

ROOT = Path(__file__).resolve().parents[3]


def test_values_between_knots_by_hand() -> None:
    half = Calibration((0.2, 0.6, 1.0), (0.1, 0.3, 0.9))
    assert np.allclose(half(np.array([0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])), [0.0, 0.1, 0.1, 0.2, 0.3, 0.6, 0.9])
    assert np.allclose(Calibration()(np.array([[0.25, 1.0]])), [[0.25, 1.0]])


def test_a_head_that_expects_too_much_is_corrected() -> None:
    random = np.random.default_rng(0)
    expected = random.uniform(0, 1, 5000)
    reached = (0.5 * expected + random.normal(0, 0.05, 5000)).clip(0, 1)
    found = fitted(expected, reached)
    asked = np.linspace(0.1, 0.9, 9)
    assert np.abs(found(asked) - 0.5 * asked).max() < 0.02


def test_the_map_never_falls() -> None:
    expected = np.linspace(0.0, 1.0, 120)
    reached = np.where(expected < 0.5, 0.8, 0.2)
    found = fitted(expected, reached)
    assert np.allclose(found.reached, 0.5, atol=1e-3)


def test_it_lives_in_the_file_of_the_weights(tmp_path: Path) -> None:
    path, made = tmp_path / "head.safetensors", Calibration((0.1, 0.9), (0.0, 0.5))
    save_file({"a": torch.zeros(1)}, path, made.metadata)
    assert stored_calibration(path) == made
    save_file({"a": torch.zeros(1)}, path)
    assert stored_calibration(path) == Calibration()


@pytest.mark.parametrize("text", ["", "[]", '{"expected": [0, 1]}', '{"expected": [1, 0], "reached": [0, 1]}',
                                  '{"expected": [0, 1], "reached": [0, 2]}', '{"expected": "ab", "reached": "ab"}',
                                  '{"expected": [0, 0.5, 1], "reached": [0, 1]}',
                                  f'{{"expected": [0, 1{"0" * 400}], "reached": [0, 1]}}'])  # fmt: skip
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "head.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"calibration": text})
    with pytest.raises(BadInput, match="calibration"):
        stored_calibration(path)


def test_a_head_is_corrected_and_a_picture_shows_how_much_better_it_knows_itself(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    torch.manual_seed(0)
    head = UnionHead(tiny_head())
    # It sees every object in every view.
    torch.nn.init.constant_(head.presence.layers[-1].bias, 9.0)
    save_file(head.state_dict(), path, config_metadata(tiny_head()))
    script = ROOT / "scripts" / "calibrate_head.py"
    words = [sys.executable, str(script), str(path), "--data", "worlds:0-3"]
    said = subprocess.run(words, check=True, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout
    assert stored_calibration(path) != Calibration() and stored_config(path, UnionHeadConfig()) == tiny_head()
    picture = tmp_path / "head_reliability.png"
    assert f"written: {picture}" in said and picture.stat().st_size > 5_000


def test_too_few_masks_tell_nothing() -> None:
    with pytest.raises(BadInput, match="at least 12 masks"):
        fitted([0.5] * 5, [0.5] * 5)
