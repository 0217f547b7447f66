"""What all benchmarks share: a table on the terminal, a JSON file with the machine's description."""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from geoseg_core.evaluation.machine import describe_machine

RESULTS = Path(__file__).resolve().parent / "results"


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that says where the JSON file goes."""
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")


def print_table(rows: list[dict[str, Any]]) -> None:
    """One line for each row, columns by the first row's keys."""
    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[position]) for line in cells) for position in range(len(columns))]
    for line in cells:
        first, *others = (cell.ljust(width) if not position else cell.rjust(width)
                          for position, (cell, width) in enumerate(zip(line, widths, strict=True)))  # fmt: skip
        print("  ".join([first, *others]))


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def write_record(folder: Path, name: str, rows: list[dict[str, Any]], settings: dict[str, Any]) -> Path:
    """Write NAME.json: settings, rows, machine, date, and the load (others may use the machine at the same time)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    record = {
        "settings": settings,
        "rows": rows,
        "machine": describe_machine(),
        "date": time.strftime("%Y-%m-%d"),
        "load_average": os.getloadavg()[0],
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path
