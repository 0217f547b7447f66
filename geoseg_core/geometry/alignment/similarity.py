"""Similarities (scale, rotation, translation) of 3-D space, and the one that brings points onto points.

Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991). The scale is the
ratio of the spreads (Horn 1987) in place of Umeyama's regression: noise on either side does not shrink it, and it
does not depend on the rotation.
"""

from dataclasses import dataclass

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.shapes import check_shape

# Spreads below this part of the coordinates are rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * rotation (3, 3) @ x + translation (3,)."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) moved, in their own type."""
        matrix = (self.scale * self.rotation).astype(points.dtype)
        return points @ matrix.T + self.translation.astype(points.dtype)

    def pose(self, camera_to_world: np.ndarray) -> np.ndarray:
        """A rigid pose (..., 4, 4) in the moved world: the camera turns and goes, but keeps its size."""
        moved = np.array(camera_to_world, np.float64)
        moved[..., :3, :3] = self.rotation @ moved[..., :3, :3]
        moved[..., :3, 3] = self.apply(moved[..., :3, 3])
        return moved

    def view(self, view: ViewGeometry) -> ViewGeometry:
        """A view's geometry in the moved world."""
        depth_m = view.depth_m * np.float32(self.scale)
        pose = self.pose(view.camera_to_world)
        return ViewGeometry(depth_m, view.confidence, view.intrinsics, pose, lift(depth_m, view.intrinsics, pose))

    def after(self, first: "Similarity") -> "Similarity":
        """`first`, then this one."""
        translation = self.apply(np.asarray(first.translation, np.float64))
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, translation)

    def inverse(self) -> "Similarity":
        back = self.rotation.T / self.scale
        return Similarity(1 / self.scale, self.rotation.T, -back @ self.translation)


def fit_points(start: np.ndarray, goal: np.ndarray, with_scale: bool = True) -> Similarity:
    """The similarity (without scale: the rigid motion) that brings points (N, 3) nearest to points (N, 3).

    Raises:
        BadInput: other shapes, or points on one line, which leave the rotation open.
    """
    sizes = check_shape(start, "N 3", "start")
    check_shape(goal, f"{sizes['N']} 3", "goal")
    from_centre, to_centre = start.mean(0), goal.mean(0)
    spreads = (np.linalg.norm(start - from_centre), np.linalg.norm(goal - to_centre))
    directions = np.linalg.svd(start - from_centre, compute_uv=False)
    if len(directions) < 2 or directions[1] <= ROUNDING * max(np.abs(start).max(), 1.0) or spreads[1] == 0:
        raise BadInput(f"similarity: expected points that span a plane, got {sizes['N']} on one line or at one place")
    rotation = nearest_rotation((goal - to_centre).T @ (start - from_centre))
    scale = float(spreads[1] / spreads[0]) if with_scale else 1.0
    return Similarity(scale, rotation, to_centre - scale * rotation @ from_centre)


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) with the largest trace(rotation.T @ matrix)."""
    left, _, right = np.linalg.svd(matrix)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    return left @ flip @ right


def angle_deg(rotation: np.ndarray) -> np.ndarray:
    """Angle (...) in degrees of rotations (..., 3, 3)."""
    trace = np.trace(rotation, axis1=-2, axis2=-1)
    # By the sine too: the cosine alone loses small angles to rounding.
    sine = np.linalg.norm(rotation - np.swapaxes(rotation, -1, -2), axis=(-2, -1)) / np.sqrt(8)
    return np.degrees(np.arctan2(sine, (trace - 1) / 2))
