"""Settings of the networks: how each is fed and run. They stand apart, for reading them needs no torch."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geoseg_core.config import setting

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "autocast", "bf16")
# Of the published loader of Pi3.
PIXEL_BUDGET = 255_000


@dataclass(frozen=True)
class InferenceConfig:
    """How a network is run."""

    precision: str = setting(
        "fp32", "type of the numbers: fp32; autocast: products of the trunk in bf16; bf16: wholly", choices=PRECISIONS
    )
    packed: bool = setting(
        False, "whether weights are laid out for bf16 products on a CPU; the model can then not be cast or saved"
    )
    compile: bool = setting(False, "whether transformer blocks are compiled; the first calls then take minutes")
    cuda_graphs: bool = setting(False, "whether the network is replayed as a CUDA graph, one for each input shape")

    @property
    def dtype(self) -> "torch.dtype":
        """The type that the weights get."""
        import torch

        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def trunk_types(self, device: "torch.device") -> AbstractContextManager:
        """The context in which the trunk runs."""
        import torch

        return torch.autocast(device.type, torch.bfloat16) if self.precision == "autocast" else nullcontext()

    def readout_types(self, device: "torch.device") -> AbstractContextManager:
        """The context in which networks with float32 weights run that read what this one says."""
        import torch

        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision != "fp32")


@dataclass(frozen=True)
class VggtEncoderConfig(InferenceConfig):
    """How images are fed to VGGT, and how it is run."""

    side: int = setting(518, "width (crop) or longer side (pad) of the network's input", "px", 14, 2044)
    fit: str = setting("crop", "what is done with other aspects", choices=("crop", "pad"))
    frame_chunk: int = setting(4, "views that a dense head sees at a time; fewer take less memory", "", 1, 1000)
    memory_mib: int = setting(0, "memory for tokens and maps, beside the weights; 0 for no limit", "MiB", 0)


@dataclass(frozen=True)
class Pi3EncoderConfig(InferenceConfig):
    """How images are fed to Pi3, and how it is run."""

    pixels: int = setting(PIXEL_BUDGET, "pixels of the network's input, at most", "px", 196, 4_000_000)
    frame_chunk: int = setting(4, "views that a dense head sees at a time; fewer take less memory", "", 1, 1000)
    memory_mib: int = setting(0, "memory for tokens and maps, beside the weights; 0 for no limit", "MiB", 0)
    conditions: bool = setting(True, "whether Pi3X is told the known depth, intrinsics and poses")
    seen_slope: float = setting(0.02, "a followed point may lie this part of its depth off the surface", "", 0.0, 1.0)


@dataclass(frozen=True)
class TinyEncoderConfig(InferenceConfig):
    """How images are fed to the small network, and how it is run."""

    precision: str = setting(
        "auto",
        "type of the numbers; auto: bf16 where the device multiplies it, else fp32",
        choices=("auto", *PRECISIONS),
    )
    packed: bool = setting(True, "whether weights are laid out for bf16 products where these run on a CPU")
    pixels: int = setting(256 * 192, "pixels of the network's input, at most", "px", 4096, 1_000_000)
    memory_mib: int = setting(
        0, "memory for tokens and maps, those of the instances too, beside the weights; 0 for no limit", "MiB", 0
    )

    def on(self, device: "torch.device") -> "TinyEncoderConfig":
        """The settings with the precision that suits the device, packed only where packing is to be had."""
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if multiplies_bf16(device) else "fp32"
        return replace(self, precision=precision, packed=self.packed and precision == "bf16" and device.type == "cpu")


def multiplies_bf16(device: "torch.device") -> bool:
    """Whether products in bf16 run in the device's own instructions."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
