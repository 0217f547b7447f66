"""Memory of this process: how much it takes, what its end looks like, and what gives some back."""

import ctypes
import gc
import sys
from pathlib import Path

WORDS = ("DefaultCPUAllocator", "not enough memory", "out of memory")
MIB = 2**20


def resident_mib() -> float:
    """Main memory that is in use, without what is shared with other processes, such as the middleware's segments."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024


def gpu_mib() -> float:
    """Memory that torch has reserved on the GPU; 0 without one."""
    torch = sys.modules.get("torch")  # not loaded: nothing of ours is on a GPU, and loading it would take seconds
    return torch.cuda.memory_reserved() / MIB if torch is not None and torch.cuda.is_available() else 0.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or the CPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def return_memory() -> None:
    """Give back what nothing refers to any more, of what a `gc.freeze()` before has kept too."""
    gc.unfreeze()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return_freed()


def return_freed() -> None:
    """Give back what was freed, which glibc keeps for what comes next: a set then takes some milliseconds more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def limit_gpu(mib: int, number: int) -> None:
    """Let torch allocate no more than this on a GPU; what is asked for beyond runs out of memory."""
    import torch

    total_mib = torch.cuda.get_device_properties(number).total_memory / MIB
    torch.cuda.set_per_process_memory_fraction(min(mib / total_mib, 1.0), number)
