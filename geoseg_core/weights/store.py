"""Where weights lie on this machine, and whether a file there is the one that was published."""

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from geoseg_core.errors import BadInput, ChecksumMismatch
from geoseg_core.resources import resource
from geoseg_core.weights.header import read_header, read_metadata
from geoseg_core.weights.registry import CHECKPOINTS, Checkpoint, checkpoint_named, size_words

VARIABLE = "GEOSEG_WEIGHTS"


@dataclass(frozen=True)
class Verified:
    """What was found out of a file; `tensors` is None for a pickle, which is not opened here."""

    path: Path
    sha256: str
    size_bytes: int
    tensors: int | None
    published_as: str | None


def folders() -> list[Path]:
    """Folders that are searched, in order: the one named by GEOSEG_WEIGHTS, then the platform's cache."""
    home = Path.home()
    if sys.platform == "darwin":
        cache = home / "Library" / "Caches"
    elif sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    named = os.environ.get(VARIABLE)
    return [*([Path(named).expanduser()] if named else []), cache / "geoseg" / "weights"]


def shipped_files() -> dict[str, Path]:
    """The weights that come with geoseg, by name; each has a model card beside it."""
    return {path.stem: path for path in sorted(resource("weights").glob("*.safetensors"))}


def download_path(checkpoint: Checkpoint) -> Path:
    """Where a download of it goes: the first of the folders."""
    return folders()[0] / checkpoint.name / checkpoint.file


def stored_files(checkpoint: Checkpoint) -> list[Path]:
    """The files of it that are here, best first: safetensors before the pickle that it was made of."""
    names = dict.fromkeys([Path(checkpoint.file).with_suffix(".safetensors").name, checkpoint.file])
    paths = [folder / checkpoint.name / name for folder in folders() for name in names]
    return [path for path in paths if path.is_file()]


def weights_file(name: str) -> Path:
    """The safetensors file of a registered checkpoint, for a model to load.

    Raises:
        BadInput: no such checkpoint, or it is not here or not yet converted; the message names the command.
    """
    checkpoint = checkpoint_named(name)
    files = stored_files(checkpoint)
    for path in files:
        if path.suffix == ".safetensors":
            return path
    if files:
        raise BadInput(f"expected {name} as safetensors, got {files[0]}; run `geoseg weights convert {files[0]}`")
    raise BadInput(
        f"expected the weights {checkpoint.name} in {' or '.join(map(str, folders()))}, found none; "
        f"run `geoseg weights pull {checkpoint.name}`"
    )


def verify(path: Path, checkpoint: Checkpoint | None = None) -> Verified:
    """Read a whole file: its checksum against what was published, its header if it is safetensors.

    Raises:
        BadInput: it is missing, or its header is broken.
        ChecksumMismatch: it should be `checkpoint` (or made of it by conversion) and is not.
    """
    tensors = len(read_header(path)) if path.suffix == ".safetensors" else None
    digest = sha256_of(path)
    origin = read_metadata(path).get("source_sha256") if tensors is not None else None
    known = {each.sha256: each for each in CHECKPOINTS if each.sha256}
    found = known.get(digest) or known.get(origin or "")
    if checkpoint is not None and checkpoint.sha256 and found is not checkpoint:
        raise ChecksumMismatch(
            f"{path}: expected {checkpoint.name} with sha256 {checkpoint.sha256}, got {origin or digest}; "
            "remove the file and pull it again"
        )
    return Verified(path, digest, path.stat().st_size, tensors, found.name if found else None)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be read, got {error}; name another") from error


def require_space(folder: Path, size_bytes: int) -> None:
    """Make sure that so much can be written to a folder.

    Raises:
        BadInput: it cannot.
    """
    free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise BadInput(
            f"expected {size_words(size_bytes)} of free space in {folder}, got {size_words(free)}; "
            "free some or take another folder (GEOSEG_WEIGHTS, --out)"
        )
