"""What a network predicts in its input's pixels, as the geometry of the views that it was given."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.network_input import Placement
from geoseg_core.geometry.pointmap import lift
from geoseg_core.views import FrameSet


def view_geometries(
    depth: Tensor,
    confidence: Tensor,
    intrinsics: np.ndarray,
    camera_to_world: np.ndarray,
    frames: FrameSet,
    placements: Sequence[Placement],
    to_world: np.ndarray | None = None,
) -> tuple[ViewGeometry, ...]:
    """Geometry of each view at the pixels of its image.

    Args:
        depth: (V, h, w) along z; confidence the same, in [0, 1].
        intrinsics: (V, 3, 3) pixels of the network's input.
        camera_to_world: (V, 4, 4) in the network's world.
        to_world: (4, 4) from the network's world; by default that of `first_camera_world`.
    """
    if to_world is None:
        to_world = first_camera_world(frames, camera_to_world)
    made = []
    for index, place in enumerate(placements):
        values, seen = place.map_to_source(torch.stack((depth[index].float(), confidence[index].float())))
        depth_m, trust = torch.where(seen, values, 0).cpu().numpy()
        matrix, pose = place.source_intrinsics(intrinsics[index]), to_world @ camera_to_world[index]
        made.append(ViewGeometry(depth_m, trust, matrix, pose, lift(depth_m, matrix, pose)))
    return tuple(made)


def first_camera_world(frames: FrameSet, camera_to_world: np.ndarray) -> np.ndarray:
    """(4, 4) from the network's world, in which the cameras (V, 4, 4) stand, to one in which the first camera has its
    known pose, or whose frame it is where none is known."""
    known = frames.views[0].camera_to_world
    return (np.eye(4) if known is None else known) @ np.linalg.inv(camera_to_world[0])
