"""Worlds that are rendered once, kept on the disk and seen again: where rendering costs as much as learning."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from geoseg_core.config import settings
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.task import HELD_OUT_SEEDS

# Images lose what 8 bits leave out, depth what half precision does (0.05 %).
STORED = {"images": torch.uint8, "depth": torch.float16, "instance_ids": torch.uint8, "class_ids": torch.uint8}


class KeptSource:
    """Another source's batches of the first `samples` seeds after the held-out ones, over and over.

    Held-out samples are never kept.
    """

    on_device = False

    def __init__(self, source: Any, folder: Path, samples: int, worlds: WorldsConfig, easiest: float) -> None:
        self.source, self.folder, self.samples = source, folder, samples
        made_with = {each.name: each.default for each in settings(worlds)} | {"easiest": easiest}
        self.made_with = json.dumps(made_with, sort_keys=True)

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """The samples with these seeds, or with those that they stand for.

        Raises:
            BadInput: a file of other worlds, or a broken one.
        """
        if seeds[0] < HELD_OUT_SEEDS:
            return self.source.batch(step, seeds, device)
        step %= max(self.samples // len(seeds), 1)
        stand_for = [HELD_OUT_SEEDS + (seed - HELD_OUT_SEEDS) % self.samples for seed in seeds]
        path = self.folder / f"{step}_{stand_for[0]}_{stand_for[-1]}.safetensors"
        if not path.exists():
            write(path, self.source.batch(step, stand_for, torch.device("cpu")), self.made_with)
        return read(path, self.made_with).to(device)


def write(path: Path, batch: Sample, made_with: str) -> None:
    """Keep a batch; the file appears whole or not at all."""
    stored = {name: value.to(STORED.get(name, value.dtype)) for name, value in batch.tensors().items()}
    stored["images"] = (batch.images * 255).round().to(torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    facts = {"made_with": made_with, "cameras": json.dumps(batch.cameras), "source": batch.source}
    save_file({name: value.contiguous() for name, value in stored.items()}, part, facts)
    part.replace(path)


def read(path: Path, made_with: str) -> Sample:
    """A kept batch, in the types of a Sample.

    Raises:
        BadInput: a file of other worlds, or a broken one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: expected worlds that were kept, got {error}; remove the file") from error
    if facts.get("made_with") != made_with:
        raise BadInput(f"{path}: expected worlds of these settings, got others; name another folder in data.kept")
    sample = Sample(**{name: value.float() if value.is_floating_point() else value for name, value in stored.items()})
    known: dict[str, Any] = {
        name: value.long() for name, value in sample.tensors().items() if name in ("instance_ids", "class_ids")
    }
    cameras = tuple(json.loads(facts["cameras"]))
    return replace(sample, **known, images=stored["images"].float() / 255, cameras=cameras, source=facts["source"])
