"""What a training leaves for people: report.md, curves.png (where matplotlib is installed) and metrics.json."""

import importlib.util
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from geoseg_core.evaluation.machine import describe_machine
from geoseg_core.training.log import NAME, read_log

PLOTTED = "curves.png"
NO_CURVES = ("step", "group", "seconds", "samples_per_s")


def write_report(out: Path, facts: dict[str, Any], metrics: dict[str, float], say: Callable[[str], None]) -> None:
    """Write all three; `metrics` may be empty where there was no time to look at held-out samples."""
    rows = read_log(out)
    summary = facts | {"metrics": metrics, "machine": describe_machine()}
    summary["held_out"] = [row for row in rows if row["group"] == "held_out"]
    (out / "metrics.json").write_text(json.dumps(summary, indent=1))
    plotted = _plot(out / PLOTTED, rows)
    if not plotted:
        say(f"matplotlib is not installed: no {PLOTTED}, the curves are in {NAME}")
    (out / "report.md").write_text(_markdown(summary, rows, plotted))


def smoothed(values: np.ndarray, share: float = 0.02) -> np.ndarray:
    """Mean of each value and of those before it, over a share of the length."""
    width = max(1, int(len(values) * share))
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _markdown(summary: dict[str, Any], rows: list[dict[str, Any]], plotted: bool) -> str:
    machine = summary["machine"]
    hardware = f"{machine['gpu'] or machine['cpu']}, {summary['devices']} device(s), torch {machine['torch']}"
    facts = {
        "recipe": summary["recipe"],
        "steps": f"{summary['step']} of {summary['config']['schedule.steps']}, {summary['samples']} samples",
        "time": str(timedelta(seconds=round(summary["seconds"]))),
        "hardware": hardware,
        "parameters": f"{summary['parameters']:,}, {summary['trained_parameters']:,} of them trained",
        "ended because": summary["ended"],
        "steps without a finite loss": summary["bad"],
        "micro-batch": summary["micro_batch"],
    }
    lines = [f"# Training of `{summary['recipe']}`", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    if summary["metrics"]:
        lines += ["", "## Held-out samples, averaged weights", "", "| figure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in summary["metrics"].items()]
    losses = [row for row in rows if row["group"] == "train"][-100:]
    if losses:
        lines += ["", f"## Training, mean of the last {len(losses)} logged steps", "", "| figure | mean |", "|---|---|"]
        points = _series(losses)
        lines += [f"| {name} | {np.mean(points[group, name], axis=0)[1]:.4g} |" for group, name in points]
    if plotted:
        lines += ["", f"![curves]({PLOTTED})"]
    lines += ["", "## Settings", "", "| setting | value |", "|---|---|"]
    lines += [f"| `{name}` | {value} |" for name, value in summary["config"].items()]
    return "\n".join(lines) + "\n"


def _plot(path: Path, rows: list[dict[str, Any]]) -> bool:
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    series = _series(rows)
    columns = min(4, max(len(series), 1))
    height = -(-len(series) // columns) or 1
    figure = Figure(figsize=(4.2 * columns, 3 * height), layout="constrained")
    for number, ((group, name), points) in enumerate(series.items(), start=1):
        axes = figure.add_subplot(height, columns, number)
        steps, values = np.array(points, float).T
        if group == "train":
            axes.plot(steps, values, color="0.8", linewidth=0.7)
            axes.plot(steps, smoothed(values), color="C0")
        else:
            axes.plot(steps, values, color="C1", marker=".")
        if group == "train" and name != "learning_rate" and values.min() > 0:
            axes.set_yscale("log")
        axes.set_title(f"{name} ({'training' if group == 'train' else 'held out'})", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    return True


def _series(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Points (step, value) by group and name; values that are no numbers are left out."""
    series: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in NO_CURVES and value is not None:
                series.setdefault((row["group"], name), []).append((row["step"], value))
    return series
