"""How an encoder runs its network: the type of its numbers, compilation, CUDA graphs. The same for every encoder.

What a machine cannot do is not done: a line in the log names what was asked for, why it is not to be had, and what
runs instead.
"""

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from geoseg_core.geometry.inference import InferenceConfig
from geoseg_core.layers.attention import Block, Remember, Rotary
from geoseg_core.layers.packed import check_packing, pack

# Runs before a capture: allocations, tables of positions and compilation happen there.
WARM_UPS = 3
# Each captured shape holds the memory of one run.
KEPT_GRAPHS = 4

Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass
class Compilation:
    """Whether the compiler has served a model so far."""

    working: bool = True


class CompiledForward:
    """The forward of a block, compiled; as it is once the compiler has failed, and where a memory takes part."""

    def __init__(self, eager: Callable[..., Tensor], compilation: Compilation) -> None:
        self.eager, self.compilation = eager, compilation
        self.compiled: Callable[..., Tensor] | None = None

    def __call__(self, x: Tensor, rotary: Rotary | None = None, remember: Remember | None = None) -> Tensor:
        if not self.compilation.working or remember is not None:
            return self.eager(x, rotary, remember)
        try:
            self.compiled = self.compiled or torch.compile(self.eager)
            return self.compiled(x, rotary)
        except RuntimeError as error:
            found = self.eager(x, rotary)  # raises again what was no fault of the compiler
            self.compilation.working = False
            reason = first_line(error)
            log.warning("asked for compiled blocks, but torch.compile failed (%s); they run as they are", reason)
            return found


class GraphReplay:
    """A function of one CUDA tensor, captured once for each shape and replayed; results are copies.

    The function must not wait for the device, and what it does beside its tensors happens at the capture only.
    """

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        self.function = function
        self._captured: dict[tuple, tuple[Tensor, torch.cuda.CUDAGraph, Any]] = {}
        self._working = True

    def __call__(self, inputs: Tensor) -> Any:
        key = (tuple(inputs.shape), inputs.dtype, inputs.device)
        if self._working and key not in self._captured:
            self._try_capture(key, inputs)
        if not self._working:
            return self.function(inputs)
        static, graph, result = self._captured[key]
        static.copy_(inputs)
        graph.replay()
        return deepcopy(result)

    def _try_capture(self, key: tuple, inputs: Tensor) -> None:
        if len(self._captured) == KEPT_GRAPHS:
            self._captured.clear()
        try:
            self._captured[key] = self._capture(inputs.clone())
        except RuntimeError as error:
            self._working = False
            reason = first_line(error)
            log.warning("asked for CUDA graphs, but the capture failed (%s); the network runs without", reason)

    def _capture(self, static: Tensor) -> tuple[Tensor, torch.cuda.CUDAGraph, Any]:
        with torch.cuda.device(static.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self.function(static)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = self.function(static)
        return static, graph, result


def prepared(model: Any, config: InferenceConfig) -> Any:
    """The model with weights of the configured type and, where asked for, compiled blocks or packed weights."""
    model.to_reduced(config.dtype)
    if config.compile:
        compilation = Compilation()
        for block in model.modules():
            if isinstance(block, Block) and not isinstance(block.forward, CompiledForward):
                block.forward = CompiledForward(block.forward, compilation)  # type: ignore[method-assign]
    if config.packed:
        _try_packing(model, config)
    return model


def _try_packing(model: Any, config: InferenceConfig) -> None:
    device = next(model.parameters()).device
    try:
        if config.precision != "bf16" or config.compile or device.type != "cpu":
            raise RuntimeError(f"it needs bf16 on a CPU without compilation, not {config.precision} on {device}")
        check_packing()
    except (RuntimeError, AttributeError) as error:  # AttributeError: a PyTorch without these products
        log.warning("asked for packed weights, but %s; they stay as they are", first_line(error))
    else:
        pack(model)


def first_line(error: Exception) -> str:
    """The beginning of an error's message."""
    return str(error).strip().partition("\n")[0]


def graphed(
    function: Callable[[Tensor], Result], config: InferenceConfig, device: torch.device
) -> Callable[[Tensor], Result]:
    """The function as CUDA graphs where they are asked for and the device has them, else as it is."""
    if not config.cuda_graphs:
        return function
    if device.type != "cuda":
        log.warning("asked for CUDA graphs, but the network is on %s; it runs without", device)
        return function
    return GraphReplay(function)
