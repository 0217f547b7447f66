"""Recipe of the instance network on the small geometry network: things of all views together, whatever they are.

Object queries (SegVGGT, 2026, sections 3.3 and 3.4) and an instance field (IGGT, 2026) learn at once, on procedural
worlds; the network that is read stays as it is.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.decoding import FoundInstances, found_instances
from geoseg_core.instances.queries.model import QueryOutput
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.model import InstanceField, InstanceInput, TinyInstances
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.instance_metrics import field_figures, instance_figures
from geoseg_core.training.label_pictures import found_rows
from geoseg_core.training.losses.field import FieldLossConfig, field_losses
from geoseg_core.training.losses.instance_truth import instance_truth
from geoseg_core.training.losses.instances import InstanceLossConfig, instance_losses
from geoseg_core.training.seen import ReuseConfig, SeenSample
from geoseg_core.training.seen_task import SeenTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import config_metadata


@dataclass(frozen=True)
class TinyInstancesRecipe(TrainingConfig):
    """Settings of the recipe."""

    encoder: str = setting("tiny", "weights of the small network: a name of `geoseg weights list`, or a file")
    model: TinyInstancesConfig = field(default_factory=TinyInstancesConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(easiest=0.0, worlds=WorldsConfig(width=192, height=144, exo_max=3))
    )
    reuse: ReuseConfig = field(default_factory=ReuseConfig)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=5e-4, weight_decay=0.02, ema_decay=0.998)
    )
    loss: InstanceLossConfig = field(default_factory=InstanceLossConfig)
    field_loss: FieldLossConfig = field(default_factory=FieldLossConfig)
    decoding: QueryDecodingConfig = field(default_factory=QueryDecodingConfig)


class TinyInstancesTask(SeenTask):
    """Trains TinyInstances on samples with instance ids.

    Raises:
        BadConfig: a network that is not of the sizes of the one that it reads.
    """

    config: TinyInstancesRecipe

    def __init__(self, config: TinyInstancesRecipe) -> None:
        super().__init__(config, config.data, config.reuse, config.encoder)
        queries = config.model.queries
        if queries.classes != 1:
            raise BadConfig(f"model.queries.classes: expected 1, things being all alike here, got {queries.classes}")
        sizes = self._encoder.config
        wanted = (sizes.width, sizes.aggregator.depth, sizes.coarse, sizes.fused[0])
        got = (queries.token_width, config.model.layers, config.model.coarse, config.model.fused)
        if queries.token_layers != (layers := config.model.layers + 1):
            raise BadConfig(
                f"model.queries.token_layers: expected {layers}, those of the network and the trunk, got "
                f"{queries.token_layers}"
            )
        if got != wanted:
            raise BadConfig(
                f"model: expected token width, token layers, coarse and fused channels of the network "
                f"{config.encoder!r}, {wanted}, got {got}; set them"
            )

    def model(self) -> TinyInstances:
        """A new model; its convolutions are quicker on CPUs with the channels last."""
        return TinyInstances(self.config.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def stored(self) -> dict[str, str]:
        """The sizes of the network."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Losses of the queries' classes, masks and attention, and of the field."""
        assert isinstance(batch, SeenSample)
        queries, instance_field = model(batch.given, shares=True, cells=self.config.loss.points)
        return self.losses_of(queries, instance_field, batch)

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Of the queries: mean of the best overlap with each thing, and AP at an overlap of one half. Of the field: how
        sure its features tell two pixels of one thing from two of different ones, and the overlap of what is on things.
        """
        assert isinstance(batch, SeenSample)
        queries, instance_field = model(batch.given)
        return self.figures_of(queries, instance_field, batch)

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views with the true things, and with those that were found."""
        assert isinstance(batch, SeenSample)
        return found_rows(batch, self.found(model.queries(batch.given), batch))  # type: ignore[operator]

    def losses_of(self, queries: QueryOutput, instance_field: InstanceField, batch: Sample) -> dict[str, Tensor]:
        """The losses of what both say, and "total"."""
        with torch.autocast(batch.images.device.type, enabled=False):
            truth = instance_truth(batch, queries.size, self.config.loss.least_px)
            parts = instance_losses(queries, truth, self.config.loss)
            of_field = field_losses(instance_field, truth, self.config.field_loss)
            return parts | of_field | {"total": parts["total"] + of_field["total"]}

    def figures_of(self, queries: QueryOutput, instance_field: InstanceField, batch: Sample) -> dict[str, float]:
        """The figures of what both say."""
        found = instance_figures(self.found(queries, batch), batch, self.config.loss.least_px)
        return found | field_figures(instance_field, batch)

    def found(self, queries: QueryOutput, batch: Sample) -> list[FoundInstances]:
        """The instances in each scene, with masks of the size of the images."""
        return found_instances(queries, (batch.images.shape[-2], batch.images.shape[-1]), self.config.decoding)

    def seen(self, batch: Sample) -> SeenSample:
        """A batch with what the network says of it."""
        return SeenSample.of(batch, InstanceInput.of(batch.images, self.looked_at(batch)))
