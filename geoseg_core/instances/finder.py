"""The contract of networks that find instances: an encoded scene in, label images that agree in all views out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from geoseg_core.geometry.encoder import EncodedScene

if TYPE_CHECKING:
    from geoseg_core.geometry.network_input import Placement


@dataclass(frozen=True, eq=False)
class FoundThings:
    """K things of one scene, the best score first.

    Attributes:
        labels: per view (H, W) uint16 at the pixels of its image: k + 1 where thing k is, 0 where none is.
        scores: (K,) from 0 to 1.
        looks: (K, D) float32 of length one, what each looks like; alike for the same thing in another set.
        classes: (K,) int64 class ids, as in `Sample.class_ids` of the data that the finder learned from, 0 = none;
            None where it names no classes.
    """

    labels: tuple[np.ndarray, ...]
    scores: np.ndarray
    looks: np.ndarray
    classes: np.ndarray | None = None


class InstanceFinder(Protocol):
    """Something that finds the things of a scene, whatever they are."""

    method: str

    def find(self, scene: EncodedScene) -> FoundThings:
        """The things of all views together; none where nothing is found.

        Raises:
            BadInput: a scene of an encoder that this was not made for.
        """


def ranked_things(
    labels: np.ndarray,
    scores: np.ndarray,
    looks: np.ndarray,
    placements: "Sequence[Placement]",
    classes: np.ndarray | None = None,
) -> FoundThings:
    """Things in labels (V, h, w) of the network's input, from 1, at the pixels of the images: the best score first, and
    without those that have no pixel there.

    Args:
        scores: (K,); looks: (K, D); classes: (K,), if there are any.
    """
    images = [place.nearest_to_source(view) for place, view in zip(placements, labels, strict=True)]
    pixels = sum(np.bincount(image.reshape(-1), minlength=len(scores) + 1) for image in images)
    ranked = np.argsort(-scores, kind="stable")
    ranked = ranked[np.asarray(pixels)[ranked + 1] > 0]
    numbers = np.zeros(len(scores) + 1, np.uint16)
    numbers[ranked + 1] = np.arange(1, len(ranked) + 1)
    named = None if classes is None else classes[ranked]
    return FoundThings(tuple(numbers[image] for image in images), scores[ranked], looks[ranked], named)
