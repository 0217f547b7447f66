"""Pickled checkpoints (.pth, .pt) made into safetensors without trusting them: see sandbox.py."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg_core.errors import BadInput, UnsafeCheckpoint
from geoseg_core.weights import sandbox
from geoseg_core.weights.header import read_header
from geoseg_core.weights.store import require_space, sha256_of

MEMORY_BASE_BYTES = 1024 * 1024 * 1024
MEMORY_PER_BYTE = 3
SECONDS_BASE = 120
BYTES_PER_SECOND = 20_000_000


@dataclass(frozen=True)
class Converted:
    """The safetensors file, its number of tensors, what of the checkpoint is not in it, and how it was read."""

    path: Path
    tensors: int
    left_out: tuple[str, ...]
    barriers: tuple[str, ...]


def convert(source: Path, out: Path | None = None, memory_bytes: int | None = None) -> Converted:
    """Write the named tensors of a pickled checkpoint as safetensors; names stay as they are.

    Args:
        out: the same name with the ending .safetensors if None.
        memory_bytes: limit of the reading process; 1 GiB and three times the file if None.

    Raises:
        UnsafeCheckpoint: the file would run code, or take more memory or time than its size explains.
        BadInput: no checkpoint, or `out` is there already.
    """
    out = out or source.with_suffix(".safetensors")
    if out.exists():
        raise BadInput(f"{out}: expected a new file, it is there already; remove it or name another with --out")
    digest = sha256_of(source)
    size = source.stat().st_size
    temporary = out.with_name(f".{out.name}.part")
    metadata = {"format": "pt", "source": source.name, "source_sha256": digest}
    command = [sys.executable, "-I", sandbox.__file__, str(source.resolve()), str(temporary.resolve())]
    command += [str(memory_bytes or MEMORY_BASE_BYTES + MEMORY_PER_BYTE * size), json.dumps(metadata)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        require_space(out.parent, size)
    except OSError as error:
        raise BadInput(f"{out}: expected a place to write to, got {error}; name another with --out") from error
    try:
        result = _answer(source, command, SECONDS_BASE + size / BYTES_PER_SECOND)
        tensors = read_header(temporary)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return Converted(out, len(tensors), tuple(result["left_out"]), tuple(result["barriers"]))


def _answer(source: Path, command: list[str], seconds: float) -> dict[str, Any]:
    """Run the reading process, without our environment's secrets, and take its word or its refusal."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=kept)
    except subprocess.TimeoutExpired as error:
        raise UnsafeCheckpoint(
            f"{source}: expected a checkpoint that is read within {seconds:.0f} s, it was not; do not use this file"
        ) from error
    lines = ended.stdout.splitlines()
    if ended.returncode != 0 or not lines:
        last = (ended.stderr.strip().splitlines() or ["no word"])[-1][:400]
        memory = "Memory" in last or "memory" in last or "alloc" in last
        kind = UnsafeCheckpoint if memory or ended.returncode < 0 else BadInput
        raise kind(
            f"{source}: expected a checkpoint of named tensors, reading it ended with status {ended.returncode} "
            f"({last}); do not use this file, fetch it again"
        )
    result: dict[str, Any] = json.loads(lines[-1])
    if "refused" in result:
        kind = UnsafeCheckpoint if result["unsafe"] else BadInput
        raise kind(
            f"{source}: expected a checkpoint of named tensors, got {result['refused']}; "
            "take the file from its publisher again, and do not open this one by other means"
        )
    return result
