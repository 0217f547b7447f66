"""A task on top of the small geometry network as it is: what that says of a batch is made once, used several times."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.model import PATCH, TinyOutput
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.frozen import frozen_encoder
from geoseg_core.training.seen import ReuseConfig, Reused, SeenSample
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig


class SeenTask(SourceTask):
    """Args of its constructor: the recipe's settings, those of its data and its reuse, the weights of the network."""

    def __init__(self, config: TrainingConfig, data: DataConfig, reuse: ReuseConfig, encoder: str) -> None:
        super().__init__(config, data, PATCH)
        self._encoder = frozen_encoder(encoder)
        self._reuse = reuse
        self._reused: Reused | None = None

    @abstractmethod
    def seen(self, batch: Sample) -> SeenSample:
        """A batch with what is taken of the network's output."""

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """New scenes with what the network says of them, or earlier ones again."""
        if self._reused is None:
            self._reused = Reused(partial(self._made, device), self._reuse, self.config.loop.batch)
        return self._reused(step, seeds)

    def held_out(self, seeds: Sequence[int], device: torch.device) -> Sample:
        """The same views however long the training is."""
        return self.seen(super().held_out(seeds, device))

    @torch.no_grad()
    def looked_at(self, batch: Sample) -> TinyOutput:
        """What the network says of a batch, with all its token layers."""
        device = batch.images.device
        with torch.autocast(device.type, torch.bfloat16, self.config.loop.precision == "bf16"):
            output: TinyOutput = self._encoder.to(device)(batch.images, range(self._encoder.config.aggregator.depth))
        return output

    def _made(self, device: torch.device, step: int, seeds: Sequence[int]) -> SeenSample:
        return self.seen(super().batch(step, seeds, device))
