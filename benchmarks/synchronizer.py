"""What the synchroniser takes for a message: eight cameras with depth whose messages come with jitter, some never.

    python benchmarks/synchronizer.py [--cameras 8] [--rate 30] [--seconds 60]

The messages are made beforehand; only `Synchronizer.add` is timed, in this process alone.
"""

import argparse
import time
from collections import Counter
from typing import Any

import numpy as np
from records import add_out, print_table, write_record

from geoseg_core.synchronizer import DEPTH, IMAGE, Synchronizer, SynchronizerConfig

JITTER_S, LATE_S, LOST = 0.01, 0.03, 0.01


def messages(cameras: int, rate_hz: float, seconds: float) -> list[tuple[int, str, str, int]]:
    """Arrival and stamp (nanoseconds) with camera and kind, in the order of arrival; each stream keeps its order."""
    random, newest = np.random.default_rng(0), Counter[tuple[int, str]]()
    found = []
    for number in range(int(seconds * rate_hz)):
        for camera in range(cameras):
            stamp_s = 1.0 + number / rate_hz + random.uniform(-JITTER_S, JITTER_S)
            for kind in (IMAGE, DEPTH):
                if random.random() >= LOST:
                    arrived_ns = max(newest[camera, kind], int((stamp_s + random.exponential(LATE_S)) * 1e9))
                    newest[camera, kind] = arrived_ns
                    found.append((arrived_ns, f"camera_{camera}", kind, int(stamp_s * 1e9)))
    return sorted(found)


def measure(cameras: int, rate_hz: float, seconds: float) -> list[dict[str, Any]]:
    """Microseconds a message, and the sets that came of it."""
    synchronizer = Synchronizer(
        {f"camera_{number}": (IMAGE, DEPTH) for number in range(cameras)}, SynchronizerConfig()
    )
    took_us = []
    for arrived_ns, camera, kind, stamp_ns in messages(cameras, rate_hz, seconds):
        begun_ns = time.perf_counter_ns()
        synchronizer.add(camera, kind, stamp_ns, None, arrived_ns)
        took_us.append((time.perf_counter_ns() - begun_ns) / 1e3)
    p50, p99 = np.percentile(took_us, (50, 99))
    counts = synchronizer.counts
    return [{
        "cameras": cameras, "messages": len(took_us), "sets": counts.sets, "partial": counts.partial_sets,
        "p50_us": float(p50), "p99_us": float(p99), "most_us": max(took_us),
    }]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="What the synchroniser takes for a message.")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    add_out(parser)
    arguments = parser.parse_args()
    rows = measure(arguments.cameras, arguments.rate, arguments.seconds)
    print_table(rows)
    settings = {"rate_hz": arguments.rate, "seconds": arguments.seconds, "jitter_s": JITTER_S, "late_s": LATE_S,
                "lost": LOST}  # fmt: skip
    print(f"written: {write_record(arguments.out, 'synchronizer', rows, settings)}")


if __name__ == "__main__":
    main()
