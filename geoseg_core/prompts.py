"""Prompt: how a user points at one object in one view."""

from dataclasses import dataclass, field

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.shapes import check_shape
from geoseg_core.views import FrameSet

MAX_POINTS = 1024
TEXT_NEEDS_VOCABULARY = (
    "a text prompt needs a vocabulary model: install the extra [vocabulary] and set instances.vocabulary.model, or "
    "prompt with points, a box or a mask"
)


@dataclass(frozen=True, eq=False)
class Prompt:
    """Points, a box or a mask in the pixels of one camera's image; kinds may be combined. A text stands alone.

    Attributes:
        camera: name of the view that was prompted.
        points_px: (N, 2) float (u right, v down), pixel centres at integers.
        positive: (N,) bool, True = on the object, False = not on it.
        box_px: (4,) float (u_min, v_min, u_max, v_max), or None.
        mask: (H, W) bool of the image's size, or None.
        text: a word or phrase for an instance in any view, "" for none (needs a vocabulary model).
    """

    camera: str
    points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    positive: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    box_px: np.ndarray | None = None
    mask: np.ndarray | None = None
    text: str = ""

    @classmethod
    def click(cls, camera: str, u: float, v: float) -> "Prompt":
        """One positive point at column `u`, row `v` of a camera's image."""
        return cls(camera, points_px=np.array([[u, v]], float), positive=np.ones(1, bool))

    @property
    def has_mask(self) -> bool:
        """Whether a mask of at least one pixel was given."""
        return self.mask is not None and bool(self.mask.any())

    @property
    def is_points_alone(self) -> bool:
        """Whether it points, and says nothing of the extent."""
        return len(self.points_px) > 0 and self.box_px is None and not self.has_mask and not self.text

    @property
    def says_where(self) -> bool:
        """Whether it shows a part of the object, not only what does not belong to it."""
        return bool(self.positive.any()) or self.box_px is not None or self.has_mask

    def check(self, frames: FrameSet) -> None:
        """Refuse a prompt that says nothing, lies outside its view or contradicts itself.

        Raises:
            BadInput: with what was expected and what came.
        """
        self.check_places(frames)
        if not (self.says_where or self.text.strip()):
            raise BadInput("prompt: expected a positive point, a box, a mask or a text, got none")

    def check_places(self, frames: FrameSet) -> None:
        """Refuse a prompt that lies outside its view or contradicts itself.

        Raises:
            BadInput: with what was expected and what came.
        """
        height, width = frames.views[frames.index(self.camera)].size
        count = check_shape(self.points_px, "N 2", "prompt points")["N"]
        check_shape(self.positive, str(count), "prompt point labels")
        if count > MAX_POINTS:
            raise BadInput(f"prompt points: expected at most {MAX_POINTS}, got {count}")
        if self.box_px is not None:
            check_shape(self.box_px, "4", "prompt box")
        corners = np.concatenate([self.points_px.ravel(), np.zeros(0) if self.box_px is None else self.box_px])
        pairs = corners.reshape(-1, 2)
        outside = pairs[~((pairs >= -0.5) & (pairs <= [width - 0.5, height - 0.5])).all(axis=1)]  # not finite, too
        if len(outside):
            raise BadInput(
                f"prompt: expected pixels inside {width}x{height} of {self.camera!r}, got {outside[:3].tolist()}"
            )
        if self.box_px is not None and not (self.box_px[:2] < self.box_px[2:]).all():
            raise BadInput(f"prompt box: expected u_min < u_max and v_min < v_max, got {self.box_px.tolist()}")
        if self.mask is not None and self.mask.shape != (height, width):
            raise BadInput(f"prompt mask: expected the image's size {(height, width)}, got {self.mask.shape}")
        pixels, positive = np.rint(self.points_px).astype(np.int64), np.asarray(self.positive, bool)
        on, beside = ({tuple(each) for each in pixels[positive == kind].tolist()} for kind in (True, False))
        if both := sorted(on & beside):
            raise BadInput(
                f"prompt points in {self.camera!r}: expected pixels on the object or beside it, got {both[:3]} as "
                "both; take one of them back"
            )
