"""How fast masks are carried on the features of the small network, with and without the memory of former sets.

    python benchmarks/masks.py [BAG] [--head FILE] [--objects 3] [--views ego,exo_left] [--sets 40]

`between` carries the objects from the ego view into the others, `over_time` from each camera's former view into its
next; the encoder's time is not in them.
"""

import argparse
import time

import numpy as np
import torch
from records import print_table, write_record
from tiny import WARM_UPS, add_sets, image_sets
from tqdm import tqdm

from geoseg_core.commands.evaluate import SAMPLE_BAG
from geoseg_core.cross_view.carrier import Asked, Sighting, in_network
from geoseg_core.cross_view.config import HEADS, TINY_LOOK
from geoseg_core.cross_view.union_head.carrier import UnionHeadCarrier
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.resources import resource
from geoseg_core.weights.chosen import choose_weights


def squares(size: tuple[int, int], count: int) -> np.ndarray:
    """(K, H, W) masks of squares in a row; what they show does not matter for the time."""
    masks = np.zeros((count, *size), bool)
    side = size[1] // (2 * count + 1)
    for row in range(count):
        left = (2 * row + 1) * side
        masks[row, size[0] // 3 : size[0] // 3 + side, left : left + side] = True
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast masks are carried on the features of the small network.")
    add_sets(parser)
    parser.add_argument("--head", default=HEADS["tiny"], help="weights of the union head, by name or file")
    parser.add_argument("--objects", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    encoder = load_encoder(GeometryConfig("tiny", arguments.weights, "cpu")).encoder
    path = choose_weights(arguments.head).path
    rows = []
    for refinements in (0, 1, 2):
        carrier = UnionHeadCarrier(load_union_head(path, TINY_LOOK, "cpu", refinements))
        between_ms, over_time_ms = [], []
        for frames in tqdm(
            image_sets(arguments.bag or resource(SAMPLE_BAG), arguments.views.split(","), arguments.sets), unit="set"
        ):
            scene = encoder.encode(frames)
            masks = squares(frames.views[0].size, arguments.objects)
            maps = list(scene.matching_maps(0).float())
            asked = [
                Asked(number, Sighting(maps[view], in_network(mask, scene, view)), view)
                for number, mask in enumerate(masks)
                for view in range(len(frames.views))
            ]
            started = time.perf_counter()
            carrier.between_views(scene, 0, masks)
            carried = time.perf_counter()
            carrier.over_time(scene, asked)
            between_ms.append(1e3 * (carried - started))
            over_time_ms.append(1e3 * (time.perf_counter() - carried))
        rows.append({
            "refinements": refinements,
            "between_ms": float(np.median(between_ms[WARM_UPS:])),
            "between_p95_ms": float(np.percentile(between_ms[WARM_UPS:], 95)),
            "over_time_ms": float(np.median(over_time_ms[WARM_UPS:])),
            "over_time_p95_ms": float(np.percentile(over_time_ms[WARM_UPS:], 95)),
        })  # fmt: skip
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("views", "objects", "sets", "threads")}
    print(f"written: {write_record(arguments.out, 'masks', rows, settings)}")


if __name__ == "__main__":
    main()
