"""Reports: one JSON file for each run, of one form everywhere, and the table that compares two of them."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.machine import describe_machine

FORMAT = 1
LOWER_IS_BETTER = (
    "latency_ms", "id_switches", "dropped", "abs_rel", "rotation_error_deg_median", "false_positive_rate", "refused",
    "seconds_median", "location_error", "calibration_error", "taken_over",
)  # fmt: skip
HIGHER_IS_BETTER = (
    "iou", "ap50", "ap25", "t_miou", "t_sr", "miou", "macc", "auc30", "auc30_folded", "delta125", "track_pck1",
    "track_pck2", "track_pck4", "visibility_accuracy", "per_object", "contour_accuracy",
    "present_accuracy", "absent_accuracy", "gain", "kept", "ap", "half_share", "miou_2d", "miou_3d",
)  # fmt: skip


def make_report(
    source: str,
    protocol: str,
    method: str,
    tasks: Mapping[str, Any],
    sets: Mapping[str, int],
    latency_ms: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """A report with the keys that all runs share.

    Args:
        source: name of the bag.
        protocol: "lockstep" (truth masks given in every set) or "live" (followed from one click).
        method: which method made the masks.
        tasks: figures of cross_view, instances and prompts, those that were measured.
        sets: received, processed, dropped.
        latency_ms: p50 and p95 by stage.
    """
    return {
        "source": source,
        "protocol": protocol,
        **tasks,
        "geometry": geometry_report(method),
        "sets": dict(sets),
        "latency_ms": dict(latency_ms),
        "machine": describe_machine(),
    }


def geometry_report(method: str) -> dict[str, Any]:
    """The geometry keys, which this protocol does not fill, and why."""
    keys = ("rotation_error_deg_median", "auc30", "abs_rel", "delta125", "track_pck4")
    measured = "rgbd takes depth and poses as inputs; there is no independent truth to compare them with"
    reason = measured if method == "rgbd" else f"the geometry of {method} is not measured in this protocol"
    return {**dict.fromkeys(keys), "reason": reason}


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, **report}, indent=2, allow_nan=False) + "\n")


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        BadInput: no such file, no JSON, or not a report of this format.
    """
    try:
        report = json.loads(path.read_text(), parse_int=_whole)
    except OSError as error:
        raise BadInput(f"report {path}: expected a readable file, got {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"report {path}: expected JSON, got {error}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise BadInput(f'report {path}: expected a JSON object with "format": {FORMAT}; write it with geoseg evaluate')
    return report


def _whole(digits: str) -> float:
    """A whole number, which stays one, or infinity where no float is that large."""
    return int(digits) if math.isfinite(float(digits)) else float(digits)


def figures(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """All numbers of a report with their dotted keys; the machine and the format are left out."""
    waiting = [(key, value) for key, value in report.items() if key not in ("machine", "format")][::-1]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{key}.{inner}", each) for inner, each in value.items()][::-1]
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield key, float(value)


@dataclass(frozen=True)
class Difference:
    """One figure of two reports; None where a report lacks it.

    `verdict`: 1 better in the second, -1 worse, 0 the same or neither good nor bad.
    """

    key: str
    first: float | None
    second: float | None
    verdict: int


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """All figures of both reports, in the first one's order, then those that only the second has."""
    left, right = dict(figures(first)), dict(figures(second))
    keys = [*left, *(key for key in right if key not in left)]
    return [Difference(key, left.get(key), right.get(key), _verdict(key, left, right)) for key in keys]


def sense(key: str) -> int:
    """1 where a higher figure is better, -1 where a lower one is, 0 where neither is."""
    parts = key.split(".")
    if any(part in LOWER_IS_BETTER for part in parts):
        return -1
    return int(any(part in HIGHER_IS_BETTER for part in parts))


def _verdict(key: str, left: Mapping[str, float], right: Mapping[str, float]) -> int:
    if key not in left or key not in right or math.isclose(left[key], right[key], rel_tol=1e-9, abs_tol=1e-12):
        return 0
    return sense(key) if right[key] > left[key] else -sense(key)
