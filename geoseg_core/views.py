"""View: one camera at one instant. FrameSet: several views at (about) one instant."""

from dataclasses import dataclass

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.shapes import check_shape


@dataclass(frozen=True, eq=False)
class View:
    """What one camera saw at one instant.

    Attributes:
        camera: name of the camera, unique in its set ("ego", "exo_left").
        image: (H, W, 3) uint8 RGB.
        stamp_ns: time of exposure in nanoseconds.
        intrinsics: (3, 3) float64 pinhole matrix in pixels of `image`; None if not calibrated.
        camera_to_world: (4, 4) float64, optical frame (x right, y down, z forward) to world, metres.
        depth_m: (H, W) float32 distance along z in metres, registered to `image`; 0 where there is none.
        frame_id: name of the optical frame.
    """

    camera: str
    image: np.ndarray
    stamp_ns: int = 0
    intrinsics: np.ndarray | None = None
    camera_to_world: np.ndarray | None = None
    depth_m: np.ndarray | None = None
    frame_id: str = ""

    def __post_init__(self) -> None:
        name = f"view {self.camera!r}"
        sizes = check_shape(self.image, "H W 3", f"{name} image")
        if self.image.dtype != np.uint8:
            raise BadInput(f"{name} image: expected uint8, got {self.image.dtype}")
        if self.intrinsics is not None:
            check_shape(self.intrinsics, "3 3", f"{name} intrinsics")
        if self.camera_to_world is not None:
            check_shape(self.camera_to_world, "4 4", f"{name} camera_to_world")
        if self.depth_m is not None and self.depth_m.shape != (sizes["H"], sizes["W"]):
            raise BadInput(
                f"{name} depth_m: expected the image's size {(sizes['H'], sizes['W'])}, got "
                f"{self.depth_m.shape}; register depth to the colour image"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Views of (about) one instant, in the order of the configured cameras, ego first.

    Attributes:
        views: the views that took part, at least one.
        missing: names of the configured cameras that took no part.
    """

    views: tuple[View, ...]
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.views:
            raise BadInput("a frame set: expected at least one view, got none")
        if len(set(self.cameras)) != len(self.cameras):
            raise BadInput(f"a frame set: expected each camera once, got {list(self.cameras)}")

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(view.camera for view in self.views)

    @property
    def stamp_ns(self) -> int:
        """The newest stamp among the views."""
        return max(view.stamp_ns for view in self.views)

    def index(self, camera: str) -> int:
        """Position of a camera's view.

        Raises:
            BadInput: the camera took no part in this set.
        """
        if camera not in self.cameras:
            raise BadInput(f"expected a camera of this set (one of {list(self.cameras)}), got {camera!r}")
        return self.cameras.index(camera)
