"""`geoseg compare A.json B.json`: what is better and what is worse in the second report."""

import argparse
import os
import sys
from pathlib import Path

from geoseg_core.evaluation.report import Difference, compare, read_report, sense

COLOURS = {1: "\x1b[32m", -1: "\x1b[31m", 0: ""}
WORDS = {1: "better", -1: "worse", 0: ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two reports and the tolerance."""
    parser.add_argument("first", type=Path, help="report.json to compare with")
    parser.add_argument("second", type=Path, help="report.json that is judged")
    parser.add_argument(
        "--fail-below",
        type=float,
        metavar="TOLERANCE",
        help="exit with status 1 where a quality figure (not a latency) is worse by more than this",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table; the exit status is 0 unless --fail-below says otherwise.

    Raises:
        BadInput: one of the files is no report.
    """
    differences = compare(read_report(arguments.first), read_report(arguments.second))
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print("\n".join(table(differences, coloured)))
    if arguments.fail_below is None:
        return 0
    failed = [each.key for each in differences if fell(each) > arguments.fail_below]
    print(f"worse by more than {arguments.fail_below:g}: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def fell(difference: Difference) -> float:
    """By how much a quality figure is worse in the second report; 0 for latencies and missing figures."""
    if difference.first is None or difference.second is None or difference.key.startswith("latency_ms."):
        return 0.0
    return max(sense(difference.key) * (difference.first - difference.second), 0.0)


def table(differences: list[Difference], coloured: bool) -> list[str]:
    """One line for each figure: key, both values, difference, better or worse."""
    width = max((len(each.key) for each in differences), default=3)
    lines = [f"{'figure':{width}}  {'first':>10}  {'second':>10}  {'difference':>10}"]
    for each in differences:
        change = "" if each.first is None or each.second is None else f"{each.second - each.first:+.4g}"
        words = f"{each.key:{width}}  {_number(each.first)}  {_number(each.second)}  {change:>10}"
        words = f"{words}  {WORDS[each.verdict]}"
        colour = COLOURS[each.verdict] if coloured else ""
        lines.append(f"{colour}{words.rstrip()}\x1b[0m" if colour else words.rstrip())
    return lines


def _number(value: float | None) -> str:
    return f"{'-':>10}" if value is None else f"{value:10.4g}"
