"""The `geoseg` command as it is typed."""

import importlib
import os
import subprocess
import sys

import pytest

from geoseg_core import cli


def geoseg(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "geoseg_core.cli", *words], capture_output=True, text=True)


def test_help_names_every_command_without_loading_one() -> None:
    ended = geoseg("--help")
    assert ended.returncode == 0
    for name in cli.COMMANDS:
        assert name in ended.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_its_options(name: str) -> None:
    ended = geoseg(name, "--help")
    assert ended.returncode == 0, ended.stderr
    assert "options:" in ended.stdout


def test_an_unknown_command_is_refused() -> None:
    ended = geoseg("fly")
    assert ended.returncode == 2
    assert "fly" in ended.stderr


def test_an_error_of_ours_is_one_line_and_status_1() -> None:
    ended = geoseg("bringup", "--config", "/nowhere.yaml")
    assert ended.returncode == 1
    assert ended.stderr.startswith("geoseg bringup: ") and "/nowhere.yaml" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_without_ros_its_commands_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="rclpy")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert cli.main(["bringup"]) == 1
    assert "needs ROS 2" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["weights", "list"], ["config"]])
def test_a_reader_that_has_enough_ends_a_command_quietly(words: list[str]) -> None:
    ours, closed = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_core.cli", *words], stdout=closed, stderr=subprocess.PIPE, timeout=60
    )
    os.close(closed)
    assert (done.returncode, done.stderr) in ((0, b""), (1, b""))
