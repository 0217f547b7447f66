"""Parity: our models against stored numbers of the published ones.

Three sorts of file are fixtures: a .safetensors file whose metadata entry `config` names its model, with tensors
`weights.*`, `input.*` and `output.*`; a .json file with the names and shapes of a checkpoint's tensors (`model` and
`tensors`); and a .json file of image sizes (`rows`). Files that name no model are known by the names of their entries
(MARKS). Each kind has one runner in RUNNERS of parity_kinds.py. A .json file beside a .safetensors file of the same
name belongs to it. Whatever else is found is reported as unknown.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geoseg_core.errors import BadInput, GeosegError

TOLERANCE = 1e-4
# Tight enough to notice a layer norm with the epsilon of another model.
TRUNK_TOLERANCE = 3e-6
# What sizes and shapes that do not fit each other make Python and torch raise.
MISFITS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError)
TRUNK_TENSORS = ("patch_tokens", "aggregated.", "decoder_tokens")
# Kinds of files without a configuration, by a name that one of their entries begins with; the first that fits counts.
MARKS = {
    r"e2x\.|x2e\.|recover\.|pass1_": "vggt_s views",
    r"\w+\.points\d+$": "vggt_s anchors",
    r"pos_embed_": "vggt_s positions",
    r"w\.tracker\.": "vggt_s tracks",
    r"grad\.": "vggt_s step",
    r"it\d+\.": "vggt_s calls",
    r"prompt_encoder\.|mask_decoder\.": "vggt_s weights",
}
JSON_MARKS = {r"parameters$": "vggt_s recipe", r"tensors$": "vggt_s keys"}


@dataclass(frozen=True)
class Row:
    """One compared tensor (or key list, or size): `error` is relative, or absolute where the published limits are;
    None where nothing could be compared."""

    fixture: str
    tensor: str
    error: float | None
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.error is not None and self.error <= self.tolerance

    @property
    def verdict(self) -> str:
        """ "pass", or what is wrong."""
        return "pass" if self.passed else self.note or "MISS"


@dataclass(frozen=True)
class Fixture:
    """One file: its kind, its configuration, and for a .safetensors file its tensors."""

    path: Path
    kind: str
    config: dict[str, Any]

    @cached_property
    def all_tensors(self) -> dict[str, Tensor]:
        """Every tensor, by its whole name."""
        with safe_open(self.path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def tensors(self, group: str) -> dict[str, Tensor]:
        """The tensors of "weights", "input" or "output", without that word."""
        start = f"{group}."
        return {name.removeprefix(start): each for name, each in self.all_tensors.items() if name.startswith(start)}


Runner = Callable[[Fixture], list[Row]]


def run_all(folder: Path, runners: Mapping[str, Runner]) -> list[Row]:
    """Run every fixture under a folder.

    Raises:
        BadInput: no folder, or no fixture in it.
    """
    paths = sorted(path for path in folder.rglob("*") if is_fixture(path))
    if not paths:
        raise BadInput(f"{folder}: expected a folder with parity fixtures (.safetensors, .json), found none")
    return [row for path in paths for row in run_one(path, path.relative_to(folder).as_posix(), runners)]


def is_fixture(path: Path) -> bool:
    """Whether a file stands for itself."""
    return path.suffix == ".safetensors" or (path.suffix == ".json" and not path.with_suffix(".safetensors").exists())


def run_one(path: Path, name: str, runners: Mapping[str, Runner]) -> list[Row]:
    """The rows of one file; one row that says why where it cannot be run."""
    try:
        fixture = read_fixture(path)
        if fixture.kind not in runners:
            return [Row(name, "-", None, 0.0, f"UNKNOWN KIND {fixture.kind!r}")]
        rows = runners[fixture.kind](fixture)
    except GeosegError as error:
        return [Row(name, "-", None, 0.0, f"CANNOT RUN: {error}")]
    except KeyError as error:
        return [Row(name, "-", None, 0.0, f"CANNOT RUN: no {error} in the fixture")]
    except MISFITS as error:
        return [Row(name, "-", None, 0.0, f"CANNOT RUN: {type(error).__name__}: {error}")]
    return [Row(name, row.tensor, row.error, row.tolerance, row.note) for row in rows]


def read_fixture(path: Path) -> Fixture:
    """What a file says of itself.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            return Fixture(path, json_kind(content), content)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            config = json.loads(metadata["config"]) if "config" in metadata else metadata
            unnamed = kind_by_names(file.keys(), MARKS) or "without a configuration"
        return Fixture(path, str(config.get("model", unnamed)), config)
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"{path}: expected a fixture, got {error}") from error


def json_kind(content: object) -> str:
    """ "keys" of a model, "sizes", a kind of JSON_MARKS, or "json" for anything else."""
    if isinstance(content, dict) and "model" in content and "tensors" in content:
        return f"keys {content['model']}"
    if isinstance(content, dict) and isinstance(content.get("rows"), list):
        return "sizes"
    return kind_by_names(content if isinstance(content, dict) else (), JSON_MARKS) or "json"


def kind_by_names(names: Iterable[str], marks: Mapping[str, str]) -> str:
    """The kind of a file whose entries have these names; empty where no mark fits."""
    names = list(names)
    return next((kind for mark, kind in marks.items() if any(re.match(mark, name) for name in names)), "")


def compare(computed: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> list[Row]:
    """One row for each stored tensor."""
    return [compare_tensor(name, computed.get(name), reference) for name, reference in stored.items()]


def compare_tensor(name: str, ours: Tensor | None, reference: Tensor) -> Row:
    """max|ours - reference| / max|reference|, over finite numbers; others must be the same on both sides."""
    trunk = name.split(".", 1)[-1] if "decoder_tokens" in name else name
    tolerance = TRUNK_TOLERANCE if trunk.startswith(TRUNK_TENSORS) else TOLERANCE
    if ours is None:
        return Row("", name, None, tolerance, "NOT COMPUTED")
    if ours.shape != reference.shape:
        return Row("", name, None, tolerance, f"SHAPE {tuple(ours.shape)} for {tuple(reference.shape)}")
    ours, reference = ours.double(), reference.double()
    same = (ours == reference) | (ours.isnan() & reference.isnan())
    error = float(torch.where(same, 0.0, (ours - reference).abs()).max()) if reference.numel() else 0.0
    largest = float(torch.where(reference.isfinite(), reference.abs(), 0.0).max()) if reference.numel() else 0.0
    if math.isnan(error):
        return Row("", name, None, tolerance, "NOT A NUMBER")
    return Row("", name, error / max(largest, sys.float_info.min), tolerance)


def table(rows: Iterable[Row]) -> list[str]:
    """Lines of the table: fixture, tensor, relative error, tolerance, verdict."""
    rows = list(rows)
    first = max([len("fixture"), *(len(row.fixture) for row in rows)])
    second = max([len("tensor"), *(len(row.tensor) for row in rows)])
    lines = [f"{'fixture':{first}}  {'tensor':{second}}  {'error':>8}  {'limit':>7}  verdict"]
    for row in rows:
        error = "-" if row.error is None else f"{row.error:.1e}"
        lines.append(f"{row.fixture:{first}}  {row.tensor:{second}}  {error:>8}  {row.tolerance:7.0e}  {row.verdict}")
    return lines
