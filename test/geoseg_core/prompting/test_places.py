"""Places in space as clicks in the cameras that see them, on scenes with measured depth."""

import numpy as np
import pytest
from scenes import iou, render_set, tabletop

from geoseg_core.errors import BadInput
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.pipeline import PipelineConfig, ScenePipeline
from geoseg_core.prompting.places import TOLERANCE, click_at
from geoseg_core.views import FrameSet, View

FRAMES, LABELS = render_set(tabletop())
# Ball 3 of the scene: its centre and radius.
CENTRE, RADIUS = np.array([0.2, -0.08, 0.045]), 0.045


def test_a_place_on_a_thing_gives_the_thing() -> None:
    pipeline = ScenePipeline(PipelineConfig())
    with pytest.raises(BadInput, match="none yet"):
        pipeline.click_at(CENTRE)
    pipeline.process(FRAMES)
    answer = pipeline.segment(pipeline.click_at(CENTRE + [0, 0, RADIUS]))
    for view, truth in zip(answer.views, LABELS, strict=True):
        assert iou(view.masks[0].mask, truth == 3) > 0.9


def flat(camera: str, depth_m: float, right_m: float = 0.0) -> View:
    """A camera that looks along z at a wall."""
    intrinsics, pose = np.array([[50.0, 0, 20], [0, 50.0, 15], [0, 0, 1]]), np.eye(4)
    pose[0, 3] = right_m
    image = np.zeros((30, 40, 3), np.uint8)
    return View(camera, image, 0, intrinsics, pose, np.full((30, 40), depth_m, np.float32))


def test_the_camera_whose_depth_is_most_like_that_of_the_place_is_clicked() -> None:
    scene = RgbdEncoder().encode(FrameSet((flat("ego", 2.04), flat("exo", 2.01, right_m=0.4))))
    # Columns 20 + 50 * 0.2 / 2 and 20 + 50 * (0.2 - 0.4) / 2, rows 15 + 50 * 0.12 / 2.
    prompt = click_at(scene, np.array([0.2, 0.12, 2.0]))
    assert prompt.camera == "exo" and prompt.points_px.tolist() == [[15.0, 18.0]] and prompt.positive.tolist() == [True]
    # Out of the image of the exo camera: column 20 + 50 * (-0.6 - 0.4) / 2.
    assert click_at(scene, np.array([-0.6, 0.0, 2.0])).camera == "ego"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ([0.0, 0.0, 1.0], "which none of them sees"),  # before the wall
        ([0.0, 0.0, 2.0 / (1 - 1.1 * TOLERANCE)], "which none of them sees"),  # behind it
        ([0.0, 0.0, -2.0], "which none of them sees"),  # behind the camera
        ([9.0, 0.0, 2.0], "in sight of one of \\['ego'\\]"),
        ([np.nan, 0.0, 2.0], "finite"),
        ([0.0, np.inf, 2.0], "finite"),
    ],
)
def test_a_place_that_no_camera_sees_is_refused(place: list[float], words: str) -> None:
    scene = RgbdEncoder().encode(FrameSet((flat("ego", 2.0),)))
    with pytest.raises(BadInput, match=words):
        click_at(scene, np.array(place))


def test_a_place_where_no_depth_is_known_is_refused() -> None:
    view = flat("ego", 2.0)
    view.depth_m[10:20, 15:25] = 0
    scene = RgbdEncoder().encode(FrameSet((view,)))
    with pytest.raises(BadInput, match="which none of them sees"):
        click_at(scene, np.array([0.0, 0.0, 2.0]))
    assert click_at(scene, np.array([-0.5, 0.0, 2.0])).points_px.tolist() == [[8.0, 15.0]]
