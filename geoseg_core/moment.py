"""The newest frame set: encoded, and taken apart in 3-D or embedded for prompts when something first asks for that."""

from typing import TYPE_CHECKING

import numpy as np

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.segmenter import Layout, Segmenter

if TYPE_CHECKING:
    from geoseg_core.prompting.mv_sam.asking import PromptableScene
    from geoseg_core.prompting.mv_sam.prompter import Prompter


class Moment:
    """An encoded scene with its layout and its embedding, each of which is made at most once.

    Attributes:
        labels: instance ids (H, W) of each view, where the instance readout ran.
    """

    def __init__(self, scene: EncodedScene, segmenter: Segmenter) -> None:
        self.scene, self._segmenter = scene, segmenter
        self.labels: tuple[np.ndarray, ...] | None = None
        self._layout: Layout | None = None
        self._promptable: PromptableScene | None = None

    @property
    def layout(self) -> Layout:
        """The scene taken apart into things."""
        if self._layout is None:
            self._layout = self._segmenter.update(self.scene)
        return self._layout

    def promptable(self, prompter: "Prompter") -> "PromptableScene":
        """The scene as the network that answers prompts has embedded it."""
        if self._promptable is None:
            self._promptable = prompter.embed(self.scene)
        return self._promptable

    def divide(self, layout: Layout) -> None:
        """Somebody said how the things are divided: that layout holds from now on."""
        self._layout = layout

    def forget_layout(self) -> None:
        """The tracks are others from now on: take the scene apart anew."""
        self._layout = None
