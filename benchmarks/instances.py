"""How long the masks of object queries take to become instances: the post-processing of SegVGGT.

    python benchmarks/instances.py [--views 3,10,100] [--dense 3,10] [--size 392x518] [--queries 100] [--things 30]

What the queries say is made, at half the images' size: things that are seen in a third of the views (`sparse`), and, as
the worst case, every query sure of a thing of its own that is seen in all of them (`dense`). The quickest of several
passes counts. `result_mib` are the masks and labels that come out, `work_mib` what was needed beside them at most.
The clustering of instance features is measured by clustering.py.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from records import add_out, print_table, write_record
from torch import Tensor

from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.decoding import FoundInstances, found_instances
from geoseg_core.instances.queries.model import QueryOutput

MIB = 2**20
FAR = -12.0  # logit outside of a thing
VISIBLE = 1 / 3


def made_output(
    views: int, size: tuple[int, int], queries: int, things: int, visible: float, device: str
) -> QueryOutput:
    """Queries of which the first `things` are each sure of a disc in the part `visible` of the views."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.tensor([[4.0, 0.0]] * things + [[-4.0, 0.0]] * (queries - things), device=device)
    logits = torch.full((1, queries, views, *size), FAR, dtype=torch.bfloat16, device=device)
    rows, columns = (torch.arange(side, device=device) / size[0] for side in size)
    reach = 0.1 + 0.1 * torch.rand(things, generator=generator)
    places = torch.rand(things, views, 2, generator=generator) * torch.tensor([1.0, size[1] / size[0]])
    seen = torch.rand(things, views, generator=generator) < visible
    for thing, view in seen.nonzero().tolist():
        row, column = places[thing, view].tolist()
        apart = ((rows - row)[:, None] ** 2 + (columns - column) ** 2).sqrt()
        logits[0, thing, view] = (80 * (float(reach[thing]) - apart)).clamp(FAR, -FAR).bfloat16()
    return QueryOutput(classes[None], logits)


class Memory:
    """Bytes that are taken beyond those taken now, at most, on the device of the work (on a CPU as Linux counts)."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        self.before = torch.cuda.memory_allocated() if self.cuda else of_process("VmRSS")

    def peak(self) -> int:
        return (torch.cuda.max_memory_allocated() if self.cuda else of_process("VmHWM")) - self.before


def of_process(name: str) -> int:
    """A figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def size_of(found: FoundInstances) -> int:
    """Bytes of the result."""
    return sum(each.numel() * each.element_size() for each in vars(found).values() if isinstance(each, Tensor))


def measured(output: QueryOutput, size: tuple[int, int], device: str, passes: int) -> dict[str, Any]:
    """The quickest pass, and the memory of the first."""
    memory, best = Memory(device), float("inf")
    for number in range(passes):
        start = time.perf_counter()
        (found,) = found_instances(output, size, QueryDecodingConfig())
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
        if not number:
            taken, result = memory.peak(), size_of(found)
    return {
        "seconds": best,
        "instances": len(found.scores),
        "result_mib": result / MIB,
        "work_mib": max(taken - result, 0) / MIB,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the masks of object queries take to become instances.")
    parser.add_argument("--views", default="3,10,100", help="numbers of views, small ones first")
    parser.add_argument("--dense", default="3,10", help="those of the worst case; 100 take 4 GiB")
    parser.add_argument("--size", default="392x518", help="height x width of the images")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--things", type=int, default=30)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    add_out(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    height, width = (int(side) for side in arguments.size.split("x"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    cases = {"sparse": (arguments.views, arguments.things, VISIBLE), "dense": (arguments.dense, arguments.queries, 1.0)}
    for kind, (numbers, things, visible) in cases.items():
        for views in (int(each) for each in numbers.split(",")):
            output = made_output(views, (height // 2, width // 2), arguments.queries, things, visible, device)
            figures = measured(output, (height, width), device, arguments.passes)
            rows.append({"device": device, "views": views, "kind": kind, "queries": arguments.queries, **figures})
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("size", "queries", "things", "passes", "threads")}
    print(f"written: {write_record(arguments.out, f'instances_{device}', rows, settings)}")


if __name__ == "__main__":
    main()
