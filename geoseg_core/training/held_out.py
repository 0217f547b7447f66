"""What the averaged weights are worth: figures and pictures of held-out samples, and the weights themselves."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from geoseg_core.training.pictures import write_picture
from geoseg_core.training.stepper import Stepper
from geoseg_core.training.task import held_out_seeds

PICTURES = "pictures"
WEIGHTS = "weights.safetensors"
PICTURE_SAMPLES = 4


@torch.no_grad()
def evaluate(stepper: Stepper, count: int, note: Callable[[str], None]) -> dict[str, float]:
    """Means of the task's metrics over so many held-out samples; NaN says that a batch knows nothing of a metric."""
    task, device = stepper.task, stepper.devices.device
    found: dict[str, list[tuple[float, int]]] = {}
    seeds = held_out_seeds(count)
    torch.manual_seed(0)
    with stepper.averages.applied(), stepper.devices.autocast():
        stepper.model.eval()
        for start in range(0, count, stepper.micro_batch):
            note(f"held-out sample {start + 1} of {count}")
            chosen = seeds[start : start + stepper.micro_batch]
            for name, value in task.metrics(stepper.model, task.held_out(chosen, device)).items():
                if not math.isnan(value):
                    found.setdefault(name, []).append((value, len(chosen)))
        stepper.model.train()
    return {
        name: sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)
        for name, pairs in found.items()
    }


@torch.no_grad()
def show(stepper: Stepper, out: Path, step: int) -> np.ndarray:
    """The task's picture of the first held-out samples, also written to pictures/."""
    torch.manual_seed(0)
    with stepper.averages.applied(), stepper.devices.autocast():
        stepper.model.eval()
        batch = stepper.task.held_out(held_out_seeds(PICTURE_SAMPLES), stepper.devices.device)
        picture = stepper.task.picture(stepper.model, batch)
        stepper.model.train()
    write_picture(out / PICTURES / f"step_{step:08d}.png", picture)
    return picture


def export(stepper: Stepper, out: Path, facts: dict[str, Any]) -> None:
    """Write weights.safetensors, with the facts of the training in it."""
    with stepper.averages.applied():
        tensors = {name: value.detach().cpu().clone() for name, value in stepper.task.export(stepper.model).items()}
    part = out / f".{WEIGHTS}.part"
    save_file(tensors, part, metadata={"format": "pt", "training": json.dumps(facts)} | stepper.task.stored())
    os.replace(part, out / WEIGHTS)
