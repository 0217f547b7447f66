"""Recipe of the instance network together with the small geometry network below it, whose attention is adapted.

As SegVGGT (2026) trains geometry and instances at once. Frame and global attention of the geometry network are adapted
(`lora`) and learn from the losses of the instances and from those of recipe `tiny`, which keep its geometry; all else
of it stays. With `lora.rank` 0 it stays as a whole, on the same scenes with the same figures: what adapting it gains is
the difference of the two. `abs_rel_before` is the network's error of depth before any adaptation.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry, TinyOutput
from geoseg_core.instances.queries.model import QueryOutput
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.model import InstanceField, InstanceInput, TinyInstances
from geoseg_core.training.label_pictures import found_rows
from geoseg_core.training.lora import LoraConfig, adapt, merged_state
from geoseg_core.training.recipes.tiny import TinyLossConfig, geometry_figures, geometry_losses
from geoseg_core.training.recipes.tiny_instances import TinyInstancesRecipe, TinyInstancesTask
from geoseg_core.training.source_task import SourceTask
from geoseg_core.weights.chosen import config_metadata

BLOCKS = ("aggregator.frame_blocks", "aggregator.global_blocks")


@dataclass(frozen=True)
class JointConfig:
    """Sizes of both networks."""

    encoder: TinyConfig = field(default_factory=TinyConfig)
    instances: TinyInstancesConfig = field(default_factory=TinyInstancesConfig)


class JointNetwork(nn.Module):
    """Images (B, V, 3, H, W) -> what geometry, queries and field say."""

    def __init__(self, encoder: TinyGeometry, instances: TinyInstances) -> None:
        super().__init__()
        self.encoder, self.instances = encoder, instances

    def forward(
        self, images: Tensor, shares: bool = False, cells: int = 0
    ) -> tuple[TinyOutput, QueryOutput, InstanceField]:
        output = self.encoder(images, range(self.encoder.config.aggregator.depth))
        queries, instance_field = self.instances(InstanceInput.of(images, output), shares, cells)
        return output, queries, instance_field


@dataclass(frozen=True)
class TinyJointRecipe(TinyInstancesRecipe):
    """Settings of the recipe; scenes are never used again, since what the network says of them changes."""

    lora: LoraConfig = field(default_factory=LoraConfig)
    geometry: TinyLossConfig = field(default_factory=TinyLossConfig)


class TinyJointTask(TinyInstancesTask):
    """Trains a JointNetwork on samples with instance ids, depth, intrinsics and poses."""

    config: TinyJointRecipe

    def model(self) -> JointNetwork:  # type: ignore[override]
        """A new instance network on the geometry network of the settings, adapted."""
        encoder = deepcopy(self._encoder)
        adapt(encoder, BLOCKS, self.config.lora)
        return JointNetwork(encoder, super().model())

    def stored(self) -> dict[str, str]:
        """The sizes of both networks."""
        return config_metadata(JointConfig(self._encoder.config, self.config.model))

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        """Both networks (`encoder.`, `instances.`); what was learned beside the adapted layers is added to them."""
        return {name: value.contiguous() for name, value in merged_state(model).items()}

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """New scenes."""
        return SourceTask.batch(self, step, seeds, device)

    def held_out(self, seeds: Sequence[int], device: torch.device) -> Sample:
        """The same views however long the training is."""
        return SourceTask.held_out(self, seeds, device)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Losses of the instances and, where the geometry network is adapted, of the geometry."""
        output, queries, instance_field = model(batch.images, shares=True, cells=self.config.loss.points)
        parts = self.losses_of(queries, instance_field, batch)
        if not self.config.lora.rank:
            return parts
        of_geometry = geometry_losses(output, batch, self.config.geometry)
        return parts | of_geometry | {"total": parts["total"] + torch.stack(list(of_geometry.values())).sum()}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Those of recipe `tiny-instances`, those of recipe `tiny`, and the error of depth before the adaptation."""
        output, queries, instance_field = model(batch.images)
        before = geometry_figures(self._encoder.to(batch.images.device)(batch.images), batch, self.config.geometry.near)
        return {
            **self.figures_of(queries, instance_field, batch),
            **geometry_figures(output, batch, self.config.geometry.near),
            "abs_rel_before": before["abs_rel"],
        }

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views with the true things, and with those that were found."""
        return found_rows(batch, self.found(model(batch.images)[1], batch))
