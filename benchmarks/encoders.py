"""How fast the geometry encoders are, stage by stage, beside the plain published code and the machine's matrix rate.

    python benchmarks/encoders.py --baseline
    python benchmarks/encoders.py --model pi3x --views 4 --modes bf16,bf16+packed
    python benchmarks/encoders.py --device cuda --size 518x518 --heads camera,depth,tracks \
        --modes bf16,bf16+compile,bf16+compile+cuda_graphs --passes 20 --name encoders_gpu

A mode is a precision, then options of `InferenceConfig` that are switched on. Each mode runs in a process of its own,
with the same random weights (encoder_runs.py) and images; of several passes the quickest counts. Times are those of the
clock; with `--threads 1` on a CPU those of the processor, which do not grow when others use the machine too.

Peak memory is the largest resident size of the process (on a GPU: the most that was allocated). `of_rate` is the
model's FLOPs over the total time, as a part of what a large matrix product of the same type reached in the same
process. Depth is compared with the mode fp32, |d - d32| / d32 at each pixel: the median and the largest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from encoder_runs import count_flops, run_of
from records import add_out, print_table, write_record
from tqdm import tqdm

RUNS = Path(__file__).with_name("encoder_runs.py")
PLAIN = "plain "


def modes_of(arguments: argparse.Namespace) -> list[str]:
    """The runs in order; those of the plain code have its name before them."""
    plain = [f"{PLAIN}{mode}" for mode in arguments.modes.split(",") if "+" not in mode]
    return [*(plain if arguments.baseline else []), *arguments.modes.split(",")]


def words_of(mode: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the process of a mode is told."""
    precision, *options = mode.removeprefix(PLAIN).split("+")
    width, height = (int(each) for each in arguments.size.split("x"))
    return {
        "model": arguments.model,
        "plain": mode.startswith(PLAIN),
        "config": {"precision": precision, **dict.fromkeys(options, True)},
        "views": arguments.views,
        "size": (height, width),
        "heads": tuple(arguments.heads.split(",")),
        "points": arguments.points,
        "device": arguments.device,
        "passes": arguments.passes,
        "warm_ups": arguments.warm_ups,
        "threads": arguments.threads,
        "tiny": arguments.tiny,
        "depth_file": str(folder / f"{mode}.npy"),
    }


def measure(mode: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One process."""
    command = [sys.executable, str(RUNS), json.dumps(words_of(mode, arguments, folder))]
    # As the nodes set it: waiting threads sleep instead of taking the cores from those that work.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(found.stdout.splitlines()[-1])


def row(
    mode: str, found: dict[str, Any], tflop: float, all_found: dict[str, dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """A line of the table."""
    rate = tflop / found["total_s"] / found["matrix_tflops"]
    times = {f"x {name}": all_found[name]["total_s"] / found["total_s"] for name in all_found if name.startswith(PLAIN)}
    return {
        "mode": mode,
        "total_s": found["total_s"],
        "peak_gib": found["peak_gib"],
        "weights_gib": found["weights_gib"],
        "tflop": tflop,
        "rate_tflops": found["matrix_tflops"],
        "of_rate": rate,
        **depth_difference(mode, folder),
        **times,
    }


def depth_difference(mode: str, folder: Path) -> dict[str, float | None]:
    """Median and largest difference of a mode's depth from fp32, in percent; None without that mode."""
    if not (folder / "fp32.npy").exists():
        return {"depth_median_percent": None, "depth_max_percent": None}
    exact, depth = np.load(folder / "fp32.npy"), np.load(folder / f"{mode}.npy")
    percent = 100 * np.abs(depth - exact) / np.abs(exact)
    return {"depth_median_percent": float(np.median(percent)), "depth_max_percent": float(percent.max())}


def print_stages(all_found: dict[str, dict[str, Any]]) -> None:
    """Seconds of each stage; runs with other stages (a CUDA graph has but one) stand by themselves."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for mode, found in all_found.items():
        groups.setdefault(tuple(found["stage_s"]), []).append({"seconds": mode, **found["stage_s"]})
    for group in groups.values():
        print_table(group)
        print()


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast the geometry encoders are.")
    parser.add_argument("--model", choices=("vggt", "pi3", "pi3x"), default="vggt")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--size", default="518x392", help="width x height of the network's input")
    parser.add_argument("--modes", default="fp32,bf16,bf16+packed", help="comma-separated")
    parser.add_argument("--baseline", action="store_true", help="run the plain published code too (VGGT)")
    parser.add_argument("--heads", default="camera,depth,points", help="of camera, depth, points, tracks (VGGT)")
    parser.add_argument("--points", type=int, default=256, help="points that the head `tracks` follows")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="threads on a CPU")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--warm-ups", type=int, default=0, help="passes before those that count; compilation needs one")
    parser.add_argument("--tiny", action="store_true", help="a very small network, to try the script")
    parser.add_argument("--name", default="encoders", help="name of the JSON file")
    add_out(parser)
    arguments = parser.parse_args()
    if arguments.baseline and (arguments.model != "vggt" or "tracks" in arguments.heads):
        parser.error("the plain code is VGGT with the heads camera, depth and points")
    return arguments


def main() -> None:
    arguments = arguments_of()
    all_found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage_tflop = count_flops(run_of(words_of("fp32", arguments, folder)))
        for mode in (progress := tqdm(modes_of(arguments), desc="modes")):
            progress.set_postfix_str(mode)
            all_found[mode] = measure(mode, arguments, folder)
        tflop = sum(stage_tflop.values())
        rows = [row(mode, found, tflop, all_found, folder) for mode, found in all_found.items()]
    print_stages(all_found)
    print_table([{"": "TFLOP", **stage_tflop}])
    print()
    print_table(rows)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("out", "name")}
    stages = {"tflop": stage_tflop, **{f"{mode} s": found["stage_s"] for mode, found in all_found.items()}}
    path = write_record(arguments.out, arguments.name, rows, {**settings, "stages": stages})
    print(f"written: {path}")


if __name__ == "__main__":
    main()
