"""What `geoseg train` does with a small training, in this process."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small_task
import torch
from safetensors.torch import load_file

from geoseg_core import cli
from geoseg_core.training import registry
from geoseg_core.training.checkpoint import checkpoints, read_checkpoint, read_facts
from geoseg_core.training.log import read_log
from geoseg_core.training.task import HELD_OUT_SEEDS


@pytest.fixture(autouse=True)
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(registry, "RECIPES", (*registry.RECIPES, small_task.RECIPE))
    yield
    torch.set_num_threads(threads)


def train(out: Path, *changes: str, words: tuple[str, ...] = ()) -> int:
    settings = [word for change in changes for word in ("--set", change)]
    return cli.main(["train", "brightness", "--out", str(out), "--device", "cpu", *settings, *words])


def losses(out: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["l1"]) for row in read_log(out) if row["group"] == "train"]


def stored(out: Path) -> dict[str, Any]:
    return read_facts(checkpoints(out / "checkpoints")[-1])


def test_what_a_training_leaves(tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"report.md", "metrics.json", "log.jsonl", "curves.png", "weights.safetensors"} <= found
    picture = cv2.imread(str(tmp_path / "pictures" / "step_00000020.png"))
    assert picture.shape == (8, 8, 3)
    metrics: dict[str, Any] = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["metrics"]) == {"error"}, "a figure that nobody knows is left out"
    assert metrics["metrics"]["error"] < metrics["held_out"][0]["error"], "it learned"
    assert (metrics["samples"], metrics["trained_parameters"]) == (120, 117)
    text = (tmp_path / "report.md").read_text()
    assert "| recipe | brightness |" in text
    assert "| `schedule.steps` | 30 |" in text
    facts = stored(tmp_path)
    assert (facts["recipe"], facts["step"], facts["config"]["data.side"]) == ("brightness", 30, 8)
    assert facts["seeds"] == [HELD_OUT_SEEDS, HELD_OUT_SEEDS + 120], "none of a held-out seed"


def test_a_folder_with_a_training_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "schedule.steps=2") == 0
    assert train(tmp_path) == 1
    assert "got checkpoints up to step_00000002; add --resume" in capsys.readouterr().err


def test_sigterm_ends_it_after_the_step_with_all_that_takes_no_time(tmp_path: Path) -> None:
    assert train(tmp_path, "data.ended_at=4", "loop.checkpoint_steps=0") == 128 + signal.SIGTERM
    assert (stored(tmp_path)["step"], len(losses(tmp_path))) == (5, 5)
    assert "| ended because | signal |" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == {}
    assert (tmp_path / "weights.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "as it was before"


def test_a_run_of_limited_time_stops_and_a_later_one_may_have_more_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "data.delay_s=0.3", words=("--minutes", "0.02")) == 0
    assert "the time is over" in capsys.readouterr().err
    assert 1 <= len(losses(tmp_path)) < 30
    assert train(tmp_path, "schedule.steps=40", "data.delay_s=0", words=("--resume",)) == 0
    assert [step for step, _ in losses(tmp_path)] == list(range(1, 41))
    assert stored(tmp_path)["config"]["schedule.steps"] == 40


def test_a_schedule_by_time_ends_when_its_time_is_used_up_over_all_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_time = ("schedule.minutes=0.03", "data.delay_s=0.1")
    train(tmp_path, *by_time, words=("--minutes", "0.01"))
    assert "the time is over" in capsys.readouterr().err
    first = stored(tmp_path)
    assert 0.6 <= first["seconds"] < 1.8
    train(tmp_path, *by_time, words=("--minutes", "5", "--resume"))
    assert "the schedule is done" in capsys.readouterr().err
    rates = [row["learning_rate"] for row in read_log(tmp_path) if row["group"] == "train"]
    assert len(rates) > first["step"]
    assert rates[-1] < rates[first["step"] - 1] / 2
    assert stored(tmp_path)["seconds"] >= 1.8


def test_small_files_and_a_resume_change_no_loss(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # A constant learning rate, so that 15 steps are the first 15 of 30.
    train(whole, "schedule.floor=1.0", "schedule.warmup=0.0")
    small = ("--shard-mib", str(300 / 2**20))
    train(parts, "schedule.floor=1.0", "schedule.warmup=0.0", "schedule.steps=15", words=small)
    (checkpoint,) = checkpoints(parts / "checkpoints")
    assert read_checkpoint(checkpoint)["model.0.weight"].shape == (4, 3, 3, 3)
    assert len(list(checkpoint.iterdir())) > 4, "108 numbers of 4 bytes do not fit in a file of 300 bytes"
    train(parts, "schedule.steps=30", words=("--resume",))
    assert losses(parts) == losses(whole)
    wanted, got = (load_file(folder / "weights.safetensors") for folder in (whole, parts))
    assert all(bool((wanted[name] == got[name]).all()) for name in wanted)


def test_a_compact_checkpoint_goes_on_nearly_the_same(tmp_path: Path) -> None:
    exact, compact = tmp_path / "exact", tmp_path / "compact"
    constant = ("schedule.floor=1.0", "schedule.warmup=0.0")
    train(exact, *constant)
    train(compact, *constant, "schedule.steps=15", "loop.stored=compact")
    sizes = {
        name: value.element_size() for name, value in read_checkpoint(checkpoints(compact / "checkpoints")[0]).items()
    }
    assert (sizes["model.0.weight"], sizes["average.0.weight"], sizes["optimiser.mean.0.weight"]) == (4, 2, 2)
    train(compact, "schedule.steps=30", words=("--resume",))
    np.testing.assert_allclose(np.array(losses(compact)), np.array(losses(exact)), rtol=0.02)
    assert losses(compact) != losses(exact)


def test_losses_that_are_no_numbers_are_skipped_and_end_it_after_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "data.broken_from=5", "loop.bad_steps=3") == 1
    assert "expected finite losses and gradients, got none in 3 steps up to step 7" in capsys.readouterr().err
    rows = [row for row in read_log(tmp_path) if row["group"] == "train"]
    assert [row["total"] is None for row in rows] == [False] * 5 + [True] * 2


def test_short_memory_halves_the_micro_batch_and_keeps_the_course(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plenty, short = tmp_path / "plenty", tmp_path / "short"
    train(plenty, "loop.precision=fp32")
    train(short, "loop.precision=fp32", "data.memory_for=1")
    assert json.loads((short / "metrics.json").read_text())["micro_batch"] == 1
    assert "memory ran out: 1 samples at a time from now on" in capsys.readouterr().err
    # The loss has noise of its own for each micro-batch.
    np.testing.assert_allclose(np.array(losses(short)), np.array(losses(plenty)), rtol=0.02)


def test_too_little_memory_for_one_sample_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "data.memory_for=0") == 1
    assert "expected memory for one sample at a time" in capsys.readouterr().err


def test_frozen_parts_stay_and_weights_start_from_a_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(first)
    weights = first / "weights.safetensors"
    train(second, f"loop.weights={weights}", "optimiser.frozen=0.", "schedule.steps=5")
    before, after = load_file(weights), load_file(second / "weights.safetensors")
    moved = {name: not bool((before[name] == after[name]).all()) for name in before}
    assert moved == {"0.weight": False, "0.bias": False, "2.weight": True, "2.bias": True}
    held = read_checkpoint(checkpoints(second / "checkpoints")[-1])
    assert {name for name in held if name.startswith("model.")} == {"model.2.weight", "model.2.bias"}
    train(second, "schedule.steps=8", words=("--resume",))
    assert bool((load_file(second / "weights.safetensors")["0.weight"] == before["0.weight"]).all())


def test_slow_parts_learn_at_a_part_of_the_rate(tmp_path: Path) -> None:
    train(tmp_path / "start", "schedule.steps=1")
    weights = tmp_path / "start" / "weights.safetensors"
    once = (f"loop.weights={weights}", "schedule.steps=1")
    train(tmp_path / "same", *once)
    train(tmp_path / "slow", *once, "optimiser.slow=0.", "optimiser.slow_rate=0.25")
    start, same, slow = (load_file(tmp_path / each / "weights.safetensors") for each in ("start", "same", "slow"))
    for name, share in (("0.weight", 0.25), ("0.bias", 0.25), ("2.weight", 1.0), ("2.bias", 1.0)):
        moved = same[name] - start[name]
        assert bool((moved != 0).any())
        torch.testing.assert_close(slow[name] - start[name], share * moved, rtol=1e-2, atol=1e-6)
    train(tmp_path / "slow", "schedule.steps=3", words=("--resume",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.size=3", "expected KEY=VALUE with a setting of the recipe"),
        ("data.side", "expected KEY=VALUE with a setting of the recipe"),
        ("data.side=big", "data.side: expected int, got 'big'"),
        ("loop.batch=0", "loop.batch: expected 1 to"),
        ("optimiser.frozen=3.", "optimiser.frozen: expected beginnings of parameter names, got '3.'"),
        ("optimiser.slow=3.", "optimiser.slow: expected beginnings of parameter names, got '3.'"),
        ("optimiser.frozen=0.,2.", "expected something left to train"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    change: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, change) == 1
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_model_or_with_a_file_missing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "schedule.steps=1", words=("--shard-mib", str(300 / 2**20)))
    folder = checkpoints(tmp_path / "checkpoints")[0]
    next(folder.iterdir()).unlink()
    assert train(tmp_path, words=("--resume",)) == 1
    assert "files of a checkpoint, got" in capsys.readouterr().err


def test_the_recipes_and_their_settings_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--list"]) == 0
    assert "vggt" in capsys.readouterr().out
    assert cli.main(["train", "brightness", "--list"]) == 0
    assert "optimiser.learning_rate             0.02" in capsys.readouterr().out
    assert cli.main(["train", "nothing"]) == 1
    assert "expected a recipe (one of " in capsys.readouterr().err


def test_a_terminal_has_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert train(tmp_path, "schedule.steps=3") == 0
    text = capsys.readouterr().err
    assert "100%" in text
    assert "samples/s, loss" in text


def test_a_device_that_is_not_here_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cuda:99", "abacus"):
        assert cli.main(["train", "brightness", "--out", str(tmp_path), "--device", name]) == 1
        assert "--device: expected a device of this machine" in capsys.readouterr().err


def test_a_disk_that_takes_no_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    assert train(tmp_path, "schedule.steps=2") == 1
    assert "expected room for a checkpoint" in capsys.readouterr().err
