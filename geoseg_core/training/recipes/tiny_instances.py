"""Recipe of the query decoder on the small network: things of all views together, whatever they are.

SegVGGT (2026), sections 3.3 and 3.4, on procedural worlds; the network that is read stays as it is.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.geometry.tiny.model import PATCH, TinyOutput
from geoseg_core.instances.queries.config import QueryConfig, QueryDecodingConfig
from geoseg_core.instances.queries.decoding import FoundInstances, found_instances
from geoseg_core.instances.queries.model import QueryDecoder
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.frozen import frozen_encoder
from geoseg_core.training.instance_metrics import instance_figures
from geoseg_core.training.label_pictures import label_rows
from geoseg_core.training.losses.instance_truth import instance_truth
from geoseg_core.training.losses.instances import InstanceLossConfig, instance_losses
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import config_metadata


@dataclass(frozen=True)
class TinyInstancesRecipe(TrainingConfig):
    """Settings of the recipe."""

    encoder: str = setting("tiny", "weights of the small network: a name of `geoseg weights list`, or a file")
    model: QueryConfig = field(default_factory=QueryConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(easiest=0.0, worlds=WorldsConfig(width=192, height=144, exo_max=3))
    )
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=5e-4, weight_decay=0.02, ema_decay=0.998)
    )
    loss: InstanceLossConfig = field(default_factory=InstanceLossConfig)
    decoding: QueryDecodingConfig = field(default_factory=QueryDecodingConfig)


class TinyInstancesTask(SourceTask):
    """Trains a QueryDecoder on samples with instance ids.

    Raises:
        BadConfig: a decoder that is not of the sizes of the network.
    """

    config: TinyInstancesRecipe

    def __init__(self, config: TinyInstancesRecipe) -> None:
        super().__init__(config, config.data, PATCH)
        if config.model.classes != 1:
            raise BadConfig(
                f"model.classes: expected 1, all things being of one class here, got {config.model.classes}"
            )
        self._encoder = frozen_encoder(config.encoder)
        sizes, model = self._encoder.config, config.model
        wanted = {
            "token_width": sizes.width,
            "token_layers": sizes.aggregator.depth,
            "map_width": sizes.coarse + sizes.fused[0],
        }
        got = {name: getattr(model, name) for name in wanted}
        if got != wanted:
            raise BadConfig(
                f"model: expected the sizes of the network {config.encoder!r}, {wanted}, got {got}; set them"
            )

    def model(self) -> QueryDecoder:
        """A new model."""
        return QueryDecoder(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the decoder."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Losses of the classes, of the masks and of the attention's spread over the views."""
        encoded = self.encoded(batch.images)
        output = model(encoded.tokens, encoded.maps, shares=True)
        with torch.autocast(batch.images.device.type, enabled=False):
            size = (encoded.maps.shape[-2], encoded.maps.shape[-1])
            truth = instance_truth(batch, size, self.config.loss.least_px)
            return instance_losses(output, truth, self.config.loss)

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Mean of the best overlap with each thing, and AP at an overlap of one half."""
        return instance_figures(self.found(model, batch.images), batch, self.config.loss.least_px)

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views with the true things, and with those that were found."""
        assert batch.instance_ids is not None
        found = torch.stack([each.labels for each in self.found(model, batch.images)])
        things = torch.where(batch.instance_ids <= batch.last_thing, batch.instance_ids, 0)
        return label_rows(batch.images, things, found)

    def found(self, model: nn.Module, images: Tensor) -> list[FoundInstances]:
        """The instances in each scene of images (B, V, 3, H, W), with masks of their size."""
        encoded = self.encoded(images)
        size = (images.shape[-2], images.shape[-1])
        return found_instances(model(encoded.tokens, encoded.maps), size, self.config.decoding)

    @torch.no_grad()
    def encoded(self, images: Tensor) -> TinyOutput:
        """What the network says of views (B, V, 3, H, W)."""
        output: TinyOutput = self._encoder.to(images.device)(images, self.config.model.layers)
        return output
