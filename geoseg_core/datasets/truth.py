"""Ground truth that goes with frame sets: what each label number stands for, and a set with its labels."""

from dataclasses import dataclass

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.views import FrameSet

ROLES = ("object", "robot", "support", "ignore")


@dataclass(frozen=True)
class TruthObject:
    """What a label number stands for. Only `role` "object" is evaluated; pixels of other roles are left out."""

    id: int
    name: str
    class_name: str
    role: str = "object"

    def __post_init__(self) -> None:
        if not 1 <= self.id <= 65535:
            raise BadInput(f"truth object {self.name!r}: expected an id from 1 to 65535, got {self.id}")
        if self.role not in ROLES:
            raise BadInput(f"truth object {self.name!r}: expected a role of {list(ROLES)}, got {self.role!r}")


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A frame set with its true labels: camera name to (H, W) uint16, pixel = object id, 0 = none.

    `labels` has no entry for a camera whose labels are unknown.
    """

    frames: FrameSet
    labels: dict[str, np.ndarray]
