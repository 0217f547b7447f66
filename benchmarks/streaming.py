"""What streaming costs over time, and how far its geometry is from recomputing all that it sees.

    python benchmarks/streaming.py [--full] [--weights FILE] [--sets 210]

The sequence is made (room_sequence.py): a walking camera, two still ones. The model is a small VGGT with random
weights, with `--full` VGGT-1B; or a VGGT of any size from a safetensors file that holds its configuration. On a GPU the
weights are bf16.

Cost: the time of set n + 180 over that of set n, n about 20, is taken in turns by two encoders, so other load on the
machine meets both; "in passing" is the plain ratio within one run. Times are those of the process on a CPU, which other
load disturbs less than the clock's, and those of the clock on a GPU. Memory is the most that one encoder alone took in
the 21 sets around set 20, and in the last 21 of 195.

Drift: a set is encoded by streaming, and together with all sets that streaming lets it see in one pass of the plain
encoder; the table holds the median differences, and that of the depth of the set encoded alone.
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from records import RESULTS, add_out, print_table, write_record
from room_sequence import PERIOD, frame_set

from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.streaming.config import StreamingConfig
from geoseg_core.geometry.streaming.encoder import StreamingEncoder
from geoseg_core.geometry.vggt.config import AggregatorConfig, CameraHeadConfig, VggtConfig
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.vit import VitConfig
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import stored_config

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images"
SMALL = VggtConfig(
    image_size=168,
    width=96,
    patch_embed=VitConfig(depth=6, heads=3),
    aggregator=AggregatorConfig(depth=6, heads=3),
    camera_head=CameraHeadConfig(depth=2, heads=6),
    depth_head=DptConfig(features=32, channels=(24, 48, 96, 96), layers=(1, 2, 4, 5)),
    heads=("camera", "depth"),
)
EARLY, NEIGHBOURS = 20, 5
ASPECT = 0.75
WINDOWS = (0, 1, 2, 4, 8)
COMPARED = tuple(range(11, 60, 7))
MIB = 2**20
LAYER_SCALE = 0.3
RANDOM = "random: the drift shows how far causal attention is from full attention, not how good the geometry is"


def make_encoder(full: bool, weights: Path | None) -> VggtEncoder:
    """The encoder of the benchmark, on the GPU where there is one."""
    config = stored_config(weights, VggtConfig()) if weights else VggtConfig() if full else SMALL
    config = dataclasses.replace(config, heads=("camera", "depth"))
    torch.manual_seed(0)
    model = Vggt.from_checkpoint(weights, config) if weights else stir(Vggt(config).eval())
    on_gpu = torch.cuda.is_available()
    running = VggtEncoderConfig(side=config.image_size, precision="bf16" if on_gpu else "fp32")
    return VggtEncoder(model.to("cuda" if on_gpu else "cpu"), running)


def image_size(plain: VggtEncoder) -> tuple[int, int]:
    """Height and width of images that the network takes as they are."""
    patch, side = plain.model.config.patch, plain.config.side
    return round(ASPECT * side / patch) * patch, side


@torch.no_grad()
def stir(model: Vggt) -> Vggt:
    """The model with random weights in which every part matters, attention over other sets among them."""
    for name, each in model.named_parameters():
        if each.ndim > 1:
            each.normal_(std=1.0 if "token" in name else each[0].numel() ** -0.5)
        elif "gamma" in name:
            each.fill_(LAYER_SCALE)
    return model


def timed(encoder: StreamingEncoder, frames: FrameSet) -> float:
    """Milliseconds of one set."""
    start = clock()
    encoder.encode(frames)
    return 1e3 * (clock() - start)


def clock() -> float:
    """Seconds: of the GPU's work where there is one, else of this process."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def used_mib() -> float:
    """Memory of the GPU where there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / MIB
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB


def measure_cost(plain: VggtEncoder, config: StreamingConfig, sets: int, size: tuple[int, int]) -> dict[str, Any]:
    """Time and memory of each set of a long run, and times of early and late sets taken in turns."""
    late, early = StreamingEncoder(plain, config), StreamingEncoder(plain, config)
    milliseconds, memory = [], []
    turns = range(EARLY - NEIGHBOURS, EARLY + NEIGHBOURS + 1)
    for number in range(turns[0] + PERIOD):
        milliseconds.append(timed(late, frame_set(number, size)))
        memory.append(used_mib())
    for number in range(turns[0]):
        early.encode(frame_set(number, size))
    pairs = [(timed(early, frame_set(number, size)), timed(late, frame_set(number + PERIOD, size))) for number in turns]
    milliseconds += [pair[1] for pair in pairs]
    milliseconds += [timed(late, frame_set(number, size)) for number in range(len(milliseconds), sets)]
    assert late.sequence == early.sequence == 1 and late.held_sets[-1] == sets - 1
    before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
    at_20, at_200 = (statistics.median(milliseconds[start : start + len(turns)]) for start in (turns[0], len(memory)))
    share = late.still.reused / (late.still.reused + late.still.embedded)
    return {
        "set_20_ms": before,
        "set_200_ms": after,
        "ratio": after / before,
        "ratio_in_passing": at_200 / at_20,
        "peak_mib_at_20": max(memory[EARLY - 10 : EARLY + 11]),
        "peak_mib_at_184": max(memory[-21:]),
        "cache_mib": late.held_bytes / MIB,
        "reused_share": share,
        "milliseconds": [round(each, 2) for each in milliseconds],
        "memory_mib": [round(each, 1) for each in memory],
    }


def measure_drift(plain: VggtEncoder, window: int, size: tuple[int, int], budget_mib: int) -> dict[str, Any]:
    """How far streamed geometry is from that of one pass over all sets that are seen."""
    encoder = StreamingEncoder(plain, StreamingConfig(window=window, budget_mib=budget_mib))
    found, alone, times = [], [], []
    for number in range(COMPARED[-1] + 1):
        frames = frame_set(number, size)
        start = clock()
        views = encoder.encode(frames).views
        streamed_s = clock() - start
        if number not in COMPARED:
            continue
        seen = [0, *range(max(number - window, 1), number + 1)]
        together = joined(seen, size)
        start = clock()
        recomputed = plain.encode(together).views[-len(views) :]
        times.append((streamed_s, clock() - start))
        found += [differences(*pair) for pair in zip(views, recomputed, strict=True)]
        alone += [differences(*pair) for pair in zip(plain.encode(frames).views, recomputed, strict=True)]
    streamed_ms, recomputed_ms = (1e3 * statistics.median(each) for each in zip(*times, strict=True))
    middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
    return {
        "window": window,
        **middle,
        "alone_depth_%": statistics.median(each["depth_%"] for each in alone),
        "streamed_ms": streamed_ms,
        "recomputed_ms": recomputed_ms,
        "cache_mib": encoder.held_bytes / MIB,
    }


def joined(numbers: list[int], size: tuple[int, int]) -> FrameSet:
    """Views of several sets as one set."""
    views = [(number, view) for number in numbers for view in frame_set(number, size).views]
    return FrameSet(tuple(dataclasses.replace(view, camera=f"{view.camera} {number}") for number, view in views))


def differences(ours: ViewGeometry, reference: ViewGeometry) -> dict[str, float]:
    """Differences of depth, points and position as parts of depth, and of the direction in degrees."""
    scale = float(np.median(reference.depth_m))
    relative = ours.camera_to_world[:3, :3].T @ reference.camera_to_world[:3, :3]
    cosine = np.clip((np.trace(relative) - 1) / 2, -1, 1)
    apart = np.linalg.norm(ours.points - reference.points, axis=-1)
    moved = np.linalg.norm(ours.camera_to_world[:3, 3] - reference.camera_to_world[:3, 3])
    return {
        "depth_%": 100 * float(np.median(np.abs(ours.depth_m / reference.depth_m - 1))),
        "points_%": 100 * float(np.median(apart)) / scale,
        "position_%": 100 * float(moved) / scale,
        "rotation_deg": float(np.degrees(np.arccos(cosine))),
    }


def draw_plot(path: Path, cost: dict[str, Any], drift: list[dict[str, Any]], weights: str) -> None:
    """Cost over time beside drift over the window."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot(cost["milliseconds"], lw=0.8, color="tab:blue")
    left.set(xlabel="frame set", ylabel="time of a set in ms", title="cost over time")
    left.set_ylim(0, 1.3 * float(np.percentile(cost["milliseconds"], 99)))
    left.yaxis.label.set_color("tab:blue")
    memory = left.twinx()
    memory.plot(cost["memory_mib"], color="tab:orange")
    memory.set(ylabel="memory in MiB", ylim=(0, 1.3 * max(cost["memory_mib"])))
    memory.yaxis.label.set_color("tab:orange")
    windows = [str(row["window"]) for row in drift]
    names = {"depth_%": "depth", "points_%": "points", "position_%": "position of the camera"}
    for name, label in names.items():
        right.plot(windows, [row[name] for row in drift], "o-", label=label)
    right.plot(windows, [row["alone_depth_%"] for row in drift], "--", color="grey", label="depth of the set alone")
    right.set(xlabel="sets in the window, besides the anchor", ylabel="difference in %", ylim=(0, None))
    right.set_title(f"drift against one pass over all that is seen\n({weights} weights)", fontsize=10)
    right.legend()
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="What streaming costs over time, and how far it drifts.")
    parser.add_argument("--full", action="store_true", help="VGGT-1B instead of a small model")
    parser.add_argument("--weights", type=Path, help="safetensors file of that model")
    parser.add_argument("--sets", type=int, default=210, help="at least 206")
    parser.add_argument("--window", type=int, default=StreamingConfig.window)
    parser.add_argument("--budget-mib", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plain = make_encoder(arguments.full, arguments.weights)
    size = image_size(plain)
    weights = "given" if arguments.weights else "random"
    config = StreamingConfig(window=arguments.window, budget_mib=arguments.budget_mib)
    cost = measure_cost(plain, config, arguments.sets, size)
    drift = [measure_drift(plain, window, size, arguments.budget_mib) for window in WINDOWS]
    figures = {name: value for name, value in cost.items() if not isinstance(value, list)}
    print_table([figures])
    print_table(drift)
    print(f"weights: {RANDOM if weights == 'random' else arguments.weights}")
    settings = {
        "parameters": sum(each.numel() for each in plain.model.parameters()),
        "precision": plain.config.precision,
        "weights": RANDOM if weights == "random" else arguments.weights.name,
        "size": size,
        "views": 3,
        "sets": arguments.sets,
        "threads": arguments.threads,
        **dataclasses.asdict(config),
    }
    name = "streaming_full" if arguments.full else "streaming"
    print(f"written: {write_record(arguments.out, name, [figures, *drift], settings)}")
    pictures = PICTURES if arguments.out == RESULTS else arguments.out
    draw_plot(pictures / f"{name}.png", cost, drift, weights)


if __name__ == "__main__":
    main()
