"""How many views of procedural worlds are made in a second, with all ground truth.

    python benchmarks/worlds.py [--device cpu] [--batch 8] [--repeats 5] [--compile]

Scenes of one ego and one exo camera at 224 x 168. Of several repeats the quickest counts: others may use the machine.
`draw` is the part that numpy does on the CPU, `render` the rest. On a busy machine `cpu_ms_per_view` (of all threads)
tells more than the clock.
"""

import argparse
import time
from dataclasses import replace

import torch
from records import add_out, print_table, write_record

from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds


def measure(worlds: Worlds, batch: int, repeats: int) -> dict[str, float]:
    """Seconds of the quickest draw and render of a batch of scenes with one exo camera, and least CPU time of both."""
    cuda = worlds.device.type == "cuda"
    best = {"draw": float("inf"), "render": float("inf"), "cpu": float("inf")}
    for repeat in range(repeats + 2):  # the first two warm up
        seeds = range(repeat * batch, (repeat + 1) * batch)
        start, used = time.perf_counter(), time.process_time()
        scenes = worlds.draw(list(seeds), 1)
        drawn = time.perf_counter()
        worlds.render(scenes)
        if cuda:
            torch.cuda.synchronize()
        if repeat >= 2:
            best["draw"] = min(best["draw"], drawn - start)
            best["render"] = min(best["render"], time.perf_counter() - drawn)
            best["cpu"] = min(best["cpu"], time.process_time() - used)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description="Views of worlds in a second.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=0, help="scenes at once (default: 8 on a CPU, 128 on a GPU)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch on a CPU")
    parser.add_argument("--compile", action="store_true", help="compile the kernels first; takes a minute or more")
    add_out(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    batch = arguments.batch or (128 if arguments.device.startswith("cuda") else 8)
    rows = []
    for name, change in (("full", {}), ("no camera effects", {"photometric": False}), ("no arm", {"arm": False})):
        config = replace(WorldsConfig(compile=arguments.compile), **change)
        best = measure(Worlds(config, arguments.device), batch, arguments.repeats)
        views = 2 * batch
        rows.append({
            "worlds": name, "views_per_s": views / (best["draw"] + best["render"]),
            "render_views_per_s": views / best["render"], "draw_ms": best["draw"] / batch * 1e3,
            "cpu_ms_per_view": best["cpu"] / views * 1e3,
        })  # fmt: skip
    print_table(rows)
    settings = {
        "width": config.width, "height": config.height, "batch": batch, "device": arguments.device,
        "threads": arguments.threads, "compile": arguments.compile, "repeats": arguments.repeats,
    }  # fmt: skip
    name = "worlds" + "_cuda" * arguments.device.startswith("cuda") + "_compiled" * arguments.compile
    print(f"written: {write_record(arguments.out, name, rows, settings)}")


if __name__ == "__main__":
    main()
