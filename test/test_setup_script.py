"""The set-up script: steps that are done cost nothing, steps that fail say which and what to do."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module, with a checkout of its own in a folder whose name holds a blank."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checkout = tmp_path / "a checkout"
    monkeypatch.setattr(module, "ROOT", checkout)
    monkeypatch.setattr(module, "VENV", checkout / ".venv")
    monkeypatch.setattr(module, "STATE", checkout / ".venv" / ".geoseg")
    (checkout / ".venv").mkdir(parents=True)
    return module


def test_a_step_is_done_once(setup: Any) -> None:
    calls: list[str] = []
    for _ in range(3):
        setup.run_step("[1/1]", setup.stamped("name", "title", ["input"], lambda: calls.append("done")))
    assert calls == ["done"]


def test_a_step_is_done_again_when_its_inputs_change_and_when_it_is_forced(setup: Any) -> None:
    calls: list[str] = []
    for inputs in (["a"], ["b"], ["b"], ["ab"], ["a", "b"]):
        setup.run_step("[1/1]", setup.stamped("name", "title", inputs, lambda: calls.append("done")))
    assert len(calls) == 4
    assert setup.run_step("[1/1]", setup.stamped("name", "title", ["a", "b"], lambda: calls.append("f"), force=True))
    assert calls[-1] == "f"


def test_a_step_that_was_interrupted_is_done_again(setup: Any) -> None:
    step = setup.stamped("name", "title", ["input"], lambda: None)
    setup.run_step("[1/1]", step)
    assert step.is_done()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup.run_step("[1/1]", setup.stamped("name", "title", ["input"], interrupted, force=True))
    assert not step.is_done()


def test_a_failed_step_says_which_with_command_log_and_advice(setup: Any) -> None:
    command = ["sh", "-c", "echo first; echo 'disk full' >&2; exit 3"]
    step = setup.stamped("pip", "locked packages", [1], lambda: setup.run("pip", command, "Make room on the disk."))
    with pytest.raises(SystemExit) as caught:
        setup.run_step("[3/6]", step)
    message = str(caught.value)
    for part in ("[3/6]", "locked packages", "echo first", "Exit status 3", "disk full", "Make room", "run the same"):
        assert part in message
    assert not step.is_done()
    assert (setup.ROOT / "build" / "setup" / "pip.log").read_text() == "first\ndisk full\n"


def test_a_command_that_is_not_there_is_named(setup: Any) -> None:
    with pytest.raises(setup.StepFailed, match="no-such-program"):
        setup.run("build", ["no-such-program", "--now"], "Install it.")


def test_only_chosen_lines_are_shown_and_counted(setup: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script = "echo Collecting a; echo Collecting b; echo 'Downloading b (90.1 MB)'; echo noise"
    setup.run("pip", ["sh", "-c", script], "", show="MB", count="^Collecting", total=7)
    assert capsys.readouterr().out == "      2/7 Downloading b (90.1 MB)\n"


def test_wheels_paths_become_those_of_this_environment(setup: Any) -> None:
    exported = setup.VENV / "share" / "std_msgs" / "cmake" / "export.cmake"
    exported.parent.mkdir(parents=True)
    old = "/opt/python/cp311-cp311"
    text = f'"{old}/include/python3.11;{old}/lib/python3.11/site-packages/numpy/_core/include;/usr/include"'
    exported.write_text(text)
    setup.patch_cmake_exports()
    once = exported.read_text()
    numpy = f"{setup.VENV}/lib/python3.11/site-packages/numpy/_core/include"
    assert once == f'"{sysconfig.get_path("include")};{numpy};/usr/include"'
    setup.patch_cmake_exports()
    assert exported.read_text() == once


def test_a_python_without_wheels_is_refused_with_the_way_out(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.sys, "version_info", (3, 9, 2))
    with pytest.raises(setup.StepFailed, match="Expected Python 3.11, 3.12, 3.13") as caught:
        setup.make_venv()
    assert "make setup PYTHON=" in str(caught.value)


def test_missing_packages_are_those_that_dpkg_does_not_have(
    setup: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text("#!/bin/sh\necho g++ installed\necho make installed\necho cmake config-files\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    missing = setup.missing_packages()
    assert "cmake" in missing and "libgl1" in missing
    assert not {"g++", "make"} & set(missing)
    assert f"python{sys.version_info.major}.{sys.version_info.minor}-venv" in missing


def test_without_root_and_sudo_the_command_for_those_who_have_it_is_told(
    setup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "missing_packages", lambda: ["cmake"])
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(setup.StepFailed, match="apt-get install -y cmake"):
        setup.install_system_packages()


def test_an_interpreter_that_is_not_there_is_named() -> None:
    environment = os.environ | {"PYTHON": "/nowhere/python3.11"}
    ended = subprocess.run([ROOT / "scripts" / "setup.sh"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "/nowhere/python3.11" in ended.stderr
