"""The last sets with what was found in them, so that a correction can go back to where an object went wrong."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from geoseg_core.cross_view.carrier import Found
from geoseg_core.cross_view.union_head.looks import MatchedScene


@dataclass(frozen=True, eq=False)
class PastSet:
    """A set that was seen: its scene, without depth, and the mask (H, W) of each object in each view as the network saw
    it."""

    scene: MatchedScene
    seen: Mapping[int, Sequence[np.ndarray]]


class History:
    """The newest sets, at most so many; 0 keeps none."""

    def __init__(self, sets: int) -> None:
        self._sets: deque[PastSet] = deque(maxlen=sets)

    def add(self, scene: MatchedScene, found: Mapping[int, Sequence[Found]]) -> None:
        """A set becomes the newest one."""
        slim: Any = scene
        masks = {number: [each.seen for each in views] for number, views in found.items()}
        self._sets.append(PastSet(cast(MatchedScene, replace(slim, views=())), masks))

    def backwards(self, object_id: int) -> Iterator[PastSet]:
        """The sets in which an object was followed, newest first."""
        return (past for past in reversed(self._sets) if object_id in past.seen)

    def clear(self) -> None:
        self._sets.clear()
