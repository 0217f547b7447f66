"""What answers prompts: a scene is embedded once, then any number of answers come from it. Here on scenes of the small
encoder; sam2_prompter.py answers on those of any encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import torch

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.tiny.point_map import point_maps
from geoseg_core.instances.tiny.finders import tiny_scene
from geoseg_core.instances.tiny.model import InstanceInput
from geoseg_core.prompting.mv_sam.asking import PromptableScene, PromptedMasks, asked
from geoseg_core.prompting.mv_sam.model import MvSam
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam, TinyMvSamConfig
from geoseg_core.prompts import Prompt
from geoseg_core.weights.chosen import stored_config
from geoseg_core.weights.loading import load_checkpoint


class Prompter(Protocol):
    """Prompts in any views of a scene to masks in all of them.

    Attributes:
        decoder: what answers.
    """

    decoder: MvSam

    def embed(self, scene: EncodedScene) -> PromptableScene:
        """All that no prompt changes.

        Raises:
            BadInput: a scene of an encoder that this was not made for.
        """

    def answer(
        self, scene: PromptableScene, prompts: Sequence[Prompt], views: Sequence[int] | None = None
    ) -> PromptedMasks:
        """The one object that the prompts ask for, in all views or, for less time, in some, the prompted ones among
        them."""
        return asked(self.decoder, scene, prompts, views)


class TinyPrompter(Prompter):
    """On the features and points of the small network."""

    def __init__(self, model: TinyMvSam) -> None:
        self.model = model.eval()
        self.decoder = model.decoder

    @classmethod
    def from_weights(cls, weights: Path, device: torch.device | str = "cpu") -> Self:
        """With the weights of a file.

        Raises:
            BadInput: no weights of this network.
        """
        model = TinyMvSam(stored_config(weights, TinyMvSamConfig()))
        load_checkpoint(model, weights, torch.float32)
        return cls(model.to(device))

    @torch.inference_mode()
    def embed(self, scene: EncodedScene) -> PromptableScene:
        """All that no prompt changes.

        Raises:
            BadInput: a scene of another encoder.
        """
        tiny = tiny_scene(scene)
        maps = point_maps(tiny.output, tiny.cameras)
        with tiny.encoder.config.readout_types(tiny.images.device):
            embedding = self.model.embedding(InstanceInput.of(tiny.images, tiny.output), maps)
        return PromptableScene(scene.frames, tiny.placements, self.decoder.prepare(embedding))
