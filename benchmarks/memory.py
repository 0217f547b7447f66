"""What the memory of former sets costs over a long clip: the features' look at it, and what it takes to remember.

    python benchmarks/memory.py [BAG] [--head FILE --memory FILE] [--frames 2000] [--objects 2] [--views ego,exo_left]

The features are those of the first sets of a bag, encoded once and shown again and again. In each frame the features of
every view look at the memories of every object, which are then remembered as that view shows them, as objects that are
followed are; encoding and the decoding of masks are not timed. Without files both networks have random weights, which
take the same time. Times are those of the process, which other load disturbs less than the clock's.
"""

import argparse
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from masks import squares
from records import RESULTS, print_table, write_record
from tiny import add_sets, image_sets
from tqdm import tqdm

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.cross_view.carrier import Sighting, in_network
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.looks import Pair
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.reminder import Reminder, Seen
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.memory.bank import MemoryBank
from geoseg_core.memory.config import BankConfig
from geoseg_core.memory.networks import TemporalMemory
from geoseg_core.resources import resource
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.training.recipes.union_memory import tiny_memory
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import choose_weights, stored_config

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images"
POINTS = 5
WINDOW = 100
SMOOTHED = 51
MIB = 2**20

# The objects as each view of a set shows them: for each object, its cameras in turn.
Shown = list[list[Sighting]]


def make_reminder(head: str, memory: str, bank: BankConfig) -> Reminder:
    """Networks of files, or with random weights."""
    torch.manual_seed(0)
    if not head:
        return Reminder(UnionHead(tiny_head()).eval(), TemporalMemory(tiny_memory()), MemoryBank(bank), POINTS)
    path = choose_weights(head).path
    loaded = UnionHead.from_checkpoint(path, stored_config(path, UnionHeadConfig()))
    return Reminder(loaded, TemporalMemory.from_checkpoint(choose_weights(memory).path), MemoryBank(bank), POINTS)


def shown_in(sets: list[FrameSet], weights: str, objects: int) -> list[Shown]:
    """Each set as the network sees it; what the masks show does not matter for the time."""
    encoder = load_encoder(GeometryConfig("tiny", weights, "cpu")).encoder
    found = []
    for frames in tqdm(sets, desc="encode", unit="set"):
        scene: Any = encoder.encode(frames)
        maps, views = scene.matching_maps(0).float(), range(len(frames.views))
        masks = squares(frames.views[0].size, objects)
        found.append([[Sighting(maps[view], in_network(mask, scene, view)) for view in views] for mask in masks])
    return found


def follow(
    reminder: Reminder, sets: list[Shown], cameras: list[str], frames: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each frame's look at the memories and of its remembering, and the bank's MiB after it."""
    looked_ms, remembered_ms, mib = [], [], []
    points = np.zeros((POINTS, 2))
    for frame in tqdm(range(frames), unit="frame"):
        before, now = sets[(frame - 1) % len(sets)], sets[frame % len(sets)]
        pairs = [
            Pair(torch.stack((old.maps, new.maps)), old.mask, points, points, lambda logits: logits)
            for olds, news in zip(before, now, strict=True)
            for old, new in zip(olds, news, strict=True)
        ]
        started = time.process_time()
        reminder.of_objects(pairs, cameras, range(len(now)), frame)
        looked = time.process_time()
        for number, sightings in enumerate(now):
            # A user marked each object in the first camera's first view.
            seen = [
                Seen(number, camera, each, not frame and camera == cameras[0])
                for camera, each in zip(cameras, sightings, strict=True)
            ]
            reminder.remember(seen, frame)
        looked_ms.append(1e3 * (looked - started))
        remembered_ms.append(1e3 * (time.process_time() - looked))
        mib.append(reminder.bank.held_bytes / MIB)
    return looked_ms, remembered_ms, mib


def summary(looked_ms: list[float], remembered_ms: list[float], mib: list[float]) -> list[dict[str, Any]]:
    """Medians of the first frames, of those up to the middle and of the last ones; each against the first."""
    rows: list[dict[str, Any]] = []
    for end in (WINDOW, len(mib) // 2, len(mib)):
        here = slice(end - WINDOW, end)
        both = [sum(each) for each in zip(looked_ms[here], remembered_ms[here], strict=True)]
        row = {
            "frames": f"{end - WINDOW + 1}-{end}",
            "look_ms": statistics.median(looked_ms[here]),
            "remember_ms": statistics.median(remembered_ms[here]),
            "both_ms": statistics.median(both),
            "bank_mib": mib[end - 1],
        }
        rows.append(row | {"ratio": row["both_ms"] / (rows[0] if rows else row)["both_ms"]})
    return rows


def draw_plot(path: Path, looked_ms: list[float], remembered_ms: list[float], mib: list[float]) -> None:
    """Moving medians of the times beside the bank's size."""
    figure, panel = plt.subplots(figsize=(9, 4), layout="constrained")
    for name, values in (("look at the memories", looked_ms), ("remember", remembered_ms)):
        windows = np.lib.stride_tricks.sliding_window_view(values, SMOOTHED)
        panel.plot(np.arange(len(windows)) + SMOOTHED // 2, np.median(windows, axis=1), lw=1.2, label=name)
    panel.set(xlabel="frame", ylabel=f"time of a frame in ms, median of {SMOOTHED}")
    panel.set_ylim(0, 1.3 * float(np.percentile([looked_ms, remembered_ms], 99)))
    panel.grid(alpha=0.3)
    size = panel.twinx()
    size.plot(mib, color="tab:green", label="bank")
    size.set(ylabel="memory of the bank in MiB", ylim=(0, 1.3 * max(mib)))
    size.yaxis.label.set_color("tab:green")
    panel.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the memory of former sets costs over a long clip.")
    add_sets(parser)
    parser.set_defaults(sets=20, threads=1)
    parser.add_argument("--head", default="", help="weights of the union head by name or file (default: random)")
    parser.add_argument("--memory", default="", help="those of its memory")
    parser.add_argument("--frames", type=int, default=2000, help=f"at least {2 * WINDOW}")
    parser.add_argument("--objects", type=int, default=2)
    arguments = parser.parse_args()
    if bool(arguments.head) != bool(arguments.memory):
        parser.error("expected --head and --memory, or neither, got one of them; a memory belongs to its head")
    if arguments.frames < 2 * WINDOW:
        parser.error(f"--frames: expected {2 * WINDOW} or more, got {arguments.frames}")
    torch.set_num_threads(arguments.threads)
    cameras, bank = arguments.views.split(","), BankConfig()
    sets = image_sets(arguments.bag or resource(SAMPLE_BAG), cameras, arguments.sets)
    shown = shown_in(sets, arguments.weights, arguments.objects)
    figures = follow(make_reminder(arguments.head, arguments.memory, bank), shown, cameras, arguments.frames)
    rows = summary(*figures)
    print_table(rows)
    facts = {name: getattr(arguments, name) for name in ("views", "objects", "frames", "sets", "threads")}
    facts |= {"weights": "given" if arguments.head else "random", "bank": asdict(bank)}
    print(f"written: {write_record(arguments.out, 'memory', rows, facts)}")
    draw_plot((PICTURES if arguments.out == RESULTS else arguments.out) / "memory.png", *figures)


if __name__ == "__main__":
    main()
