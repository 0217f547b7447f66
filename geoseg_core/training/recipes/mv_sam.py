"""Recipe of MV-SAM at its published size, from single photographs with masks of everything, such as SA-1B.

MV-SAM (2026), section 3.4 and appendix A. SAM 2 and the geometry encoder stay as they are; the decoder learns where one
view's points are in that view's own frame. Since it answers each view by itself, and points are told in the frame of
the mean camera, it needs no more for many views. Sources with several views, such as worlds, do as well.

Departures: points are fewer for some prompts, and some prompts are boxes, since that is how people point; rates and
length of the training are not in the paper, those here are not tuned.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.cross_view.sam2 import Sam2
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.evaluation.geometry_evaluator import images_only
from geoseg_core.geometry.choice import MEASURED, GeometryConfig, load_encoder
from geoseg_core.geometry.tiny.point_map import PointMaps
from geoseg_core.prompting.mv_sam.config import MvSamConfig, sam2_decoder
from geoseg_core.prompting.mv_sam.model import MvSam, SceneEmbedding
from geoseg_core.prompting.mv_sam.sam2_prompter import at_square, check_sizes, scene_embedding, square_maps
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig
from geoseg_core.training.drawn_prompts import PromptDrawsConfig
from geoseg_core.training.prompt_task import PromptRecipe, PromptTask
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import config_metadata

# What a measured view has beside its image, and how a sample calls it.
MEASUREMENTS = {"depth_m": "depth", "intrinsics": "intrinsics", "camera_to_world": "camera_to_world"}


def photographs() -> DataConfig:
    """Photographs at about the size that SAM takes."""
    worlds = WorldsConfig(width=512, height=384, exo_max=3)
    return DataConfig("sa1b", worlds=worlds, reader=ReaderConfig(width=1024, height=768))


@dataclass(frozen=True)
class MvSamRecipe(PromptRecipe):
    """Settings of the recipe."""

    sam: str = setting("facebook/sam2.1-hiera-large", "SAM 2 or EdgeTAM: a folder in the layout of Hugging Face, or a "
                       "model id that its cache holds; nothing is downloaded")  # fmt: skip
    geometry: GeometryConfig = field(default_factory=lambda: GeometryConfig("pi3"))
    model: MvSamConfig = field(default_factory=sam2_decoder)
    data: DataConfig = field(default_factory=photographs)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(learning_rate=1e-4, weight_decay=0.01))
    draws: PromptDrawsConfig = field(default_factory=lambda: PromptDrawsConfig(negatives=1))


class MvSamTask(PromptTask, SourceTask):
    """Trains an MvSam on samples with instance ids.

    Raises:
        BadConfig: a decoder for other embeddings.
        BadInput: weights of SAM or of the geometry encoder that are not here, or do not fit.
    """

    config: MvSamRecipe

    def __init__(self, config: MvSamRecipe) -> None:
        super().__init__(config, config.data, 1)
        self._sam = Sam2.from_pretrained(config.sam)
        check_sizes(config.model, self._sam)
        self._encoder = load_encoder(config.geometry).encoder

    def model(self) -> MvSam:
        """A new decoder."""
        return MvSam(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the network."""
        return config_metadata(self.config.model)

    def decoder(self, model: nn.Module) -> MvSam:
        """The model itself."""
        assert isinstance(model, MvSam)
        return model

    def labels(self, batch: Sample) -> Tensor:
        """At the pixels of SAM's input."""
        return at_square(super().labels(batch), self._sam.side)

    @torch.no_grad()
    def embedding(self, model: nn.Module, batch: Sample) -> SceneEmbedding:
        """What SAM says of the images, and the points of the geometry encoder."""
        device = batch.images.device
        self._sam.model.to(device)
        with torch.autocast(device.type, enabled=False):
            scenes = [self._encoder.encode(each) for each in self._frames(batch)]
        maps = [square_maps(each.views, self._sam.side, device) for each in scenes]
        joined = PointMaps(*(torch.cat(parts) for parts in zip(*(vars(each).values() for each in maps), strict=True)))
        inputs = self._sam.squared(batch.images.flatten(0, 1)).unflatten(0, batch.images.shape[:2])
        return scene_embedding(self._sam, inputs, joined)

    def _frames(self, batch: Sample) -> list[FrameSet]:
        """The views of each sample: images alone, but for the encoder that takes what is measured."""
        found = []
        for number in range(len(batch.images)):
            one: dict[str, Any] = {name: each[number] for name, each in batch.tensors().items()}
            sample = replace(batch, **one)
            frames = images_only(sample)
            if self.config.geometry.encoder == MEASURED:
                given = {name: one[stored].cpu().numpy() for name, stored in MEASUREMENTS.items() if stored in one}
                measured = (
                    replace(view, **{name: each[index] for name, each in given.items()})
                    for index, view in enumerate(frames.views)
                )
                frames = replace(frames, views=tuple(measured))
            found.append(frames)
        return found
