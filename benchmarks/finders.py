"""How long the small instance network takes to find the things of a set that is encoded already.

    python benchmarks/finders.py [BAG] [--weights tiny-instances] [--sets 10] [--passes 3]

From the features of `tiny` to label images with scores, by the queries and by the clustered field, all views of a set.
Of several passes over the same sets the quickest counts for each set: others may use the machine. `encode` is what the
encoder took.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from records import add_out, print_table, write_record

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.instances.field.cluster_config import SMALL_CLUSTERS
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.tiny.loading import METHODS, load_finder
from geoseg_core.resources import resource
from geoseg_core.weights.chosen import choose_weights


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the small instance network takes to find things.")
    parser.add_argument("bag", type=Path, nargs="?", help="a bag (default: the sample bag)")
    parser.add_argument("--weights", default="tiny-instances", help="name or file")
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_out(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    encoder = load_encoder(GeometryConfig(encoder="tiny")).encoder
    path = choose_weights(arguments.weights).path
    finders = {name: load_finder(name, path, QueryDecodingConfig(), SMALL_CLUSTERS) for name in METHODS}
    sequence = BagSequence(arguments.bag or resource(SAMPLE_BAG))
    sets = [labelled.frames for labelled in islice(sequence, arguments.sets)]
    times = {name: np.full(len(sets), np.inf) for name in ("encode", *finders)}
    things = dict.fromkeys(finders, 0)
    for _ in range(arguments.passes):
        for number, frames in enumerate(sets):
            start = time.perf_counter()
            scene = encoder.encode(frames)
            times["encode"][number] = min(times["encode"][number], time.perf_counter() - start)
            for name, finder in finders.items():
                start = time.perf_counter()
                things[name] = len(finder.find(scene).scores)
                times[name][number] = min(times[name][number], time.perf_counter() - start)
    rows = [
        {"what": name, "p50_ms": float(np.median(each)), "max_ms": float(each.max()), "things": things.get(name)}
        for name, each in ((name, 1e3 * each) for name, each in times.items())
    ]
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("sets", "passes", "threads")}
    settings["views"] = len(sets[0].views)
    print(f"written: {write_record(arguments.out, 'finders', rows, settings)}")


if __name__ == "__main__":
    main()
