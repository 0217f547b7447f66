"""What the training runs on: one device with plain torch, or all that `accelerate launch` started a process for."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from geoseg_core.errors import BadConfig, MissingExtra


@dataclass(frozen=True)
class Devices:
    """This process's device and its place among the processes."""

    device: torch.device
    precision: str = "fp32"
    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager:
        """bfloat16 matrix products, where they are asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over the processes, in place."""
        if self.count > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def highest(self, *values: float) -> list[float]:
        """The highest of each value over the processes, the same on all."""
        if self.count == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return shared.tolist()


def find_devices(name: str, precision: str, say: Callable[[str], None]) -> Devices:
    """The device called `name`, the best there is if it is empty; with accelerate, this process's share.

    Raises:
        BadConfig: no such device here.
        MissingExtra: several processes were started, and accelerate is not installed.
    """
    device = _device(name)
    if importlib.util.find_spec("accelerate") is None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise MissingExtra("training on several devices", "train")
        say("accelerate is not installed: plain torch on one device (the extra [train] brings it)")
        return Devices(device, precision)
    from accelerate import PartialState

    state = PartialState(cpu=device.type == "cpu")
    several = state.num_processes > 1
    return Devices(state.device if several else device, precision, state.process_index, state.num_processes)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        wanted = "a device of this machine such as cpu or cuda"
        raise BadConfig(f"--device: expected {wanted}, got {name!r} ({first})") from error
    return device
