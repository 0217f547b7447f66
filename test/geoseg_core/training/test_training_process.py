"""Trainings as real processes: killed, interrupted, gone on with, and what lies in their folder in the end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from geoseg_core.training.checkpoint import checkpoints, read_checkpoint, read_facts
from geoseg_core.training.log import read_log

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "test" / "small_task.py"


def command(out: Path, *words: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "train", "brightness", "--out", str(out), "--device", "cpu", *words]


def train(out: Path, *words: str, status: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command(out, *words), capture_output=True, text=True, timeout=120, env=environment)
    assert ended.returncode == status, ended.stderr
    return ended.stderr


def started(out: Path, *words: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command(out, *words), stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(rows: int, out: Path) -> None:
    end = time.monotonic() + 60
    while len(losses(out)) < rows:
        assert time.monotonic() < end, "the training did not get so far"
        time.sleep(0.02)


def losses(out: Path) -> list[tuple[int, float, float]]:
    return [(row["step"], row["total"], row["l1"]) for row in read_log(out) if row["group"] == "train"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out)
    return out


def test_a_killed_training_goes_on_with_the_same_losses_and_weights(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    slow = ("--set", "data.delay_s=0.05", "--set", "loop.checkpoint_steps=7", "--set", "loop.workers=1")
    process = started(out, *slow)
    wait_for(17, out)
    process.kill()
    process.wait()
    assert len(losses(out)) < 30, "it was killed on the way"
    assert [path.name for path in checkpoints(out / "checkpoints")] == ["step_00000007", "step_00000014"]
    assert "going on after step 14" in train(out, "--resume", "--set", "data.delay_s=0")
    assert losses(out) == losses(uninterrupted)
    assert [step for step, *_ in losses(out)] == list(range(1, 31))
    wanted, got = (load_file(folder / "weights.safetensors") for folder in (uninterrupted, out))
    assert wanted.keys() == got.keys()
    assert all(bool((wanted[name] == got[name]).all()) for name in wanted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_checkpoint_of_the_last_step(
    number: signal.Signals, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = started(out, "--set", "data.delay_s=0.05", "--set", "loop.checkpoint_steps=0")
    wait_for(3, out)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + number, text
    done = len(losses(out))
    (checkpoint,) = checkpoints(out / "checkpoints")
    assert read_facts(checkpoint)["step"] == done < 30
    assert "| ended because | signal |" in (out / "report.md").read_text()
    train(out, "--resume")
    assert losses(out) == losses(uninterrupted)


def test_a_run_of_limited_time_stops_and_a_later_one_may_have_more_steps(tmp_path: Path) -> None:
    out = tmp_path / "run"
    text = train(out, "--set", "data.delay_s=0.3", "--minutes", "0.02")
    assert "the time is over" in text
    done = len(losses(out))
    assert 1 <= done < 30
    train(out, "--resume", "--set", "schedule.steps=40", "--set", "data.delay_s=0")
    assert [step for step, *_ in losses(out)] == list(range(1, 41))
    assert read_facts(checkpoints(out / "checkpoints")[-1])["config"]["schedule.steps"] == 40


def test_a_schedule_by_time_ends_when_its_time_is_used_up_over_all_runs(tmp_path: Path) -> None:
    out = tmp_path / "run"
    by_time = ("--set", "schedule.minutes=0.03", "--set", "data.delay_s=0.1")
    assert "the time is over" in train(out, *by_time, "--minutes", "0.01")
    first = read_log(out)[-1]["step"]
    assert "the schedule is done" in train(out, *by_time, "--minutes", "5", "--resume")
    rates = [row["learning_rate"] for row in read_log(out) if row["group"] == "train"]
    assert len(rates) > first
    assert rates[-1] < rates[first - 1] / 2
    facts = read_facts(checkpoints(out / "checkpoints")[-1])
    assert 1.8 <= facts["seconds"] < 4


def test_what_a_training_leaves(uninterrupted: Path) -> None:
    found = {str(path.relative_to(uninterrupted)) for path in uninterrupted.rglob("*") if path.is_file()}
    assert {f"pictures/step_{step:08d}.png" for step in (10, 20, 30)} <= found
    assert {"report.md", "metrics.json", "log.jsonl", "curves.png", "weights.safetensors"} <= found
    metrics: dict[str, Any] = json.loads((uninterrupted / "metrics.json").read_text())
    assert set(metrics["metrics"]) == {"error"}, "a figure that nobody knows is left out"
    first, last = metrics["held_out"][0]["error"], metrics["metrics"]["error"]
    assert last < first, "it learned"
    assert metrics["samples"] == 120
    text = (uninterrupted / "report.md").read_text()
    assert "| recipe | brightness |" in text
    assert "| `schedule.steps` | 30 |" in text
    facts = read_facts(checkpoints(uninterrupted / "checkpoints")[-1])
    assert (facts["recipe"], facts["step"], facts["config"]["data.side"]) == ("brightness", 30, 8)
    assert facts["seeds"] == [1_000_000, 1_000_120], "120 samples, none of a held-out seed"


def test_checkpoints_in_small_files_go_on_just_the_same(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = 300 / 2**20
    train(out, "--shard-mib", str(small), "--set", "schedule.steps=15", "--set", "schedule.floor=1.0")
    (checkpoint,) = checkpoints(out / "checkpoints")
    tensors = read_checkpoint(checkpoint)
    assert tensors["model.0.weight"].shape == (4, 3, 3, 3)
    assert len(list(checkpoint.iterdir())) > 4, "108 numbers of 4 bytes do not fit in a file of 300 bytes"
    train(out, "--resume", "--set", "schedule.steps=30")
    assert [step for step, *_ in losses(out)] == list(range(1, 31))


def test_a_folder_with_a_training_is_not_overwritten(uninterrupted: Path) -> None:
    text = train(uninterrupted, status=1)
    assert "got checkpoints up to step_00000030; add --resume" in text


def test_losses_that_are_no_numbers_are_skipped_and_end_it_after_some(tmp_path: Path) -> None:
    out = tmp_path / "run"
    text = train(out, "--set", "data.broken_from=5", "--set", "loop.bad_steps=3", status=1)
    assert "expected finite losses and gradients, got none in 3 steps up to step 7" in text
    rows = [row for row in read_log(out) if row["group"] == "train"]
    assert [row["total"] is None for row in rows] == [False] * 5 + [True] * 2


def test_short_memory_halves_the_micro_batch_and_changes_nothing_else(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, "--set", "data.memory_for=1")
    assert json.loads((out / "metrics.json").read_text())["micro_batch"] == 1
    wanted, got = np.array(losses(uninterrupted)), np.array(losses(out))
    np.testing.assert_allclose(got[:, 2], wanted[:, 2], rtol=0.05, err_msg="the same course but for rounding and noise")


def test_too_little_memory_for_one_sample_is_said(tmp_path: Path) -> None:
    text = train(tmp_path / "run", "--set", "data.memory_for=0", status=1)
    assert "expected memory for one sample at a time" in text
