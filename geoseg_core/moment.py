"""The newest frame set: encoded, and taken apart in 3-D when something first asks for that."""

import numpy as np

from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances.segmenter import Layout, Segmenter


class Moment:
    """An encoded scene with its layout, which is made at most once.

    Attributes:
        labels: instance ids (H, W) of each view, where the instance readout ran.
    """

    def __init__(self, scene: EncodedScene, segmenter: Segmenter) -> None:
        self.scene, self._segmenter = scene, segmenter
        self.labels: tuple[np.ndarray, ...] | None = None
        self._layout: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The scene taken apart into things."""
        if self._layout is None:
            self._layout = self._segmenter.update(self.scene)
        return self._layout

    def divide(self, layout: Layout) -> None:
        """Somebody said how the things are divided: that layout holds from now on."""
        self._layout = layout

    def forget_layout(self) -> None:
        """The tracks are others from now on: take the scene apart anew."""
        self._layout = None
