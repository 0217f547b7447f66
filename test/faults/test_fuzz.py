"""Every decoder and reader on some damaged inputs; `make fuzz` gives them a million."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from faults import fuzzing
from faults.fuzz_targets import TARGETS, Target
from live import ROOT

from geoseg_core.errors import BadInput

INPUTS = 6000
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "test")))}


@pytest.mark.parametrize(
    "words",
    [
        ["--inputs", str(INPUTS)],
        ["--target", "bag, SQLite", "--first", "100079", "--inputs", "1"],  # a malformed page
    ],
)
def test_damaged_inputs_are_taken_or_refused(words):
    # In a process of its own: the targets' processes are forked, which one with threads of torch must not be.
    done = subprocess.run([sys.executable, "-m", "faults.fuzzing", *words], env=ENVIRONMENT, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout.decode()


def raising(error: Exception):
    def take(_):
        raise error

    return take


@pytest.mark.parametrize(
    ("take", "patience_s", "words"),
    [
        (raising(ValueError("boom")), 60.0, "ValueError: boom"),
        (raising(BadInput("no")), 60.0, "a refusal that does not say what it expects: no"),
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), 60.0, "ended by SIGKILL"),
        (lambda _: np.ones(2**29), 60.0, "MemoryError"),
        (lambda _: all(time.process_time() < 0.5 for _ in iter(int, 1)), 60.0, "took"),
        (lambda _: time.sleep(100), 2.0, "held up"),
    ],
)
def test_what_goes_wrong_is_reported_with_its_number(monkeypatch, capsys, take, patience_s, words):
    monkeypatch.setattr(fuzzing, "SLOW_S", 0.2)
    monkeypatch.setattr(fuzzing, "PATIENCE_S", patience_s)
    monkeypatch.setattr(fuzzing, "generator", lambda name, number: number)
    broken = Target(lambda number: number, lambda number: take(number) if number == 3 else None)
    monkeypatch.setitem(TARGETS, "broken", broken)
    assert fuzzing.main(["--target", "broken", "--inputs", "3", "--first", "2"]) == 1
    said = capsys.readouterr().out
    assert said.count("FAILED") == 1 and "FAILED broken 3: " in said and words in said
