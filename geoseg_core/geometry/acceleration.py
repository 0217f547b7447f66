"""How an encoder runs its network: the type of its numbers, compilation, CUDA graphs. The same for every encoder."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from geoseg_core.config import setting

PRECISIONS = ("fp32", "autocast", "bf16")


@dataclass(frozen=True)
class InferenceConfig:
    """How a network is run."""

    precision: str = setting(
        "fp32", "type of the numbers: fp32; autocast: products of the trunk in bf16; bf16: wholly", choices=PRECISIONS
    )

    @property
    def dtype(self) -> torch.dtype:
        """The type that the weights get."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def trunk_types(self, device: torch.device) -> AbstractContextManager:
        """The context in which the trunk runs."""
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "autocast" else nullcontext()
