"""Plots of one evaluation as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.evaluator import SetFigures
from geoseg_core.evaluation.masks import Bin, calibration_error
from geoseg_core.evaluation.report import figures

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

# Areas of dots that stand for numbers of masks, in square points.
SMALLEST_DOT, ALL_DOTS = 10, 800
Report = Mapping[str, Any]
TITLES = {"ego_to_exo": "ego → exo", "exo_to_ego": "exo → ego"}


def write_plots(folder: Path, history: Sequence[SetFigures], samples: Mapping[str, Sequence[float]]) -> list[Path]:
    """Write iou.png, ids.png and latency.png, those for which there is something to show; return their paths."""
    written = []
    if any(each.iou for each in history):
        written.append(_save(folder / "iou.png", _iou_figure(history)))
    if any(each.ids for each in history):
        written.append(_save(folder / "ids.png", _id_figure(history)))
    if any(samples.values()):
        written.append(_save(folder / "latency.png", _latency_figure(samples)))
    return written


def write_reliability(path: Path, curves: Mapping[str, Sequence[Bin]]) -> Path:
    """Write how the reached IoU depends on the expected one, a curve for each method that found masks, with its
    calibration error (ECE); return the path."""
    figure, panel = plt.subplots(figsize=(7, 6), layout="constrained")
    panel.plot([0, 1], [0, 1], ":", color="grey", label="as expected")
    for position, (name, bins) in enumerate(curves.items()):
        if (error := calibration_error(bins)) is None:
            continue
        x, y, count = zip(*((each.expected, each.reached, each.count) for each in bins), strict=True)
        label = f"{name}: ECE {error:.3f}, {sum(count)} masks"
        panel.plot(x, y, "-", lw=1.2, color=_colour(position), label=label)
        area = SMALLEST_DOT + ALL_DOTS * np.array(count) / sum(count)
        panel.scatter(x, y, area, color=[_colour(position)], alpha=0.7)
    panel.set(xlabel="expected IoU", ylabel="reached IoU (area of a dot: share of the masks)", xlim=(0, 1), ylim=(0, 1))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    return _save(path, figure)


def write_tracks(
    path: Path,
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    blackout_s: tuple[float, float] | None = None,
) -> Path:
    """Write the mean IoU over time (seconds, IoU), a panel for each kind of view with its curves; return the path.

    Args:
        blackout_s: from when to when the ego camera was covered.
    """
    figure, panels = plt.subplots(len(curves), 1, figsize=(10, 7), sharex=True, squeeze=False, layout="constrained")
    for panel, (title, lines) in zip(panels[:, 0], curves.items(), strict=True):
        for position, (name, points) in enumerate(lines.items()):
            panel.plot(*np.reshape(points, (-1, 2)).T, ".-", ms=4, lw=1.2, color=_colour(position), label=name)
        if blackout_s:
            panel.axvspan(*blackout_s, color="black", alpha=0.12, label="ego camera covered")
        panel.set(title=title, ylabel="mean IoU", ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
    panels[-1, 0].set_xlabel("time in s")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return _save(path, figure)


def write_curves(
    path: Path, option: str, values: Sequence[str], panels: Mapping[str, str], curves: Mapping[str, Sequence[Report]]
) -> Path:
    """Write how figures depend on an option, a panel for each with a curve for each method; return the path.

    Args:
        panels: titles by the dotted keys of the figures; those that no report has are left out.
        curves: by method, a report for each value, or one where the option changes nothing.
    """
    found = {name: [dict(figures(each)) for each in reports] for name, reports in curves.items()}
    shown = [key for key in panels if any(key in each for reports in found.values() for each in reports)]
    figure, row = plt.subplots(1, len(shown), figsize=(1 + 4 * len(shown), 4.2), squeeze=False, layout="constrained")
    for panel, key in zip(row[0], shown, strict=True):
        for position, (name, reports) in enumerate(found.items()):
            given = [each.get(key, np.nan) for each in reports]
            style, heights = (".-", given) if len(given) > 1 else ("--", given * len(values))
            panel.plot(range(len(values)), heights, style, lw=1.2, color=_colour(position), label=name)
        panel.set(title=panels[key], xlabel=option, ylim=(-0.02, 1.02))
        panel.set_xticks(range(len(values)), values)
        panel.grid(alpha=0.3)
    if shown:
        figure.legend(*row[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _save(path, figure)


def _save(path: Path, figure: plt.Figure) -> Path:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _seconds(history: Sequence[SetFigures]) -> np.ndarray:
    stamps = np.array([each.stamp_ns for each in history], np.int64)
    return (stamps - stamps[0]) / 1e9


def _names(tables: Sequence[Mapping[str, object]]) -> list[str]:
    return sorted({name for table in tables for name in table})


def _colour(position: int) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in colour_of(position + 1))


def _iou_figure(history: Sequence[SetFigures]) -> plt.Figure:
    """IoU of every object over time, one panel a direction; gaps where it is not visible in both views."""
    figure, panels = plt.subplots(2, 1, figsize=(10, 7), sharex=True, sharey=True, layout="constrained")
    names = _names([table for each in history for table in each.iou.values()])
    for panel, (way, title) in zip(panels, TITLES.items(), strict=True):
        for position, name in enumerate(names):
            values = [each.iou.get(way, {}).get(name, np.nan) for each in history]
            panel.plot(_seconds(history), values, ".-", ms=4, lw=1.2, color=_colour(position), label=name)
        panel.set(title=title, ylabel="IoU", ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
    panels[1].set_xlabel("time in s")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure


def _id_figure(history: Sequence[SetFigures]) -> plt.Figure:
    """Which predicted id each truth had over time; a change of colour and number is an id switch."""
    names = _names([each.ids for each in history])
    figure, panel = plt.subplots(figsize=(10, 1.2 + 0.34 * len(names)), layout="constrained")
    seconds = _seconds(history)
    for row, name in enumerate(names):
        _id_row(panel, row, seconds, [each.ids.get(name, 0) for each in history])
    panel.set(xlabel="time in s", title="predicted id of each object", ylim=(-0.7, len(names) - 0.3))
    panel.set_yticks(range(len(names)), names)
    panel.grid(alpha=0.3, axis="x")
    return figure


def _id_row(panel: Axes, row: int, seconds: np.ndarray, ids: list[int]) -> None:
    for position, each in enumerate(ids):
        if not each:
            continue
        colour = [channel / 255 for channel in colour_of(each)]
        panel.plot(seconds[position], row, "s", ms=6, color=colour)
        if position == 0 or ids[position - 1] != each:
            panel.annotate(str(each), (seconds[position], row), (0, 5), textcoords="offset points", fontsize=7)


def _latency_figure(samples: Mapping[str, Sequence[float]]) -> plt.Figure:
    """Histogram of each stage's time with its median and 95th percentile."""
    stages = [stage for stage, values in samples.items() if values]
    figure, panels = plt.subplots(len(stages), 1, figsize=(8, 1.7 * len(stages)), squeeze=False, layout="constrained")
    for position, (panel, stage) in enumerate(zip(panels[:, 0], stages, strict=True)):
        values = np.asarray(samples[stage])
        p50, p95 = np.percentile(values, (50, 95))
        panel.hist(values, bins=40, color=_colour(position), alpha=0.8)
        for percentile, style in ((p50, "-"), (p95, "--")):
            panel.axvline(percentile, color="black", lw=1, ls=style)
        panel.set_title(f"{stage}: p50 {p50:.1f} ms, p95 {p95:.1f} ms", fontsize=9)
    panels[-1, 0].set_xlabel("ms")
    return figure
