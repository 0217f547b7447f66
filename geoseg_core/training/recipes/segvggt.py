"""Recipe of SegVGGT: object queries on VGGT, geometry and instances learned together.

"SegVGGT" (2026), sections 3.3, 3.4 and appendix 0.A.4. `loop.weights` starts from a VGGT; with `teacher.weights`, the
same file as a rule, its depth and cameras are what the geometry learns from, so that it does not follow the noise of a
dataset. As in the paper the image backbone stays as it is, frame and global attention are adapted with rank 32
(`lora`), what is new learns at the full rate and what VGGT already had at a part of it. Released are merged weights.

Departures: the numbers of the rates and of the losses' weights are lost in the published text, those here are not
tuned.
"""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.vggt.model import VggtOutput
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.decoding import FoundInstances, found_instances
from geoseg_core.instances.queries.model import QueryOutput
from geoseg_core.instances.queries.segvggt import NEW, SegVggt, SegVggtConfig, SegVggtOutput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig
from geoseg_core.training.instance_metrics import instance_figures
from geoseg_core.training.label_pictures import found_rows
from geoseg_core.training.lora import LoraConfig, adapt, merged_state
from geoseg_core.training.losses.instance_truth import instance_truth
from geoseg_core.training.losses.instances import InstanceLossConfig, instance_losses
from geoseg_core.training.recipes.vggt import VggtRecipe, VggtTask
from geoseg_core.training.sources import DataConfig

BLOCKS = ("aggregator.frame_blocks", "aggregator.global_blocks")


def full_size() -> DataConfig:
    """Data at the size that VGGT is made for."""
    return DataConfig(worlds=WorldsConfig(width=518, height=392), reader=ReaderConfig(width=518, height=392))


def new_at_full_rate() -> OptimiserConfig:
    """The image backbone stays; what VGGT already had learns slowly."""
    slow = ("aggregator.", "camera_head.", "depth_head.")
    return OptimiserConfig(learning_rate=1e-4, frozen=("aggregator.patch_embed.",), slow=slow)


@dataclass(frozen=True)
class SegVggtRecipe(VggtRecipe):
    """Settings of the recipe."""

    model: SegVggtConfig = field(default_factory=SegVggtConfig)
    data: DataConfig = field(default_factory=full_size)
    optimiser: OptimiserConfig = field(default_factory=new_at_full_rate)
    lora: LoraConfig = field(default_factory=LoraConfig)
    instances: InstanceLossConfig = field(default_factory=lambda: InstanceLossConfig(deep=0.0))
    decoding: QueryDecodingConfig = field(default_factory=QueryDecodingConfig)


class SegVggtTask(VggtTask):
    """Trains a SegVggt on samples with instance ids, class ids where there is more than one, and what a Vggt needs."""

    config: SegVggtRecipe
    new = NEW

    def model(self) -> SegVggt:
        """A new model, its attention adapted."""
        model = SegVggt(self.config.model)
        adapt(model, BLOCKS, self.config.lora)
        return model

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        """What was learned beside the adapted layers is added to them."""
        return {name: value.contiguous() for name, value in merged_state(model).items()}

    def run(self, model: nn.Module, images: Tensor, queries_px: Tensor, training: bool) -> SegVggtOutput:
        """What geometry and queries say, in training with the attention's shares of the views."""
        weights = self.config.instances
        said = {"shares": True, "steps": weights.deep > 0, "cells": weights.points} if training else {}
        output: SegVggtOutput = model(images, heads=self.heads, queries_px=queries_px, **said)
        return output

    def further_losses(self, model: nn.Module, output: VggtOutput, batch: Sample) -> dict[str, Tensor]:
        """Of the queries' classes, masks and attention."""
        queries, weights = said_by_queries(output), self.config.instances
        truth = instance_truth(batch, queries.size, weights.least_px, self.config.model.queries.classes)
        parts = instance_losses(queries, truth, weights)
        return {name: value for name, value in parts.items() if name != "total"}

    def further_figures(self, model: nn.Module, output: VggtOutput, batch: Sample) -> dict[str, float]:
        """Mean of the best overlap with each thing, and AP at an overlap of one half."""
        return instance_figures(self.found(output, batch), batch, self.config.instances.least_px)

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each scene: the views with the true things, and with those that were found."""
        return found_rows(batch, self.found(model(batch.images, heads=()), batch))

    def found(self, output: VggtOutput, batch: Sample) -> list[FoundInstances]:
        """The instances in each scene, with masks of the size of the images."""
        size = (batch.images.shape[-2], batch.images.shape[-1])
        return found_instances(said_by_queries(output), size, self.config.decoding)


def said_by_queries(output: VggtOutput) -> QueryOutput:
    """Its object queries' part."""
    assert isinstance(output, SegVggtOutput) and output.queries is not None
    return output.queries
