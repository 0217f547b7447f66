"""Make the weights that come with geoseg out of finished trainings: weights/NAME.safetensors, and curves to look at.

    python scripts/ship_weights.py tiny RUN [RUN ...]

The runs are the folders of `geoseg train`, in the order in which each began with the weights of the one before. The
last one's averaged weights are stored in fp16. The table that is printed is for the model card (weights/NAME.md), and
weights/NAME.png shows the held-out figures over the hours of all runs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LICENCE = "Apache-2.0"


def ship(run: Path, target: Path) -> None:
    """The weights of a run in fp16, with the sizes of the network."""
    source = run / "weights.safetensors"
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    kept = {name: metadata[name] for name in ("format", "config", "training") if name in metadata}
    tensors = {name: each.half() if each.is_floating_point() else each for name, each in load_file(source).items()}
    broken = [name for name, each in tensors.items() if not torch.isfinite(each).all()]
    if broken:
        raise SystemExit(f"expected numbers that fp16 holds, got others in {broken}")
    save_file(tensors, target, metadata=kept | {"licence": LICENCE})
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


def facts(run: Path) -> dict[str, Any]:
    """What a run says of itself."""
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def table(runs: list[Path]) -> list[str]:
    """One row for each run."""
    lines = ["| run | steps | scenes | hours | views | size | difficulty | rate |", "|---|---|---|---|---|---|---|---|"]
    for number, run in enumerate(runs, 1):
        found = facts(run)
        of = found["config"]
        views = f"{1 + of['data.worlds.exo_min']} to {1 + of['data.worlds.exo_max']}"
        size = f"{of['data.worlds.width']}x{of['data.worlds.height']}"
        hours, rate = f"{found['seconds'] / 3600:.1f}", of["optimiser.learning_rate"]
        scenes = found["samples"] // of.get("reuse.uses", 1)
        cells = (number, found["step"], scenes, hours, views, size, of["data.worlds.difficulty"], rate)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def draw(runs: list[Path], target: Path) -> None:
    """Held-out figures over the hours of all runs, one panel each; a line for each run."""
    looks, before = [], 0.0
    for run in runs:
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        seconds = {row["step"]: row["seconds"] for row in rows if "seconds" in row}
        held_out = [row for row in rows if row.get("group") == "held_out"]
        looks.append([(before + seconds[row["step"]] / 3600, row) for row in held_out if row["step"] in seconds])
        before += facts(run)["seconds"] / 3600
    names = [name for name in looks[-1][-1][1] if name not in ("step", "group")]
    figure, axes = plt.subplots(2, (len(names) + 1) // 2, figsize=(14, 6), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        for number, look in enumerate(looks, 1):
            hours, values = zip(*((hours, row.get(name)) for hours, row in look), strict=True)
            axis.plot(hours, values, marker=".", label=f"run {number}")
        axis.set(title=name, xlabel="hours", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    for axis in list(axes.flat)[len(names) :]:
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(target, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the weights that come with geoseg out of finished trainings.")
    parser.add_argument("name")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    arguments = parser.parse_args()
    WEIGHTS.mkdir(exist_ok=True)
    ship(arguments.runs[-1], WEIGHTS / f"{arguments.name}.safetensors")
    draw(arguments.runs, WEIGHTS / f"{arguments.name}.png")
    print("\n".join(table(arguments.runs)))


if __name__ == "__main__":
    main()
