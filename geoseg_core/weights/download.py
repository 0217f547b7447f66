"""Download of registered checkpoints with huggingface_hub's transport.

The hub's own `hf_hub_download` drops what came when it is stopped; here it is kept and continued. Nothing gets its
final name before its size, checksum and header are right.
"""

import os
import re
from pathlib import Path
from typing import Any

from geoseg_core.errors import BadInput, ChecksumMismatch, DownloadFailed, MissingExtra
from geoseg_core.weights.header import read_header
from geoseg_core.weights.registry import Checkpoint
from geoseg_core.weights.store import require_space, sha256_of

try:
    import httpx2
    from filelock import FileLock, Timeout
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers
except ModuleNotFoundError as error:
    raise MissingExtra("the download of weights", "weights") from error


def pull(checkpoint: Checkpoint, target: Path) -> Path:
    """Download a checkpoint to `target` with a progress bar, continuing what an earlier call left.

    Raises:
        BadInput: the hub has another file than the registry, the repository is gated, or the disk is too small.
        ChecksumMismatch: what came is another file; it is not kept.
        DownloadFailed: the hub cannot be reached, or the connection broke.
    """
    url = hf_hub_url(checkpoint.repository, checkpoint.file, revision=checkpoint.revision)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remote = get_hf_file_metadata(url)
        digest = _expected_digest(checkpoint, remote)
        part = target.with_name(f".{target.name}.{(digest or 'unknown')[:16]}.part")
        with FileLock(f"{part}.lock", timeout=0):
            _fetch(url, part, remote.size, checkpoint)
            _check(checkpoint, part, digest)
            os.replace(part, target)
        Path(f"{part}.lock").unlink(missing_ok=True)
    except GatedRepoError as error:
        raise BadInput(
            f"expected access to {checkpoint.repository}, which is gated; accept its terms at "
            f"https://huggingface.co/{checkpoint.repository} and set HF_TOKEN to a token of that account"
        ) from error
    except Timeout as error:
        raise DownloadFailed(f"another process is fetching {checkpoint.name} to {target}; wait for its end") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise DownloadFailed(
            f"expected {url}, got {type(error).__name__}: {str(error).strip()}; "
            "run the same command again, it continues where this one stopped"
        ) from error
    return target


def _expected_digest(checkpoint: Checkpoint, remote: Any) -> str | None:
    """The checksum that the file must have: the registry's, else the one that the hub states for large files."""
    stated = remote.etag if re.fullmatch("[0-9a-f]{64}", remote.etag or "") else None
    pairs = [
        ("sha256", checkpoint.sha256, stated),
        ("size", checkpoint.size_bytes, remote.size),
        ("revision", checkpoint.revision, remote.commit_hash and remote.commit_hash[: len(checkpoint.revision or "")]),
    ]
    for what, ours, theirs in pairs:
        if ours is not None and theirs is not None and ours != theirs:
            raise ChecksumMismatch(
                f"{checkpoint.repository}/{checkpoint.file}: expected {what} {ours}, the hub offers {theirs}; "
                "nothing was fetched; update geoseg or ask where the difference comes from"
            )
    return checkpoint.sha256 or stated


def _fetch(url: str, part: Path, size: int | None, checkpoint: Checkpoint) -> None:
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    if size is not None:
        require_space(part.parent, size - have)
    with part.open("ab") as file:
        http_get(
            url,
            file,
            resume_size=have,
            headers=build_hf_headers(),
            expected_size=size,
            displayed_filename=f"{checkpoint.name}/{checkpoint.file}",
        )


def _check(checkpoint: Checkpoint, part: Path, digest: str | None) -> None:
    """Remove what came unless it is the file."""
    try:
        got = sha256_of(part)
        if digest is not None and got != digest:
            raise ChecksumMismatch(
                f"{checkpoint.repository}/{checkpoint.file}: expected sha256 {digest}, got {got}; "
                "it was not kept; try again, or another network"
            )
        if checkpoint.file.endswith(".safetensors"):
            read_header(part)
    except BadInput:
        part.unlink()
        raise
