"""Checkpoints of a training: a folder of safetensors files, none larger than asked for, there whole or not at all.

A tensor larger than a file may be is cut: its pieces are flat and named NAME@0, NAME@1, ...; the metadata of every file
holds the facts of the whole checkpoint and the shapes of what was cut.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.weights.header import read_header, read_metadata

PREFIX = "step_"
MIB = 2**20
# What the header of a file may take of its limit.
HEADER_SHARE = 0.04


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], file_mib: float) -> None:
    """Write a checkpoint under its final name once all of it is on the disk.

    Args:
        folder: .../step_00001000
        facts: what JSON can hold.
        file_mib: the largest file, 0 = one file.
    """
    limit = int(file_mib * MIB * (1 - HEADER_SHARE)) if file_mib else 0
    pieces = dict(_pieces(tensors, limit))
    files = _packed(pieces, limit)
    cut = {name: list(tensor.shape) for name, tensor in tensors.items() if name not in pieces}
    words = {"format": "pt", "facts": json.dumps(facts), "cut": json.dumps(cut), "files": str(len(files))}
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number, names in enumerate(files, start=1):
        path = unfinished / f"{number:04d}_of_{len(files):04d}.safetensors"
        save_file({name: pieces[name] for name in names}, path, metadata=words)
        _to_disk(path)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)
    _to_disk(folder.parent)


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, on the CPU.

    Raises:
        BadInput: a file is missing or broken.
    """
    tensors: dict[str, Tensor] = {}
    for path in _files(folder):
        read_header(path)
        with safe_open(path, framework="pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    for name, shape in json.loads(read_metadata(_files(folder)[0])["cut"]).items():
        count = sum(piece.startswith(f"{name}@") for piece in tensors)
        tensors[name] = torch.cat([tensors.pop(f"{name}@{number}") for number in range(count)]).reshape(shape)
    return tensors


def read_facts(folder: Path) -> dict[str, Any]:
    """What was written beside the tensors.

    Raises:
        BadInput: no checkpoint.
    """
    facts: dict[str, Any] = json.loads(read_metadata(_files(folder)[0])["facts"])
    return facts


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def checkpoint_name(step: int) -> str:
    """The name of the checkpoint after so many steps."""
    return f"{PREFIX}{step:08d}"


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest checkpoints."""
    for path in checkpoints(folder)[:-count]:
        shutil.rmtree(path)


def _files(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.safetensors"))
    wanted = int(read_metadata(paths[0]).get("files", 0)) if paths else 0
    if not paths or len(paths) != wanted:
        raise BadInput(
            f"{folder}: expected the {wanted or ''} files of a checkpoint, got {len(paths)}; copy all of them, "
            "or remove the folder to go on from an older one"
        )
    return paths


def _pieces(tensors: Mapping[str, Tensor], limit: int) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        whole = tensor.detach().cpu().contiguous()
        if not limit or whole.numel() * whole.element_size() <= limit:
            yield name, whole
            continue
        for number, piece in enumerate(whole.flatten().split(limit // whole.element_size())):
            yield f"{name}@{number}", piece.clone()


def _packed(pieces: Mapping[str, Tensor], limit: int) -> list[list[str]]:
    """Names by file, filled in order."""
    files: list[list[str]] = [[]]
    filled = 0
    for name, piece in pieces.items():
        size = piece.numel() * piece.element_size()
        if limit and files[-1] and filled + size > limit:
            files.append([])
            filled = 0
        files[-1].append(name)
        filled += size
    return files


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
