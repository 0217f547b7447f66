"""`geoseg weights`: list, find, fetch, check and convert the published checkpoints."""

import argparse
import sys
from pathlib import Path

from geoseg_core.errors import BadInput, LicenceNotAccepted
from geoseg_core.weights.chosen import licence_of
from geoseg_core.weights.convert import convert
from geoseg_core.weights.registry import CHECKPOINTS, Checkpoint, checkpoint_named, markdown_table, size_words
from geoseg_core.weights.store import Verified, download_path, shipped_files, stored_files, verify

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the five actions."""
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="what is published, under which licence, and what is here")
    listing.add_argument("--markdown", action="store_true", help="the table of docs/weights.md")
    where = actions.add_parser("where", help="print the path of a checkpoint, or where it would be (status 1)")
    where.add_argument("name")
    pull = actions.add_parser("pull", help="download a checkpoint; continues a download that was interrupted")
    pull.add_argument("name")
    pull.add_argument("--accept-licence", action="store_true", help="agree to the licence without being asked")
    check = actions.add_parser("verify", help="compare a file with what was published")
    check.add_argument("what", metavar="NAME|FILE")
    change = actions.add_parser("convert", help="make safetensors of a .pth or .pt, read without trust")
    change.add_argument("file", type=Path)
    change.add_argument("--out", type=Path, help="default: the same name with the ending .safetensors")


def run(arguments: argparse.Namespace) -> int:
    """Do one action.

    Raises:
        BadInput: an unknown name, or a file that is not what it should be.
        LicenceNotAccepted: a download without consent.
        DownloadFailed: the hub cannot be reached.
    """
    if arguments.action == "list":
        print(markdown_table() if arguments.markdown else "\n".join(table()))
        return 0
    if arguments.action == "where":
        return _where(arguments.name)
    if arguments.action == "pull":
        return _pull(checkpoint_named(arguments.name), arguments.accept_licence)
    if arguments.action == "verify":
        return _verify(arguments.what)
    return _convert(arguments.file, arguments.out)


def table() -> list[str]:
    """Lines for each checkpoint: aligned columns, what it serves, its licence."""
    rows = [("name", "here", "size", "file on huggingface.co")]
    notes = []
    for name, path in shipped_files().items():
        rows.append((name, "yes", size_words(path.stat().st_size), "comes with geoseg"))
        notes.append(f"    licence: {licence_of(path)}")
    for checkpoint in CHECKPOINTS:
        here = "yes" if stored_files(checkpoint) else "no"
        source = f"{checkpoint.repository}/{checkpoint.file}"
        rows.append((checkpoint.name, here, size_words(checkpoint.size_bytes), source))
        notes.append(f"    {checkpoint.serves}\n    licence: {checkpoint.licence}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], *(f"{line}\n{note}" for line, note in zip(lines[1:], notes, strict=True))]


def _where(name: str) -> int:
    if name in (shipped := shipped_files()):
        print(shipped[name])
        return 0
    checkpoint = checkpoint_named(name)
    files = stored_files(checkpoint)
    print(files[0] if files else download_path(checkpoint))
    return 0 if files else 1


def _pull(checkpoint: Checkpoint, accepted: bool) -> int:
    from geoseg_core.weights.download import pull

    target = download_path(checkpoint)
    if target.is_file():
        print(_sentence(verify(target, checkpoint)))
        return 0
    print(f"{checkpoint.name} from https://huggingface.co/{checkpoint.repository}\nlicence: {checkpoint.licence}")
    if not (accepted or _agreed()):
        raise LicenceNotAccepted(
            f"expected consent to the licence of {checkpoint.name} ({checkpoint.licence}), got none; "
            "read it at the address above and add --accept-licence"
        )
    try:
        pull(checkpoint, target)
    except KeyboardInterrupt:
        print("interrupted; run the same command again, it continues where this one stopped", file=sys.stderr)
        return INTERRUPTED
    print(_sentence(verify(target, checkpoint)))
    if target.suffix != ".safetensors":
        print(f"models read safetensors: run `geoseg weights convert {target}`")
    return 0


def _agreed() -> bool:
    return sys.stdin.isatty() and input("Do you accept this licence? (yes/no) ").strip().lower() == "yes"


def _verify(what: str) -> int:
    if Path(what).is_file():
        print(_sentence(verify(Path(what))))
        return 0
    checkpoint = checkpoint_named(what)
    files = stored_files(checkpoint)
    if not files:
        raise BadInput(
            f"expected the weights {checkpoint.name} at {download_path(checkpoint)}, found none; "
            f"run `geoseg weights pull {checkpoint.name}`"
        )
    for path in files:
        print(_sentence(verify(path, checkpoint)))
    return 0


def _sentence(found: Verified) -> str:
    published = f"published as {found.published_as}" if found.published_as else "not known to the registry"
    tensors = "" if found.tensors is None else f", {found.tensors} tensors"
    return f"{found.path}: {size_words(found.size_bytes)}{tensors}, sha256 {found.sha256}, {published}"


def _convert(source: Path, out: Path | None) -> int:
    made = convert(source, out)
    left_out = f", without {', '.join(made.left_out)}" if made.left_out else ""
    print(f"{made.path}: {made.tensors} tensors{left_out}; read under {', '.join(made.barriers)}")
    return 0
