"""`geoseg parity DIR`: our models against stored numbers of the published ones."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from geoseg_core.evaluation.machine import describe_machine
from geoseg_core.evaluation.parity import Row, run_all, table
from geoseg_core.evaluation.parity_kinds import RUNNERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folder and the JSON file."""
    parser.add_argument("folder", type=Path, help="folder with parity fixtures, searched with all folders in it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows and the machine to this file too")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; the exit status is 0 only if everything found is known and within its tolerance.

    Raises:
        BadInput: no fixture in the folder.
    """
    rows = run_all(arguments.folder, RUNNERS)
    print("\n".join(table(rows)))
    missed = [row for row in rows if not row.passed]
    print(f"{len(rows) - len(missed)} of {len(rows)} passed; largest error {largest(rows)}")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report(rows), indent=1))
    return 1 if missed else 0


def largest(rows: list[Row]) -> str:
    """The largest relative error and where it stands."""
    compared = [(row.error, row) for row in rows if row.error is not None]
    if not compared:
        return "-"
    error, row = max(compared, key=lambda pair: pair[0])
    return f"{error:.1e} ({row.fixture} {row.tensor})"


def report(rows: list[Row]) -> dict:
    """What --json writes."""
    tensors = [{**asdict(row), "verdict": row.verdict, "passed": row.passed} for row in rows]
    return {"machine": describe_machine(), "passed": all(row.passed for row in rows), "tensors": tensors}
