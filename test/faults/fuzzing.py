"""Damaged inputs for everything that reads what comes from outside: it gives a result or raises a GeosegError.

`make fuzz` runs it long. An input is made of its target's name and its number alone, so that what failed is made again
by `make fuzz TARGET=cloud FIRST=1234 INPUTS=1`. A target runs in a process of its own, with little memory; where an
input kills it or holds it up, it is started again behind that input.
"""

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from faults.damage import generator
from faults.fuzz_targets import TARGETS

from geoseg_core.errors import GeosegError

SLOW_S, PATIENCE_S = 1.0, 60.0  # of processor time for one input; of real time without an input done
SPARE_BYTES = 2**30  # more than the largest image that is accepted needs
LISTED = 10


@dataclass
class Outcome:
    """What became of the inputs of one target; failures holds one text for each place where one arose."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)


def run(name: str, inputs: int, first: int, folder: str) -> Outcome:
    """Give a target its inputs number `first` and following, in processes of their own; files go to the folder."""
    fork = multiprocessing.get_context("fork")
    state, outcome, begun_s = fork.RawArray("q", [first, 0]), Outcome(inputs), time.monotonic()
    while state[0] < first + inputs and len(outcome.failures) < LISTED:
        found, sends = fork.Pipe(duplex=False)
        process = fork.Process(target=_work, args=(name, range(state[0], first + inputs), folder, state, sends))
        process.start()
        sends.close()
        number, since_s, is_stuck = state[0], time.monotonic(), False
        while process.is_alive() or found.poll():
            if found.poll(0.2):
                try:
                    place, text = found.recv()
                except EOFError:
                    process.join()
                    break
                outcome.failures.setdefault(place, text)
            if state[0] != number:
                number, since_s = state[0], time.monotonic()
            elif time.monotonic() - since_s > PATIENCE_S and not is_stuck:
                is_stuck = True
                process.kill()
        if process.exitcode:
            how = "held up" if is_stuck else f"ended by {_ending(process.exitcode)}"
            outcome.failures.setdefault(how, f"{name} {state[0]}: the process was {how}")
            state[0] += 1
    outcome.refused, outcome.seconds = state[1], time.monotonic() - begun_s
    return outcome


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _work(name: str, numbers: range, folder: str, state: Any, failures: Any) -> None:
    """Inputs in this process; `state` holds the number of the input at hand and how many were refused."""
    tempfile.tempdir = folder
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    if len(numbers) > 1:  # decoders of images complain there
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    target = TARGETS[name]
    for number in numbers:
        state[0] = number
        made = target.make(generator(name, number))
        begun_s = time.process_time()
        try:
            target.take(made)
        except GeosegError as error:
            state[1] += 1
            if "expected" not in str(error):
                text = f"{name} {number}: a refusal that does not say what it expects: {error}"
                failures.send((str(error)[:30], text))
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            failures.send((f"{type(error)} {last.filename} {last.lineno}", f"{name} {number}: {_told(error)}"))
        took_s = time.process_time() - begun_s
        if took_s > SLOW_S:
            failures.send(("slow", f"{name} {number}: took {took_s:.1f} s"))
    state[0] = numbers.stop


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception(error, limit=-4))[-2000:]


def main(words: list[str] | None = None) -> int:
    """Run targets one by one; print a table, and what failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--target", action="append", choices=TARGETS, help="this one alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments = parser.parse_args(words)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    names = arguments.target or list(TARGETS)
    per_share = arguments.inputs / sum(TARGETS[name].share for name in names)
    print(f"{'target':24} {'inputs':>9} {'refused':>9} {'taken':>9} {'inputs/s':>9}  failures", flush=True)
    failures: list[str] = []
    total = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            outcome = run(name, max(round(per_share * TARGETS[name].share), 1), arguments.first, folder)
            failures += outcome.failures.values()
            _print(name, outcome)
            total.inputs, total.refused = total.inputs + outcome.inputs, total.refused + outcome.refused
            total.seconds += outcome.seconds
    _print("all", total)
    return _report(failures)


def _print(name: str, outcome: Outcome) -> None:
    taken, speed = outcome.inputs - outcome.refused, outcome.inputs / outcome.seconds
    failed = len(outcome.failures) or ""
    print(f"{name:24} {outcome.inputs:9} {outcome.refused:9} {taken:9} {speed:9.0f}  {failed}", flush=True)


def _report(failures: Iterable[str]) -> int:
    texts = list(failures)
    for text in texts:
        print(f"\nFAILED {text}")
    return 1 if texts else 0


if __name__ == "__main__":
    sys.exit(main())
