"""A training of a second: depth as the brightness of an image, learned by two convolutions.

As a program it is `geoseg train` with this recipe added: python test/small_task.py train brightness ...
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core import cli
from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample, collate
from geoseg_core.training import registry
from geoseg_core.training.config import LoopConfig, OptimiserConfig, ScheduleConfig, TrainingConfig
from geoseg_core.training.registry import Recipe
from geoseg_core.training.task import Task


@dataclass(frozen=True)
class BrightnessData:
    """What the images are like, and how slow they come."""

    side: int = setting(8, "side of an image", "px", 2)
    delay_s: float = setting(0.0, "a batch takes so long", "s", 0.0)
    broken_from: int = setting(1_000_000, "from this step on, images are no numbers", low=0)
    ended_at: int = setting(1_000_000, "this step gets a SIGTERM", low=0)
    memory_for: int = setting(1_000_000, "more samples at a time than these do not fit", low=0)


@dataclass(frozen=True)
class BrightnessRecipe(TrainingConfig):
    """Settings of the recipe."""

    data: BrightnessData = field(default_factory=BrightnessData)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(learning_rate=0.02))
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(steps=30))
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            batch=4, workers=0, picture_every=10, evaluate_every=10, evaluate_samples=6, final_samples=6
        )
    )


class BrightnessTask(Task):
    """The contract, kept in the shortest way; its loss draws random numbers as a real one may."""

    config: BrightnessRecipe

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 1, 1))

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        data = self.config.data
        time.sleep(data.delay_s)
        samples = []
        for seed in seeds:
            images = torch.rand(2, 3, data.side, data.side, generator=torch.Generator().manual_seed(seed))
            samples.append(Sample(images, depth=1 + images.mean(dim=1)))
        batch = collate(samples)
        if step == data.ended_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if step >= data.broken_from:
            batch.images.fill_(torch.nan)
        return batch.to(device)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        if len(batch.images) > self.config.data.memory_for:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        depth = self._depth(model, batch)
        l1 = (depth - batch.depth).abs().mean()
        noise = torch.rand(()) * depth.square().mean() * 0.01
        return {"total": l1 + noise, "l1": l1}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        return {"error": float((self._depth(model, batch) - batch.depth).abs().mean()), "unknown": float("nan")}

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        grey = self._depth(model, batch)[0, 0].float().numpy()
        return np.repeat((grey.clip(0, 2) * 127).astype(np.uint8)[..., None], 3, axis=2)

    @staticmethod
    def _depth(model: nn.Module, batch: Sample) -> Tensor:
        return model(batch.images.flatten(0, 1)).float().unflatten(0, batch.images.shape[:2])[:, :, 0]


RECIPE = Recipe("brightness", "depth as brightness", "small_task", "BrightnessTask", "BrightnessRecipe")

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    torch.set_num_threads(1)
    registry.RECIPES += (RECIPE,)
    sys.exit(cli.main(sys.argv[1:]))
