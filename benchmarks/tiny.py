"""How fast the small geometry network is: cameras, depth and tracks of two views of a bag, RGB alone, and its memory.

    python benchmarks/tiny.py [BAG] [--weights FILE] [--views ego,exo_left] [--points 16] [--sets 40]

Memory is the largest resident size of the process, what it imports included. Where others use the cores too, set
OMP_WAIT_POLICY=PASSIVE as the nodes do.
"""

import argparse
import resource as usage
import time
from pathlib import Path

import numpy as np
import torch
from records import add_out, print_table, write_record
from tqdm import tqdm

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.resources import resource
from geoseg_core.views import FrameSet, View

MIB = 2**20
WARM_UPS = 3


def image_sets(bag: Path, cameras: list[str], count: int) -> list[FrameSet]:
    """Images alone of the first sets."""
    sets = []
    for _, labelled in zip(range(count), BagSequence(bag), strict=False):
        views = {view.camera: view for view in labelled.frames.views}
        chosen = tuple(View(name, views[name].image, views[name].stamp_ns) for name in cameras)
        sets.append(FrameSet(chosen, labelled.frames.stamp_ns))
    return sets


def add_sets(parser: argparse.ArgumentParser) -> None:
    """What is seen, by which weights, and where the figures go."""
    parser.add_argument("bag", type=Path, nargs="?", help="default: the sample bag")
    parser.add_argument("--weights", default="", help="of the encoder (default: those that come with geoseg)")
    parser.add_argument("--views", default="ego,exo_left")
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    add_out(parser)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the small geometry network is.")
    add_sets(parser)
    parser.add_argument("--points", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    encoder = load_encoder(GeometryConfig("tiny", arguments.weights, "cpu")).encoder
    sets = image_sets(arguments.bag or resource(SAMPLE_BAG), arguments.views.split(","), arguments.sets)
    height, width = sets[0].views[0].image.shape[:2]
    points = np.random.default_rng(0).uniform((0, 0), (width - 1, height - 1), (arguments.points, 2))
    encode_ms, track_ms = [], []
    for frames in tqdm(sets, unit="set"):
        started = time.perf_counter()
        scene = encoder.encode(frames)
        encoded = time.perf_counter()
        scene.track(points, 0, list(range(1, len(frames.views))))
        encode_ms.append(1e3 * (encoded - started))
        track_ms.append(1e3 * (time.perf_counter() - encoded))
    total = np.add(encode_ms, track_ms)[WARM_UPS:]
    row = {
        "encode_ms": float(np.median(encode_ms[WARM_UPS:])),
        "track_ms": float(np.median(track_ms[WARM_UPS:])),
        "hz_median": float(1e3 / np.median(total)),
        "hz_p95": float(1e3 / np.percentile(total, 95)),
        "peak_mib": usage.getrusage(usage.RUSAGE_SELF).ru_maxrss * 1024 / MIB,
    }
    print_table([row])
    settings = {name: getattr(arguments, name) for name in ("views", "points", "sets", "threads")}
    print(f"written: {write_record(arguments.out, 'tiny', [row], settings)}")


if __name__ == "__main__":
    main()
