"""Trainings as real processes: killed, interrupted, on several processes, and where little is installed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_task
import torch
from safetensors.torch import load_file

from geoseg_core import cli
from geoseg_core.training import registry
from geoseg_core.training.checkpoint import checkpoints, read_facts
from geoseg_core.training.log import read_log

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "test" / "small_task.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
SLOW = ("--set", "data.delay_s=0.05")


def command(out: Path, *words: str) -> list[str]:
    return [str(PROGRAM), "train", "brightness", "--out", str(out), "--device", "cpu", *words]


def train(out: Path, *words: str, launcher: tuple[str, ...] = ()) -> str:
    words = (sys.executable, *launcher, *command(out, *words))
    ended = subprocess.run(words, capture_output=True, text=True, timeout=200, env=ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def started(out: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *command(out, *words)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def wait_for(rows: int, out: Path) -> None:
    end = time.monotonic() + 100
    while len(losses(out)) < rows:
        assert time.monotonic() < end, "the training did not get so far"
        time.sleep(0.02)


def losses(out: Path) -> list[tuple[int, float, float]]:
    return [(row["step"], row["total"], row["l1"]) for row in read_log(out) if row["group"] == "train"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training in this process."""
    out = tmp_path_factory.mktemp("whole") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "RECIPES", (*registry.RECIPES, small_task.RECIPE))
        assert cli.main(command(out)[1:]) == 0
    torch.set_num_threads(threads)
    return out


def test_a_killed_training_goes_on_with_the_same_losses_and_weights(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = started(out, *SLOW, "--set", "loop.checkpoint_steps=7", "--set", "loop.workers=1")
    wait_for(17, out)
    process.kill()
    process.communicate(timeout=60)
    assert len(losses(out)) < 30, "it was killed on the way"
    assert [path.name for path in checkpoints(out / "checkpoints")] == ["step_00000007", "step_00000014"]
    assert "going on after step 14" in train(out, "--resume", "--set", "data.delay_s=0")
    assert losses(out) == losses(uninterrupted)
    assert [step for step, *_ in losses(out)] == list(range(1, 31))
    wanted, got = (load_file(folder / "weights.safetensors") for folder in (uninterrupted, out))
    assert wanted.keys() == got.keys()
    assert all(bool((wanted[name] == got[name]).all()) for name in wanted)


def test_ctrl_c_ends_it_with_a_checkpoint_of_the_last_step(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = started(out, *SLOW, "--set", "loop.checkpoint_steps=0")
    wait_for(3, out)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, text
    (checkpoint,) = checkpoints(out / "checkpoints")
    assert read_facts(checkpoint)["step"] == len(losses(out)) < 30
    assert "| ended because | signal |" in (out / "report.md").read_text()


def test_a_terminal_that_is_closed_ends_it_with_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = started(out, *SLOW, "--set", "loop.checkpoint_steps=0")
    wait_for(3, out)
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    (checkpoint,) = checkpoints(out / "checkpoints")
    assert read_facts(checkpoint)["step"] == len(losses(out)) < 30


def test_two_processes_learn_the_same_as_one(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    assert "on 2 x cpu" in train(out, "--set", "loop.precision=fp32", launcher=launcher)
    assert [step for step, *_ in losses(out)] == list(range(1, 31))
    for (_, _, got), (_, _, wanted) in zip(losses(out), losses(uninterrupted), strict=True):
        # In bfloat16 there, and with other noise.
        assert got == pytest.approx(wanted, rel=0.05)


def test_torch_numpy_scipy_and_safetensors_are_enough(tmp_path: Path) -> None:
    out = tmp_path / "run"
    missing = ("accelerate", "tensorboard", "cv2", "matplotlib", "tqdm", "open3d", "PIL", "rclpy", "mujoco", "rosbags")
    code = (
        f"import sys, runpy; sys.modules |= dict.fromkeys({missing!r}); sys.argv = {command(out)!r}; "
        "import geoseg_core.training.recipes.vggt; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env=ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr
    for name in ("accelerate", "tensorboard", "matplotlib"):
        assert f"{name} is not installed" in ended.stderr
    found = {path.name for path in out.iterdir()}
    assert found == {"checkpoints", "pictures", "log.jsonl", "metrics.json", "report.md", "weights.safetensors"}
