"""Small functions of many steps, run as one kernel where a compiler is wanted and works."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_COMPILED: ContextVar[bool] = ContextVar("compiled", default=False)


def fused(function: Callable[P, R]) -> Callable[P, R]:
    """Let torch compile a function, while `compiling` says so. It must not depend on values of its tensors."""
    made: list[Callable[P, R]] = []

    @functools.wraps(function)
    def call(*arguments: P.args, **names: P.kwargs) -> R:
        if not _COMPILED.get():
            return function(*arguments, **names)
        if not made:
            made.append(torch.compile(function, dynamic=True))
        return made[0](*arguments, **names)

    return call


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Inside, fused functions are compiled if that is wanted."""
    token = _COMPILED.set(wanted)
    try:
        yield
    finally:
        _COMPILED.reset(token)


@functools.lru_cache(maxsize=8)
def can_compile(device: str) -> bool:
    """Whether torch can compile for a device; if not, a warning says why, and everything runs step by step."""
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    probe = torch.compile(lambda value: (value * 2 + 1).sqrt(), dynamic=True)
    try:
        probe(torch.ones(7, device=device))
    except TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"worlds: expected a compiler for {device}, got {reason}; going on without, slower", stacklevel=3)
        return False
    return True
