"""Weights averaged over the steps: they see held-out data better than those of the last step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averages:
    """Exponential averages of the trained parameters of a model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.values = {name: value.detach().clone() for name, value in self.trained.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step; while steps are few, the average reaches back less far."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self.trained.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averages for a while."""
        own = {name: value.detach().clone() for name, value in self.trained.items()}
        self._give(self.values)
        try:
            yield
        finally:
            self._give(own)

    @torch.no_grad()
    def _give(self, values: Mapping[str, Tensor]) -> None:
        # In place and counted by autograd, so that tables cached by weight version are made again.
        for name, value in self.trained.items():
            value.copy_(values[name])
