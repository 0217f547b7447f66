"""What memory that ran out looks like, on a GPU and on the CPU, and what gives some back."""

import gc
import sys

WORDS = ("DefaultCPUAllocator", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def return_memory() -> None:
    """Give back what nothing refers to any more, of what a `gc.freeze()` before has kept too."""
    gc.unfreeze()
    gc.collect()
    torch = sys.modules.get("torch")  # not loaded: nothing of ours is on a GPU
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
