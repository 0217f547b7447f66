"""How long instance features take to become instances, and how far a sample agrees with clustering all of them.

    python benchmarks/clustering.py [--views 100] [--size 392x518] [--things 40] [--passes 3] [--threads 2]

The features are made: a wall of patches that each view sees another part of, with noise, and blurred where patches
meet. Of several passes the quickest counts; where others use the machine, the seconds of the processors tell more than
those of the clock. The agreement (adjusted Rand index) of the two ways is measured on a few small views, since
clustering every feature takes minutes from some 50,000 pixels on.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from records import add_out, print_table, write_record
from torch import Tensor

from geoseg_core.instances.field.clustering import FieldClusterConfig, cluster_whole
from geoseg_core.instances.field.quick import cluster_sample

CHANNELS, NOISE = 8, 0.05
WALL = (2.5, 2.0)
VIEW = (1.2, 0.9)
FEW = (3, (77, 84), 10)  # views, their size, things


def made_field(views: int, size: tuple[int, int], things: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (V, C, H, W), points (V, H, W, 3) and true labels (V, H, W)."""
    generator = torch.Generator().manual_seed(0)
    kinds = F.normalize(torch.randn(things, CHANNELS, generator=generator), dim=1)
    middles = torch.rand(things, 2, generator=generator) * torch.tensor(WALL)
    reach = 0.15 * torch.rand(things, generator=generator)
    head = (4 * size[0] // 7, 4 * size[1] // 7)  # the finest map of the part head
    features, points = torch.empty(views, CHANNELS, *size), torch.empty(views, *size, 3)
    labels = torch.empty(views, *size, dtype=torch.int64)
    for view in range(views):
        corner = torch.rand(2, generator=generator) * (torch.tensor(WALL) - torch.tensor(VIEW))
        _, coarse = seen(head, corner, middles, reach)
        noisy = kinds[coarse].movedim(-1, 0) + NOISE * torch.randn(CHANNELS, *head, generator=generator)
        soft = F.avg_pool2d(noisy[None], 3, stride=1, padding=1)
        place, labels[view] = seen(size, corner, middles, reach)
        depth = 2 + 0.1 * torch.sin(labels[view].float())[..., None]
        points[view] = torch.cat((place, depth), dim=-1) + 0.002 * torch.randn(*size, 3, generator=generator)
        features[view] = F.interpolate(soft, size, mode="bilinear", align_corners=True)[0]
    return features, points, labels


def seen(size: tuple[int, int], corner: Tensor, middles: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Places (H, W, 2) on the wall and the thing there (H, W)."""
    v, u = torch.meshgrid(*((torch.arange(side) + 0.5) / side for side in size), indexing="ij")
    place = corner + torch.stack((u, v), dim=-1) * torch.tensor(VIEW)
    label = (torch.cdist(place.view(1, -1, 2), middles[None])[0] - reach).argmin(dim=1)
    return place, label.view(size)


def agreement(ours: Tensor, theirs: Tensor) -> float:
    """Adjusted Rand index."""
    columns = int(theirs.max()) + 1
    counts = torch.bincount(ours.flatten() * columns + theirs.flatten(), minlength=(int(ours.max()) + 1) * columns)
    table = counts.view(-1, columns).double().numpy()
    pairs, first, second = ((each * (each - 1) / 2).sum() for each in (table, table.sum(1), table.sum(0)))
    expected = first * second / (table.sum() * (table.sum() - 1) / 2)
    return float((pairs - expected) / ((first + second) / 2 - expected))


def timed(run: Callable[[], Tensor], passes: int) -> tuple[Tensor, dict[str, float]]:
    """What it gives, and the least seconds of a pass: by the clock and of all processors together."""
    clock, work = [], []
    for _ in range(passes):
        start, used = time.perf_counter(), time.process_time()
        result = run()
        clock.append(time.perf_counter() - start)
        work.append(time.process_time() - used)
    return result, {"seconds": min(clock), "cpu_seconds": min(work)}


def row(way: str, labels: Tensor, truth: Tensor, seconds: dict[str, float], with_whole: float | None) -> dict[str, Any]:
    """One line of the table."""
    return {
        "way": way,
        "pixels": truth.numel(),
        **seconds,
        "instances": len(labels.unique()),
        "things": len(truth.unique()),
        "truth_ari": round(agreement(labels, truth), 4),
        "whole_ari": with_whole and round(with_whole, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How long instance features take to become instances.")
    parser.add_argument("--views", type=int, default=100)
    parser.add_argument("--size", default="392x518", help="height x width")
    parser.add_argument("--things", type=int, default=40)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_out(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    height, width = (int(side) for side in arguments.size.split("x"))
    config = FieldClusterConfig()
    features, points, truth = made_field(arguments.views, (height, width), arguments.things)
    many, seconds = timed(lambda: cluster_sample(features, points, config), arguments.passes)
    rows = [row("sample", many, truth, seconds, None)]
    features, points, truth = made_field(*FEW)
    whole, seconds = timed(lambda: cluster_whole(features, points, config), 1)
    rows.append(row("whole", whole, truth, seconds, None))
    few, seconds = timed(lambda: cluster_sample(features, points, config), arguments.passes)
    rows.append(row("sample", few, truth, seconds, agreement(few, whole)))
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("views", "size", "things", "passes", "threads")}
    print(f"written: {write_record(arguments.out, 'clustering', rows, settings)}")


if __name__ == "__main__":
    main()
