"""Processes that others start: ended with them, and their failures told with the end of their log."""

import os
import signal
import subprocess
import sys
import time

import pytest

from geoseg_ros import processes
from geoseg_ros.processes import Child, ChildFailed, geoseg_command

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(100)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(100)",
]


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_failure_is_told_with_status_and_the_end_of_the_log(tmp_path):
    command = [sys.executable, "-c", "print('one\\n' * 40 + 'the reason'); raise SystemExit(3)"]
    with Child("replay", command, tmp_path / "log", {}) as child:
        wait_for(lambda: child.status is not None)
        with pytest.raises(ChildFailed, match="replay ended with status 3") as caught:
            child.check()
    assert str(caught.value).endswith("the reason") and str(caught.value).count("one") == 14


def test_a_good_end_is_no_failure(tmp_path):
    with Child("replay", [sys.executable, "-c", ""], tmp_path / "log", {}) as child:
        wait_for(lambda: child.status == 0)
        child.check()


def test_the_environment_reaches_the_child(tmp_path):
    command = [sys.executable, "-c", "import os; print(os.environ['GREETING'])"]
    with Child("echo", command, tmp_path / "log", {"GREETING": "hello"}) as child:
        wait_for(lambda: child.status == 0)
    assert child.tail() == "hello"


@pytest.mark.parametrize(("command", "status"), [(SLEEP, 1), (DEAF, -signal.SIGKILL)])
def test_leaving_the_block_ends_the_child_also_one_that_does_not_listen(tmp_path, monkeypatch, command, status):
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.5)
    with Child("node", command, tmp_path / "log", {}) as child:
        wait_for(lambda: "up" in child.tail())
        assert child.status is None
    assert child.status in (status, -signal.SIGINT)


def test_a_killed_parent_takes_its_children_along(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from geoseg_ros.processes import Child\n"
        f"with Child('node', {SLEEP!r}, Path({str(tmp_path / 'log')!r}), {{}}) as child:\n"
        "    print(child._process.pid, flush=True); time.sleep(100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(pid))


def test_a_subcommand_is_run_by_this_python(tmp_path):
    with Child("compare", geoseg_command("compare", "none.json", "none.json"), tmp_path / "log", {}) as child:
        wait_for(lambda: child.status == 1)
    assert "geoseg compare: report none.json" in child.tail()
