"""Every decoder and reader on some damaged inputs; `make fuzz` gives them a million."""

import os
import signal
import time

import numpy as np
import pytest
from faults import fuzzing
from faults.fuzz_targets import TARGETS, Target

from geoseg_core.errors import BadInput

INPUTS = 6000


def test_damaged_inputs_are_taken_or_refused(capsys):
    status = fuzzing.main(["--inputs", str(INPUTS)])
    assert status == 0, capsys.readouterr().out


def test_an_sqlite_bag_with_a_malformed_page_is_refused(capsys):
    status = fuzzing.main(["--target", "bag, SQLite", "--first", "100079", "--inputs", "1"])
    assert status == 0, capsys.readouterr().out


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
