"""One step of the optimiser: gradients in micro-batches that fit the memory, over all devices, and the update."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import TrainingFailed
from geoseg_core.process_memory import is_out_of_memory, return_memory
from geoseg_core.training.averages import Averages
from geoseg_core.training.devices import Devices
from geoseg_core.training.loader import rows
from geoseg_core.training.optimiser import make_optimiser
from geoseg_core.training.task import Task


@dataclass(frozen=True)
class StepResult:
    """What came of a step: losses by name, the norm of the gradients, and whether the weights moved."""

    losses: dict[str, float]
    gradient_norm: float
    taken: bool


class Stepper:
    """Model, optimiser and averages, moved on by `step`."""

    def __init__(self, task: Task, model: nn.Module, devices: Devices) -> None:
        self.task, self.model, self.devices = task, model, devices
        self.optimiser = make_optimiser(model, task.config.optimiser)
        self.averages = Averages(model, task.config.optimiser.ema_decay)
        self.trained = list(self.averages.trained.values())
        self.micro_batch = task.config.loop.micro_batch or task.config.loop.batch
        self.bad = self.bad_in_a_row = 0

    def step(self, batch: Sample, step: int, rate: float) -> StepResult:
        """Learn from a batch; a loss or gradient that is no number changes nothing and is counted.

        Raises:
            TrainingFailed: too many such steps in a row, or no memory for a single sample.
        """
        losses = self._losses_that_fit(batch, step)
        if self.devices.count > 1:
            losses = self._share(losses)
        clip = self.task.config.optimiser.clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.trained, clip))
        taken = math.isfinite(norm) and math.isfinite(losses["total"])
        if taken:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            self.optimiser.step()
            self.averages.update(step)
        self._count(taken, step, losses)
        self.optimiser.zero_grad(set_to_none=True)
        return StepResult(losses, norm, taken)

    def _losses_that_fit(self, batch: Sample, step: int) -> dict[str, float]:
        while True:
            losses: dict[str, float] = {}
            try:
                losses = self._gradients(batch, step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if self.devices.highest(float(not losses))[0] == 0:
                return losses
            self._halve(len(batch.images))

    def _gradients(self, batch: Sample, step: int) -> dict[str, float]:
        """This device's part of the losses; its part of the gradients is in the parameters."""
        self.optimiser.zero_grad(set_to_none=True)
        loop, devices, count = self.task.config.loop, self.devices, len(batch.images)
        torch.manual_seed(((loop.seed * 1_000_003 + step) * 4_099 + devices.rank) % 2**63)
        sums: dict[str, torch.Tensor] = {}
        for start in range(0, count, self.micro_batch):
            part = rows(batch, start, start + self.micro_batch)
            share = len(part.images) / (count * devices.count)
            with devices.autocast():
                losses = self.task.loss(self.model, part, step)
            (losses["total"] * share).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double() * share
        return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))

    def _share(self, losses: dict[str, float]) -> dict[str, float]:
        """Add up losses and gradients over all devices."""
        for value in self.trained:
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        self.devices.add([value.grad for value in self.trained if value.grad is not None])
        sums = torch.tensor(list(losses.values()), dtype=torch.float64, device=self.devices.device)
        self.devices.add([sums])
        return dict(zip(losses, sums.tolist(), strict=True))

    def _halve(self, count: int) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        return_memory()
        size = min(self.micro_batch, count)
        if size == 1:
            raise TrainingFailed(
                "expected memory for one sample at a time, there is not enough; take fewer views, smaller images or a "
                "smaller model"
            )
        self.micro_batch = -(-size // 2)

    def _count(self, taken: bool, step: int, losses: dict[str, float]) -> None:
        self.bad_in_a_row = 0 if taken else self.bad_in_a_row + 1
        self.bad += not taken
        limit = self.task.config.loop.bad_steps
        if self.bad_in_a_row >= limit:
            raise TrainingFailed(
                f"expected finite losses and gradients, got none in {limit} steps up to step {step} (losses {losses}); "
                "lower optimiser.learning_rate, or look at the data of these steps"
            )
