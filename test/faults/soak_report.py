"""What `make soak` saw: the report, its table, its picture, and what of it is a failure."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from geoseg_core.evaluation.colours import colour_of
from geoseg_core.evaluation.machine import describe_machine

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402

WEDGE_S = 5.0
MAX_AGE_S, SLOP_S = 1.0, 0.05  # the node's sync.max_age_s and sync.slop_s
SETTLE_S = 1.5  # sets up to so long after a fault count as touched by it
JUDGED_MINUTES = 30.0  # time and memory of shorter runs are shown, not judged
MOST_MB_PER_H, MOST_TAIL = 1.0, 2.0
WINDOWS = 60  # of latency over the whole run, none shorter than 10 s
STOLEN = 0.01  # of the processors' time: more in a window, and its latency is partly that of other virtual machines
WARM_UP_S = (60.0, 600.0)
RED, BLUE = ([channel / 255 for channel in colour_of(each)] for each in (1, 2))


class Delivered(NamedTuple):
    """One message of masks: its set's stamp, when it came, how far the stamps of its views lie apart, their number."""

    stamp_ns: int
    received_s: float
    spread_s: float
    views: int


class Size(NamedTuple):
    """How large the node is at a time; `shared_mb` of its memory lies in segments of the middleware, its own and those
    of its peers."""

    at_s: float
    resident_mb: float
    shared_mb: float
    open_files: int


@dataclass
class Watched:
    """All that was seen; times are seconds of time.time()."""

    begun_s: float = 0.0
    ended_s: float = 0.0
    sets: list[Delivered] = field(default_factory=list)
    sent_s: dict[int, float] = field(default_factory=dict)  # by stamp
    sizes: list[Size] = field(default_factory=list)
    faults: list[tuple[float, float, str]] = field(default_factory=list)  # begin, end, name
    prompts: dict[str, list[float]] = field(default_factory=dict)  # when asked, when answered
    refused_prompts: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # of /diagnostics
    node_ms: dict[str, float] = field(default_factory=dict)
    processor_s: float = 0.0
    stolen_s: list[tuple[float, float]] = field(default_factory=list)  # time, seconds stolen since the machine began
    broken: str = ""  # a process that ended before its time, with its last words


def report_of(watched: Watched, settings: dict[str, Any]) -> dict[str, Any]:
    """Figures of a run, as they go to report.json."""
    latency = latencies(watched.sets, watched.sent_s)
    seconds = watched.ended_s - watched.begun_s
    most_views = max((each.views for each in watched.sets), default=0)
    ages = [each.received_s - watched.sent_s.get(each.stamp_ns, each.received_s) for each in watched.sets]
    return {
        "settings": settings,
        "machine": describe_machine(),
        "load_average": os.getloadavg()[0],
        "transparent_huge_pages": huge_pages(),
        "stolen": round(float(np.mean(stolen_shares(watched))), 4),
        "seconds": round(seconds, 1),
        "sets": {
            "sent": len(watched.sent_s),
            "delivered": len(watched.sets),
            "partial": sum(each.views < most_views for each in watched.sets),
        },
        "latency_ms": {name: spread_of(latency[chosen, 2]) for name, chosen in kinds_of(watched, latency).items()},
        "windows": windows_of(watched, latency),
        "node_ms": watched.node_ms,
        "counts": dict(sorted(watched.counts.items())),
        "wedges_s": wedges(watched),
        "stale": {
            "in_set": sum(each.spread_s > SLOP_S + 1e-6 for each in watched.sets),
            "at_receipt": sum(age + each.spread_s > MAX_AGE_S for age, each in zip(ages, watched.sets, strict=True)),
        },
        "memory": memory_of(watched),
        "open_files": {"first": watched.sizes[0].open_files, "last": watched.sizes[-1].open_files,
                       "most": max(each.open_files for each in watched.sizes)},
        "cores": round(watched.processor_s / seconds, 3),
        "prompts": {
            "asked": len(watched.prompts),
            "refused": watched.refused_prompts,
            "unanswered": sorted(name for name, times in watched.prompts.items() if len(times) < 2),
            "ms": spread_of([1e3 * (times[1] - times[0]) for times in watched.prompts.values() if len(times) > 1]),
        },
        "faults": dict(sorted(Counter(name for _, _, name in watched.faults).items())),
        "broken": watched.broken,
    }  # fmt: skip


def huge_pages() -> str | None:
    """Whether Linux joins pages of memory to large ones: "always", "madvise" (where asked for) or "never"."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return setting.read_text().partition("[")[2].partition("]")[0] if setting.exists() else None


def latencies(sets: Sequence[Delivered], sent_s: Mapping[int, float]) -> np.ndarray:
    """(N, 3): when a set was sent, when its masks came, milliseconds between; of sets whose sending is known."""
    rows = [(sent_s[each.stamp_ns], each.received_s) for each in sets if each.stamp_ns in sent_s]
    times = np.array(rows, float).reshape(-1, 2)
    return np.column_stack([times, 1e3 * (times[:, 1] - times[:, 0])])


def kinds_of(watched: Watched, latency: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the sets (N,) count as touched by a fault, as prompted (somebody waited for an answer), as neither."""
    touched = _overlaps(latency, [(begin, end + SETTLE_S) for begin, end, _ in watched.faults])
    prompted = _overlaps(latency, [(times[0], times[-1]) for times in watched.prompts.values()])
    return {
        "all": np.ones(len(latency), bool),
        "touched": touched,
        "untouched": ~touched,
        "untouched, with a prompt": ~touched & prompted,
        "untouched, without": ~touched & ~prompted,
        "untouched, not stolen": ~touched & (stolen_shares(watched) < STOLEN)[window_numbers(watched, latency[:, 1])],
    }


def _overlaps(latency: np.ndarray, spans: Sequence[tuple[float, float]]) -> np.ndarray:
    found = np.zeros(len(latency), bool)
    for begin, end in spans:
        found |= (latency[:, 0] <= end) & (latency[:, 1] >= begin)
    return found


def spread_of(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """p50, p95, p99, most and number of some values."""
    if not len(values):
        return {"count": 0}
    p50, p95, p99 = (round(float(each), 2) for each in np.percentile(values, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "most": round(float(np.max(values)), 2), "count": len(values)}


def windows_of(watched: Watched, latency: np.ndarray) -> list[dict[str, float]]:
    """Latency of the untouched sets window by window; `minute` is a window's middle, `stolen` as of stolen_shares."""
    chosen = latency[kinds_of(watched, latency)["untouched"]]
    numbers, shares = window_numbers(watched, chosen[:, 1]), stolen_shares(watched)
    middle = [(number + 0.5) * _window_s(watched) / 60 for number in range(len(shares))]
    return [
        {"minute": round(middle[number], 3), "stolen": round(float(shares[number]), 4)}
        | spread_of(chosen[numbers == number, 2])
        for number in np.unique(numbers)
    ]


def stolen_shares(watched: Watched) -> np.ndarray:
    """(W,): which share of all processors' time other virtual machines took in each window; 0 where not measured."""
    times, stolen = np.array(watched.stolen_s or [(watched.begun_s, 0.0)]).T
    length_s = _window_s(watched)
    count = window_numbers(watched, np.array([watched.ended_s]))[0] + 1
    edges = watched.begun_s + length_s * np.arange(count + 1)
    return np.diff(np.interp(edges, times, stolen)) / (length_s * os.cpu_count())


def window_numbers(watched: Watched, times_s: np.ndarray) -> np.ndarray:
    """(N,): in which window of the run each time (N,) lies."""
    length_s = _window_s(watched)
    last = int(np.ceil((watched.ended_s - watched.begun_s) / length_s)) - 1
    return np.clip((times_s - watched.begun_s) // length_s, 0, max(last, 0)).astype(int)


def _window_s(watched: Watched) -> float:
    return max((watched.ended_s - watched.begun_s) / WINDOWS, 10.0)


def wedges(watched: Watched) -> list[dict[str, float]]:
    """Where no masks came for long: when it began, in seconds of the run, and how long it lasted."""
    times = np.array([watched.begun_s, *(each.received_s for each in watched.sets), watched.ended_s])
    return [
        {"at": round(float(begin - watched.begun_s), 1), "lasted": round(float(gap), 1)}
        for begin, gap in zip(times, np.diff(times), strict=False)
        if gap > WEDGE_S
    ]


def memory_of(watched: Watched) -> dict[str, float]:
    """First, last and most resident MB, and straight lines after the warm-up: how fast it grows, how fast the part of
    it that lies in shared memory does."""
    at_s, size_mb, shared_mb, _ = np.array(watched.sizes).T
    hours = (at_s - watched.begun_s) / 3600
    chosen = hours >= warm_up_s(watched) / 3600
    fitted = {}
    if chosen.sum() > 2:
        slope, level = np.polyfit(hours[chosen], size_mb[chosen], 1)
        shared_slope = np.polyfit(hours[chosen], shared_mb[chosen], 1)[0]
        fitted = {"mb_per_h": round(float(slope), 3), "at_begin_mb": round(float(level), 3),
                  "shared_mb_per_h": round(float(shared_slope), 3)}  # fmt: skip
    first, last, most = (round(float(each), 1) for each in (size_mb[0], size_mb[-1], size_mb.max()))
    return {"first_mb": first, "last_mb": last, "most_mb": most, **fitted}


def warm_up_s(watched: Watched) -> float:
    """How long at the beginning memory is not judged: a tenth of the run, one minute at least and ten at most."""
    return float(np.clip((watched.ended_s - watched.begun_s) / 10, *WARM_UP_S))


def failures_of(report: dict[str, Any]) -> list[str]:
    """Why the node failed, a line for each reason; none where it did not."""
    prompts, stale, memory = report["prompts"], report["stale"], report["memory"]
    failures = [f"no masks for {each['lasted']} s from second {each['at']} on" for each in report["wedges_s"]]
    if report["broken"]:
        failures.append(report["broken"])
    if stale["in_set"]:
        failures.append(f"{stale['in_set']} sets with stamps more than {SLOP_S:g} s apart")
    if prompts["unanswered"]:
        failures.append(f"prompts without an answer: {', '.join(prompts['unanswered'])}")
    if report["settings"]["minutes"] < JUDGED_MINUTES:
        return failures
    calm = report["latency_ms"]["untouched"]
    if stale["at_receipt"]:
        failures.append(f"{stale['at_receipt']} sets came more than {MAX_AGE_S:g} s after their images")
    if memory["mb_per_h"] >= MOST_MB_PER_H:
        failures.append(f"resident memory grows by {memory['mb_per_h']:.2f} MB/h, {MOST_MB_PER_H:g} at most "
                        f"({memory['shared_mb_per_h']:.2f} of it shared memory)")  # fmt: skip
    if calm["count"] and calm["p99"] > MOST_TAIL * calm["p50"]:
        failures.append(f"p99 of the latency without faults is {calm['p99']} ms, {MOST_TAIL:g} x p50 is "
                        f"{MOST_TAIL * calm['p50']:.1f} ms")  # fmt: skip
    return failures


def print_report(report: dict[str, Any]) -> None:
    """A table for people."""
    print(f"\n{'latency, stamp to masks':28} {'sets':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'most ms':>8}")
    for name, each in report["latency_ms"].items():
        cells = " ".join(f"{each.get(key, float('nan')):8.1f}" for key in ("p50", "p95", "p99", "most"))
        print(f"{name:28} {each['count']:7} {cells}")
    for name in ("sets", "memory", "open_files", "cores", "stolen", "stale", "prompts", "wedges_s", "node_ms", "lives"):
        if name in report:
            print(f"{name:12} {_words(report[name])}")
    print("\ncounted by the node")
    for name, value in report["counts"].items():
        print(f"  {name:58} {value:8.0f}")


def _words(value: Any) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def write_plot(path: Path, watched: Watched, report: dict[str, Any]) -> None:
    """Latency, memory and faults over time as a PNG."""
    names = sorted(report["faults"])
    figure, panels = plt.subplots(
        3, 1, figsize=(11, 8.5 + 0.08 * len(names)), sharex=True, layout="constrained",
        height_ratios=(3, 2, 0.15 * len(names) + 0.3),
    )  # fmt: skip
    _draw_latency(panels[0], watched, report)
    _draw_memory(panels[1], watched, report["memory"])
    _draw_faults(panels[2], watched, names)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_latency(panel: Axes, watched: Watched, report: dict[str, Any]) -> None:
    latency = latencies(watched.sets, watched.sent_s)
    touched = kinds_of(watched, latency)["touched"]
    minutes = (latency[:, 1] - watched.begun_s) / 60
    for chosen, colour, label in ((touched, RED, "set during or just after a fault"), (~touched, BLUE, "other set")):
        panel.plot(minutes[chosen], latency[chosen, 2], ".", ms=4, mew=0, alpha=0.4, color=colour, label=label)
    middle = [each["minute"] for each in report["windows"]]
    for key, style in (("p50", "-"), ("p99", "--")):
        label = f"{key} of the other sets, {report['latency_ms']['untouched'].get(key, 0):.0f} ms over all"
        panel.plot(middle, [each[key] for each in report["windows"]], style, lw=1.4, color="black", label=label)
    stolen = [each["minute"] for each in report["windows"] if each["stolen"] >= STOLEN]
    if stolen:
        label = f"other virtual machines take {STOLEN:.0%} of the processors' time or more"
        width = _window_s(watched) / 60
        panel.bar(stolen, 1, width, transform=panel.get_xaxis_transform(), color="0.9", zorder=0, label=label)
    top = 4 * latency[:, 2].max(initial=1.0)  # room for the legend
    panel.set(yscale="log", ylim=(None, top), ylabel="ms from images to masks", title="latency")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="upper right", ncols=2, markerscale=4)


def _draw_memory(panel: Axes, watched: Watched, memory: dict[str, float]) -> None:
    at_s, size_mb, shared_mb, _ = np.array(watched.sizes).T
    seconds = at_s - watched.begun_s
    panel.plot(seconds / 60, size_mb, "-", lw=1, color=BLUE, label="once a second")
    panel.plot(seconds / 60, size_mb[0] + shared_mb - shared_mb[0], "-", lw=1, color=RED,
               label="growth of its shared memory alone")  # fmt: skip
    if "mb_per_h" in memory:
        span = np.array([warm_up_s(watched), seconds[-1]])
        line = memory["at_begin_mb"] + memory["mb_per_h"] * span / 3600
        panel.plot(span / 60, line, "--", lw=1.4, color="black", label=f"{memory['mb_per_h']:+.2f} MB/h after warm-up")
    panel.set(ylabel="MB", title="resident memory of the node")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="lower right")


def _draw_faults(panel: Axes, watched: Watched, names: list[str]) -> None:
    for row, name in enumerate(names):
        spans = [((begin - watched.begun_s) / 60, (end - begin) / 60) for begin, end, each in watched.faults
                 if each == name]  # fmt: skip
        panel.broken_barh(spans, (row - 0.35, 0.7), color=RED, linewidth=1)
    panel.set(xlabel="time in min", title="faults", ylim=(len(names) - 0.4, -0.6))
    panel.set_yticks(range(len(names)), names, fontsize=7)
    panel.grid(alpha=0.3, axis="x")
