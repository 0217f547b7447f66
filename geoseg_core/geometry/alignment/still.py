"""Cameras that stand still: they are told by their images, and their poses are means over time.

What a network predicts of a camera trembles from set to set, and with it everything that is seen; a camera whose
image keeps its edges where they were has not moved.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from geoseg_core.geometry.alignment.similarity import Similarity, angle_deg, nearest_rotation
from geoseg_core.views import FrameSet

WIDTH = 160  # of the small pictures that are compared
EDGE = 24  # grey levels from one small pixel to the next
CHANGED = 10  # grey levels: an edge that moves by half a small pixel changes by more
CHANGED_SHARE = 0.3  # of the edges: things that move before a camera take fewer with them
LEAST_EDGES = 50
MEAN_OVER = 30  # sets
# A pose farther off the mean than this is another place: the prediction was corrected, or tf.
JUMP_DEG, JUMP_SHARE = 3.0, 0.05


class StillCameras:
    """Tells which cameras stand where they stood when their reference picture was taken."""

    def __init__(self) -> None:
        self._pictures: dict[str, np.ndarray] = {}

    def update(self, frames: FrameSet) -> set[str]:
        """The cameras of one more set that have not moved; the others get a new reference."""
        now = {view.camera: small_picture(view.image) for view in frames.views}
        still = {camera for camera, picture in now.items() if is_still(self._pictures.get(camera), picture)}
        self._pictures |= {camera: picture for camera, picture in now.items() if camera not in still}
        return still

    def forget(self, camera: str) -> None:
        self._pictures.pop(camera, None)


def small_picture(image: np.ndarray) -> np.ndarray:
    """Grey (h, w) float32 of an image (H, W, 3), at most WIDTH wide."""
    width = min(WIDTH, image.shape[1])
    size = (width, max(round(image.shape[0] * width / image.shape[1]), 1))
    return cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)


def is_still(before: np.ndarray | None, now: np.ndarray) -> bool:
    """Whether a picture's edges are where they were."""
    if before is None or before.shape != now.shape:
        return False
    across, down = np.abs(np.diff(before, axis=1)), np.abs(np.diff(before, axis=0))
    edges = np.zeros(before.shape, bool)
    edges[:, 1:] |= across > EDGE
    edges[1:] |= down > EDGE
    changed = np.abs(now - before)[edges] > CHANGED
    return len(changed) >= LEAST_EDGES and bool(changed.mean() < CHANGED_SHARE)


@dataclass(frozen=True, eq=False)
class HeldPose:
    """Mean pose (4, 4) of a camera over so many sets."""

    pose: np.ndarray
    sets: int = 1


class HeldPoses:
    """Where each camera is in the world: means for those that stand still, the newest pose for the others."""

    def __init__(self) -> None:
        self._held: dict[str, HeldPose] = {}

    def update(self, camera: str, pose: np.ndarray, is_still: bool, depth_m: float) -> np.ndarray:
        """Take a camera's newest pose, at a median depth; return where it is."""
        held = self._held.get(camera)
        if held is None or not is_still or self._jumped(held.pose, pose, depth_m):
            held = HeldPose(pose)
        else:
            sets = min(held.sets + 1, MEAN_OVER)
            mean = held.pose + (pose - held.pose) / sets
            mean[:3, :3] = nearest_rotation(mean[:3, :3])
            held = HeldPose(mean, sets)
        self._held[camera] = held
        return held.pose

    def known(self, frames: FrameSet, still: set[str]) -> dict[str, np.ndarray]:
        """Poses to tell a new set's world by: those of the cameras that stand still; else that of the last camera in
        the list that was seen before, for the ego camera, which moves, comes first."""
        found = {camera: self._held[camera].pose for camera in frames.cameras if camera in self._held}
        standing = {camera: pose for camera, pose in found.items() if camera in still}
        return standing or dict(list(found.items())[-1:])

    def move(self, moved: Similarity) -> None:
        """The world is another one from now on."""
        self._held = {name: HeldPose(moved.pose(held.pose), held.sets) for name, held in self._held.items()}

    def forget(self, camera: str) -> None:
        self._held.pop(camera, None)

    def _jumped(self, before: np.ndarray, now: np.ndarray, depth_m: float) -> bool:
        turned = angle_deg(before[:3, :3].T @ now[:3, :3])
        return bool(turned > JUMP_DEG or np.linalg.norm((now - before)[:3, 3]) > JUMP_SHARE * depth_m)
