"""A place in space, such as a click in a view of a point cloud, as a click in the camera that sees it."""

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.geometry.camera import inside, project
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.prompts import Prompt

# What a camera sees there may be nearer or farther than the place by this part of its distance.
TOLERANCE = 0.05


def click_at(scene: EncodedScene, place: np.ndarray) -> Prompt:
    """A click on a place (3,) of the scene's world, in the view whose depth there is most like that of the place.

    Raises:
        BadInput: not finite, or in sight of no camera.
    """
    if not np.isfinite(place).all():
        raise BadInput(f"clicked point: expected finite numbers, got {place.tolist()}")
    seen = []
    for view, geometry in zip(scene.frames.views, scene.views, strict=True):
        pixels, depth = project(place[None], geometry.intrinsics, geometry.camera_to_world)
        if inside(pixels, depth, view.size)[0]:
            column, row = np.rint(pixels[0]).astype(int).tolist()
            off = float(abs(geometry.depth_m[row, column] / depth[0] - 1))
            seen.append((off, view.camera, column, row))
    off, camera, column, row = min(seen, default=(np.inf, "", 0, 0))
    if off > TOLERANCE:
        raise BadInput(f"clicked point: expected a place in sight of one of {list(scene.frames.cameras)}, got "
                       f"{place.tolist()}, which none of them sees; click on what the newest set shows")  # fmt: skip
    return Prompt.click(camera, column, row)
