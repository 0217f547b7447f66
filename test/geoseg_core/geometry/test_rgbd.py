"""The encoder 'rgbd': what it takes, what it leaves out, what it answers."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import render_set, tabletop

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.geometry.rgbd import RgbdEncoder
from geoseg_core.results import ScaleStatus
from geoseg_core.views import FrameSet

FRAMES, LABELS = render_set(tabletop())


def test_every_measured_pixel_becomes_a_point_and_the_scale_is_locked() -> None:
    scene = RgbdEncoder().encode(FRAMES)
    for view, frame in zip(scene.views, FRAMES.views, strict=True):
        known = frame.depth_m > 0
        assert np.isfinite(view.points[known]).all() and np.isnan(view.points[~known]).all()
        assert (view.confidence[known] > 0).all() and (view.confidence[~known] == 0).all()
    assert scene.scale.status is ScaleStatus.LOCKED and scene.scale.source == "depth_camera"


def test_the_top_of_a_box_is_followed_into_the_other_views() -> None:
    scene = RgbdEncoder().encode(FRAMES)
    rows, columns = np.nonzero(LABELS[0] == 5)
    points_px = np.stack([columns, rows], 1)[::20]
    tracks = scene.track(points_px, 0, [0, 1, 2])
    np.testing.assert_allclose(tracks.points_px[0], points_px, atol=0.05)
    assert tracks.visible[0].all()
    for target in (1, 2):
        seen = np.rint(tracks.points_px[target][tracks.visible[target]]).astype(int)
        assert len(seen) > 3 and (LABELS[target][seen[:, 1], seen[:, 0]] == 5).mean() > 0.9
        assert (tracks.confidence[target] > 0).tolist() == tracks.visible[target].tolist()


def test_a_point_outside_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="inside 320x240"):
        RgbdEncoder().encode(FRAMES).track(np.array([[400.0, 3]]), 0, [1])


def test_it_has_no_features() -> None:
    with pytest.raises(GeosegError, match="learned encoder"):
        RgbdEncoder().encode(FRAMES).features((1,))


@pytest.mark.parametrize("lack", ["depth_m", "intrinsics", "camera_to_world"])
def test_a_view_that_lacks_something_is_left_out_and_named(lack: str) -> None:
    views = (FRAMES.views[0], replace(FRAMES.views[1], **{lack: None}), FRAMES.views[2])
    scene = RgbdEncoder().encode(FrameSet(views, ("exo_back",)))
    assert scene.frames.cameras == ("ego", "exo_right")
    assert scene.frames.missing == ("exo_back", "exo_left")


def test_a_set_without_any_depth_is_refused_with_the_reason() -> None:
    views = tuple(replace(view, depth_m=None) for view in FRAMES.views)
    with pytest.raises(BadInput, match="exo_left.*no depth"):
        RgbdEncoder().encode(FrameSet(views))


def test_a_single_camera_needs_no_pose_and_is_the_world_itself() -> None:
    view = replace(FRAMES.views[0], camera_to_world=None)
    scene = RgbdEncoder().encode(FrameSet((view,)))
    known = view.depth_m > 0
    np.testing.assert_allclose(scene.views[0].points[known, 2], view.depth_m[known], rtol=1e-6)


def test_depth_of_nothing_but_zeros_gives_no_points() -> None:
    view = replace(FRAMES.views[0], depth_m=np.zeros((240, 320), np.float32))
    assert np.isnan(RgbdEncoder().encode(FrameSet((view,))).views[0].points).all()
