"""A task whose samples come from the source that its settings name."""

from collections.abc import Sequence

import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.sources import DataConfig, Source, make_source
from geoseg_core.training.task import Task


class SourceTask(Task):
    """Args of its constructor: the recipe's settings, those of its data, the patch that divides the images' sides."""

    def __init__(self, config: TrainingConfig, data: DataConfig, patch: int) -> None:
        super().__init__(config)
        self.source: Source = make_source(data, patch)
        self.data_on_device = self.source.on_device

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """Views of the data source."""
        return self.source.batch(step, seeds, device)

    def held_out(self, seeds: Sequence[int], device: torch.device) -> Sample:
        """The same views however long the training is."""
        return self.source.batch(0, seeds, device)
