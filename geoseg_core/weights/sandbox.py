"""Reads one pickled checkpoint and writes its tensors as safetensors, in a process of its own that has little power.

Run by convert.py as `python -I sandbox.py SOURCE OUT MEMORY_BYTES METADATA`; prints one line of JSON. It has no network
(a network namespace where the kernel permits one, and an audit hook in any case), starts no program, writes no file
but OUT, and has a limit of memory. `torch.load(weights_only=True)` is the first barrier, these are the second.
"""

import ctypes
import json
import os
import pickle
import re
import resource
import sys
import zipfile
from pathlib import Path
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
FORBIDDEN = (
    "socket.",
    "subprocess.",
    "shutil.",
    "os.chmod",
    "os.chown",
    "os.exec",
    "os.fork",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
)
# Where training programs put the weights beside the state of the optimiser.
WEIGHTS_KEYS = ("model", "state_dict", "model_state_dict")
OUTPUT_SLACK_BYTES = 16 * 1024 * 1024


class Refused(Exception):
    """What is wrong with the file; `unsafe` where it would run code or take more than its size explains."""

    def __init__(self, words: str, unsafe: bool = False) -> None:
        super().__init__(words)
        self.unsafe = unsafe


def leave_network() -> list[str]:
    """Move this process into an empty network namespace; must come before any thread starts."""
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    done = unshare is not None and unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    return ["a network namespace of its own"] if done else []


def forbid_actions() -> list[str]:
    """Refuse sockets, programs and changes of files from Python code, for the rest of this process."""

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        flags = arguments[2] if event == "open" else 0
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if writes or event.startswith(FORBIDDEN):
            raise PermissionError(f"{event} is forbidden while a checkpoint is read")

    sys.addaudithook(guard)
    return ["an audit hook"]


def limit_memory(extra_bytes: int) -> list[str]:
    """Allow this much address space beyond what is taken already."""
    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # not on Linux
        return []
    resource.setrlimit(resource.RLIMIT_AS, (taken + extra_bytes, taken + extra_bytes))
    return [f"a limit of {extra_bytes // 2**20} MiB"]


def refuse_bombs(source: Path) -> bool:
    """Whether the file is a zip archive (the format of torch since 1.6) that holds no more than its size."""
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Refused("compressed entries, which torch.save never writes", unsafe=True)
    if sum(entry.file_size for entry in entries) > source.stat().st_size:
        raise Refused("entries that claim more bytes than the file has", unsafe=True)
    return True


def named_tensors(loaded: Any, size_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """The named tensors of what was loaded, contiguous and each with memory of its own; and the keys left out."""
    import torch

    def is_state(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and len(value) > 0
            and all(isinstance(key, str) and isinstance(tensor, torch.Tensor) for key, tensor in value.items())
        )

    keys = list(loaded) if isinstance(loaded, dict) else []
    chosen = next((key for key in WEIGHTS_KEYS if key in keys and is_state(loaded[key])), None)
    if chosen is None and not is_state(loaded):
        shown = ", ".join(str(key)[:40] for key in keys[:20]) or type(loaded).__name__
        raise Refused(f"no table of named tensors, neither as a whole nor under {' or '.join(WEIGHTS_KEYS)} ({shown})")
    state = loaded if chosen is None else loaded[chosen]
    odd = [name for name, tensor in state.items() if tensor.layout != torch.strided or tensor.is_quantized]
    if odd:
        raise Refused(f"sparse or quantised tensors ({', '.join(odd[:20])})")
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if total > 2 * size_bytes + OUTPUT_SLACK_BYTES:
        raise Refused(f"tensors of {total} bytes in a file of {size_bytes}", unsafe=True)
    owners: set[int] = set()
    tensors = {}
    for name, tensor in state.items():
        own = tensor.detach().contiguous()
        address = own.untyped_storage().data_ptr()
        tensors[name] = own.clone() if address in owners else own
        owners.add(address)
    return tensors, [str(key)[:40] for key in keys if chosen is not None and key != chosen]


def work(source: Path, out: Path, memory_bytes: int, metadata: dict[str, str]) -> dict[str, Any]:
    """Isolate, load, write; returns what convert.py wants to know."""
    barriers = leave_network()
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    barriers += forbid_actions() + limit_memory(memory_bytes)
    try:
        mapped = refuse_bombs(source)
        loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped or None)
    except PermissionError as error:
        raise Refused(f"a pickle that runs code: {error}", unsafe=True) from error
    except pickle.UnpicklingError as error:
        raise _refused_pickle(str(error)) from error
    except MemoryError as error:
        raise Refused("a demand for more memory than its size explains", unsafe=True) from error
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise Refused(f"{type(error).__name__}: {_one_line(str(error))}", unsafe="memory" in str(error)) from error
    tensors, left_out = named_tensors(loaded, source.stat().st_size)
    save_file(tensors, out, metadata=metadata)
    return {"tensors": len(tensors), "left_out": left_out, "barriers": barriers}


def _refused_pickle(words: str) -> Refused:
    """Why torch refused a pickle, without its advice to load it unsafely."""
    named = re.search(r"(?:GLOBAL|but got) (.+?)(?: whose | was |$)", words, re.MULTILINE)
    if named and re.search("GLOBAL|reduce|allowlisted", words):
        return Refused(f"a pickle that would run code ({_one_line(named.group(1))})", unsafe=True)
    return Refused(f"a broken pickle ({_one_line(words.rpartition('error:')[2].partition('Check the doc')[0])})")


def _one_line(words: str) -> str:
    return " ".join(words.split())[:400]


def main(arguments: list[str]) -> None:
    """Do the work and print its result, also when it is a refusal."""
    source, out, memory_bytes, metadata = arguments
    try:
        result = work(Path(source), Path(out), int(memory_bytes), json.loads(metadata))
    except Refused as refusal:
        result = {"refused": str(refusal), "unsafe": refusal.unsafe}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
