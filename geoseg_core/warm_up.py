"""The first set costs several times as much as the others (libraries load, threads start): spend that beforehand."""

import numpy as np

from geoseg_core.errors import GeosegError
from geoseg_core.pipeline import ScenePipeline
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet, View

SIZE = (96, 128)


def warm_up(pipeline: ScenePipeline) -> None:
    """Run two made sets and a prompt through a pipeline that is not used afterwards: its ids are spent."""
    for stamp_ns in (1, 100_000_001):
        pipeline.process(_block_on_a_table(stamp_ns))
    try:
        pipeline.track_object(Prompt("left", np.array([[64.0, 48.0]]), np.array([True])))
        pipeline.process(_block_on_a_table(200_000_001))
    except GeosegError:
        return  # no prompts among its tasks, or nothing seen in so poor a picture: it is warm all the same


def _block_on_a_table(stamp_ns: int) -> FrameSet:
    """Two cameras that look straight down from 1 m on a block of 20 cm x 20 cm x 10 cm."""
    height, width = SIZE
    depth_m = np.ones(SIZE, np.float32)
    depth_m[38:58, 54:74] = 0.9
    image = np.full((*SIZE, 3), 90, np.uint8)
    image[38:58, 54:74] = (200, 60, 40)
    intrinsics = np.array([[100.0, 0, width / 2], [0, 100.0, height / 2], [0, 0, 1]])
    camera_to_world = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 1]])
    names = ("left", "right")
    return FrameSet(tuple(View(name, image, stamp_ns, intrinsics, camera_to_world, depth_m) for name in names))
