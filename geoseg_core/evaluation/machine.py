"""What the figures were measured on and how long the stages took."""

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def describe_machine() -> dict[str, Any]:
    """CPU model, usable cores, memory, accelerator, Python, torch and operating system."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _field(path: str, name: str) -> str | None:
    """The value of the first `name: value` line of a file of /proc, None where there is none."""
    if not Path(path).exists():
        return None
    lines = (line.partition(":") for line in Path(path).read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)


def _memory_gib() -> float | None:
    kilobytes = _field("/proc/meminfo", "MemTotal")
    return round(int(kilobytes.split()[0]) / 2**20, 1) if kilobytes else None


def percentiles(samples: Mapping[str, Iterable[float]]) -> dict[str, dict[str, float]]:
    """p50 and p95 of each stage's samples (milliseconds); a stage without samples is left out."""
    lists = {stage: list(values) for stage, values in samples.items()}
    return {
        stage: {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}
        for stage, values in lists.items()
        if values
    }
