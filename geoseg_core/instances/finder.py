"""The contract of networks that find instances: an encoded scene in, label images that agree in all views out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geoseg_core.geometry.encoder import EncodedScene


@dataclass(frozen=True, eq=False)
class FoundThings:
    """K things of one scene, the best score first.

    Attributes:
        labels: per view (H, W) uint16 at the pixels of its image: k + 1 where thing k is, 0 where none is.
        scores: (K,) from 0 to 1.
        looks: (K, D) float32 of length one, what each looks like; alike for the same thing in another set.
    """

    labels: tuple[np.ndarray, ...]
    scores: np.ndarray
    looks: np.ndarray


class InstanceFinder(Protocol):
    """Something that finds the things of a scene, whatever they are."""

    method: str

    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together; none where nothing is found.

        Raises:
            BadInput: a scene of an encoder that this was not made for.
        """
