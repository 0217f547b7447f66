"""Recipe of MV-SAM on the small geometry network: prompts in any views to masks in all views.

The geometry network stays as it is; its points are those that it finds, with their errors. The features begin as those
of the instance network.
"""

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.point_map import PointMaps, scenes_point_maps
from geoseg_core.instances.tiny.model import InstanceInput
from geoseg_core.prompting.mv_sam.model import MvSam, SceneEmbedding
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam, TinyMvSamConfig
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig
from geoseg_core.training.prompt_task import PromptRecipe, PromptTask
from geoseg_core.training.seen import ReuseConfig, SeenSample
from geoseg_core.training.seen_task import SeenTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import choose_weights, config_metadata
from geoseg_core.weights.loading import load_checkpoint


@dataclass(frozen=True)
class TinyMvSamRecipe(PromptRecipe):
    """Settings of the recipe."""

    encoder: str = setting("tiny", "weights of the small network: a name of `geoseg weights list`, or a file")
    features: str = setting("tiny-instances", "weights of the instance network whose features are the first ones; "
                            "empty: random ones")  # fmt: skip
    model: TinyMvSamConfig = field(default_factory=TinyMvSamConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(easiest=0.0, worlds=WorldsConfig(width=256, height=192, exo_max=3))
    )
    reuse: ReuseConfig = field(default_factory=ReuseConfig)
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(
            learning_rate=5e-4, weight_decay=0.02, ema_decay=0.998, slow=("features.",), slow_rate=0.2
        )
    )


@dataclass(frozen=True, eq=False)
class PointedSample(SeenSample):
    """A batch with what the network says of it, and the points of all views (see `PointMaps`)."""

    points: Tensor | None = None
    confidence: Tensor | None = None
    projections: Tensor | None = None

    @property
    def maps(self) -> PointMaps:
        """The points."""
        return PointMaps(*(getattr(self, name).float() for name in POINTS))

    def tensors(self) -> dict[str, Tensor]:
        """All that is known, by name."""
        return super().tensors() | {name: getattr(self, name) for name in POINTS}


POINTS = tuple(each.name for each in fields(PointMaps))


class TinyMvSamTask(PromptTask, SeenTask):
    """Trains TinyMvSam on samples with instance ids."""

    config: TinyMvSamRecipe

    def __init__(self, config: TinyMvSamRecipe) -> None:
        super().__init__(config, config.data, config.reuse, config.encoder)

    def model(self) -> TinyMvSam:
        """A new decoder on the features of the settings."""
        model = TinyMvSam(self.config.model)
        if self.config.features:
            path = choose_weights(self.config.features).path
            load_checkpoint(model.features, path, torch.float32, unused=("decoder.",))
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def stored(self) -> dict[str, str]:
        """The sizes of the network."""
        return config_metadata(self.config.model)

    def decoder(self, model: nn.Module) -> MvSam:
        """That of a TinyMvSam."""
        assert isinstance(model, TinyMvSam)
        return model.decoder

    def embedding(self, model: nn.Module, batch: Sample) -> SceneEmbedding:
        """Features, and the points that the network finds."""
        assert isinstance(model, TinyMvSam) and isinstance(batch, PointedSample)
        return model.embedding(batch.given, batch.maps)

    def seen(self, batch: Sample) -> PointedSample:
        """A batch with what the network says of it."""
        output = self.looked_at(batch)
        seen = SeenSample.of(batch, InstanceInput.of(batch.images, output))
        return PointedSample(**vars(seen), **vars(scenes_point_maps(output)))
