"""The benchmark of the encoders: its plain code says what our models say, and its table says what it measured."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import random_images, small_vggt

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@torch.inference_mode()
@pytest.mark.parametrize("size", [(28, 56), (42, 42), (56, 28)])
def test_the_plain_code_gives_what_ours_gives(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    model, images = small_vggt(), random_images(2, 3, *size)
    plain = importlib.import_module("plain_vggt").PlainVggt(model)
    expected = model(images, ("camera", "depth", "points"), keep_layers=range(3))
    tokens = plain.aggregate(plain.embed(images), 2, size)
    found = [*tokens.layers, plain.camera(tokens)[-1], *plain.depth(tokens), *plain.points(tokens)]
    ours = [
        *(expected.tokens.layers[number] for number in range(3)),
        expected.pose_encodings[-1],
        expected.depth,
        expected.depth_confidence,
        expected.points,
        expected.points_confidence,
    ]
    for theirs, each in zip(found, ours, strict=True):
        assert theirs.shape == each.shape
        assert (theirs - each).abs().max() <= 1e-4 * each.abs().max()


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["--baseline"], ["patch embed", "aggregate", "camera", "depth", "points"]),
        (["--model", "pi3x"], ["patch embed", "aggregate", "heads"]),
    ],
)
def test_a_row_for_every_mode(words: list[str], stages: list[str], tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "encoders.py", "--tiny", "--size", "56x42", "--modes", "fp32,bf16"]
    more = ["--threads", "1", "--passes", "1", "--out", tmp_path]
    subprocess.run([str(each) for each in (*command, *words, *more)], check=True, timeout=280)
    record = json.loads((tmp_path / "encoders.json").read_text())
    rows = {row["mode"]: row for row in record["rows"]}
    plain = ["plain fp32", "plain bf16"] if "--baseline" in words else []
    assert list(rows) == [*plain, "fp32", "bf16"]
    assert rows["fp32"]["depth_max_percent"] == 0 < rows["bf16"]["depth_median_percent"] < 5
    assert rows["bf16"]["weights_gib"] < rows["fp32"]["weights_gib"] < rows["fp32"]["peak_gib"]
    measured = record["settings"]["stages"]
    assert list(measured["tflop"]) == list(measured["bf16 s"]) == stages
    assert sum(measured["bf16 s"].values()) == pytest.approx(rows["bf16"]["total_s"])
    assert record["machine"]["cpu"]
