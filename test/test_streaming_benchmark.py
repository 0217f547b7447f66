"""The streaming benchmark runs and says what it measured; how fast it was is not judged here."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from small_models import VGGT, small_vggt

ROOT = Path(__file__).resolve().parent.parent


def test_weights_of_any_size_are_measured(tmp_path: Path) -> None:
    weights = tmp_path / "small.safetensors"
    save_file(small_vggt().state_dict(), weights, {"config": json.dumps(dataclasses.asdict(VGGT))})
    script = ROOT / "benchmarks" / "streaming.py"
    command = [sys.executable, str(script), "--weights", str(weights), "--out", str(tmp_path), "--window", "2"]
    said = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True, timeout=240).stdout
    assert "reused_share" in said and "random" not in said
    record = json.loads((tmp_path / "streaming.json").read_text())
    cost, *drift = record["rows"]
    assert record["settings"]["size"] == [28, 42] and record["settings"]["weights"] == "small.safetensors"
    # Keys and values of 3 layers, and camera tokens, of 3 views with 11 tokens: anchor, window and the new set.
    assert cost["cache_mib"] == pytest.approx(4 * 4 * (2 * 3 * 32 * 3 * 11 + 3 * 64) / 2**20)
    # Two of three cameras stand still, and half of the time nothing moves before them.
    assert 0.3 < cost["reused_share"] < 1
    assert cost["ratio"] > 0 and cost["peak_mib_at_20"] > 50
    assert [row["window"] for row in drift] == [0, 1, 2, 4, 8]
    assert all(0 < row["depth_%"] < 100 and 0 < row["rotation_deg"] < 180 for row in drift)
    assert (tmp_path / "streaming.png").stat().st_size > 5_000
