"""Recipe of IGGT: a VGGT that also gives each pixel a feature which tells instances apart, the same in every view.

Li et al., "IGGT" (2026), sections 3.2 and 3.3: L = L_pose + L_depth + L_points + L_contrast. The contrast is of pixels
drawn from all views of a scene, whose ids are the same in every view; its weights and the two rates of learning are the
paper's (2, 1, margin 1; 1e-5, and 1e-6 for the trunk). `loop.weights` starts from a VGGT, as the paper does, or from an
IGGT. The part head is that of the paper; `model.part_head.fusion=released` and so on make that of the release.

Departure: pixels are drawn so that each thing has the same share of them.
"""

from dataclasses import dataclass, field

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.vggt.model import VggtOutput
from geoseg_core.instances.field.config import IggtConfig, PartHeadConfig
from geoseg_core.instances.field.model import Iggt
from geoseg_core.instances.tiny.model import InstanceField
from geoseg_core.training.config import OptimiserConfig
from geoseg_core.training.instance_metrics import field_figures
from geoseg_core.training.losses.field import ContrastConfig, drawn_contrast, thing_numbers
from geoseg_core.training.losses.instance_truth import instance_truth
from geoseg_core.training.recipes.segvggt import full_size
from geoseg_core.training.recipes.vggt import VggtRecipe, VggtTask
from geoseg_core.training.sources import DataConfig


def iggt_of_the_paper() -> IggtConfig:
    """Without the tracker, which it has not."""
    head = PartHeadConfig(fusion="paper", scrambled=False, normalised=True, unused_channels=())
    return IggtConfig(heads=("camera", "depth", "points"), part_head=head)


@dataclass(frozen=True)
class IggtRecipe(VggtRecipe):
    """Settings of the recipe."""

    model: IggtConfig = field(default_factory=iggt_of_the_paper)
    data: DataConfig = field(default_factory=full_size)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=1e-5, slow=("aggregator.",), slow_rate=0.1)
    )
    contrast: ContrastConfig = field(default_factory=lambda: ContrastConfig(pixels=1024))


class IggtTask(VggtTask):
    """Trains an Iggt on samples with instance ids and what a Vggt needs."""

    config: IggtRecipe
    new = ("part_adaptor.", "part_head.")

    def model(self) -> Iggt:
        """A new model."""
        return Iggt(self.config.model)

    def run(self, model: nn.Module, images: Tensor, queries_px: Tensor, training: bool) -> VggtOutput:
        """What the geometry says, with the token layers that the field reads."""
        assert isinstance(model, Iggt)
        return model(images, heads=self.heads, queries_px=queries_px, keep_layers=sorted(model.layers_of_field()))

    def further_losses(self, model: nn.Module, output: VggtOutput, batch: Sample) -> dict[str, Tensor]:
        """The contrast."""
        truth = instance_truth(batch, (batch.images.shape[-2], batch.images.shape[-1]))
        return {"contrast": drawn_contrast(features_of(model, output), thing_numbers(truth), self.config.contrast)}

    def further_figures(self, model: nn.Module, output: VggtOutput, batch: Sample) -> dict[str, float]:
        """How sure the features tell two pixels of one thing from two of different ones."""
        features = features_of(model, output)
        # It does not say what is on a thing.
        figures = field_figures(InstanceField(features, features.new_ones(features[:, :, 0].shape)), batch)
        return {name: value for name, value in figures.items() if name != "things_iou"}


def features_of(model: nn.Module, output: VggtOutput) -> Tensor:
    """(B, S, C, H, W) of length one."""
    assert isinstance(model, Iggt)
    return F.normalize(model.field(output.tokens), dim=2)
