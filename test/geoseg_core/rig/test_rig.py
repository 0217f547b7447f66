"""The simulated workplace: what it says about itself must agree with what it shows."""

import subprocess
import sys

import numpy as np
import pytest

from geoseg_core.errors import MissingExtra

pytest.importorskip("mujoco", reason="the extra [sim] is not installed")
from geoseg_core.rig import Rig, scene  # noqa: E402
from geoseg_core.rig.motion import Obstacle, arm_poses  # noqa: E402
from geoseg_core.rig.rendering import gl_backend  # noqa: E402

SIZE = {"width": 320, "height": 240}


@pytest.fixture(scope="module")
def software_gl() -> None:
    try:
        gl_backend()
    except MissingExtra as error:
        pytest.skip(str(error))


def project(points, camera_to_world, intrinsics):
    """Pixels (N, 2) and depths (N,) of world points (N, 3)."""
    inverse = np.linalg.inv(camera_to_world)
    local = points @ inverse[:3, :3].T + inverse[:3, 3]
    pixels = local @ intrinsics.T
    return pixels[:, :2] / pixels[:, 2:], local[:, 2]


def lift(view, rows, columns):
    """World points (N, 3) of pixels with depth."""
    depth = view.depth_m[rows, columns].astype(float)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=1) @ np.linalg.inv(view.intrinsics).T
    return (rays * depth[:, None]) @ view.camera_to_world[:3, :3].T + view.camera_to_world[:3, 3]


@pytest.mark.parametrize("seed", [0, 3, 8, 21])
def test_nothing_falls_from_the_table_and_some_things_are_pushed(seed):
    rig = Rig(seed)
    ids = [each.id for each in rig.objects if each.role == "object"]
    before = np.array([rig.object_to_world(each)[:2, 3] for each in ids])
    rig.step(20.0)
    after = np.array([rig.object_to_world(each)[:3, 3] for each in ids])
    assert 8 <= len(ids) <= 12
    assert (after[:, 2] > scene.TABLE_TOP_M).all()
    assert (np.abs(after[:, :2]) < scene.TABLE_HALF_M).all()
    assert (np.linalg.norm(after[:, :2] - before, axis=1) > 0.04).sum() >= 2


def test_object_table_names_every_label_once():
    rig = Rig(8)
    assert [each.id for each in rig.objects] == list(range(1, len(rig.objects) + 1))
    assert len({each.name for each in rig.objects}) == len(rig.objects)
    assert [each.role for each in rig.objects[-2:]] == ["robot", "support"]


def test_same_seed_gives_the_same_pictures_and_another_seed_does_not(software_gl):
    def pictures(seed):
        with Rig(seed, **SIZE) as rig:
            rig.step(1.3)
            return rig.render()

    first, again, other = pictures(5), pictures(5), pictures(6)
    for one, two, three in zip(first.frames.views, again.frames.views, other.frames.views, strict=True):
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.depth_m, two.depth_m)
        assert np.array_equal(one.camera_to_world, two.camera_to_world)
        assert np.array_equal(first.labels[one.camera], again.labels[one.camera])
        assert not np.array_equal(one.image, three.image)


def test_centre_of_a_thing_projects_onto_its_own_label(software_gl):
    with Rig(8, **SIZE) as rig:
        rig.step(0.5)
        labelled = rig.render()
        inside = 0
        for view in labelled.frames.views:
            for thing in (each for each in rig.objects if each.class_name in ("can", "ball", "fruit", "block", "box")):
                centre = rig.object_to_world(thing.id)[None, :3, 3]
                (pixel,), (depth,) = project(centre, view.camera_to_world, view.intrinsics)
                column, row = np.round(pixel).astype(int)
                seen = 0 <= column < 320 and 0 <= row < 240 and labelled.labels[view.camera][row, column]
                if seen == thing.id:
                    inside += 1
                    # the surface is before the centre, by no more than the thing's size
                    assert 0 < depth - view.depth_m[row, column] < 0.15
    assert inside >= 6


def test_table_top_is_where_depth_and_pose_say(software_gl):
    with Rig(8, **SIZE) as rig:
        labelled = rig.render()
        table = next(each.id for each in rig.objects if each.role == "support")
    for view in labelled.frames.views:
        points = lift(view, *np.nonzero(labelled.labels[view.camera] == table))
        # legs and rims are lower; nothing of the table is higher
        assert np.median(points[:, 2]) == pytest.approx(scene.TABLE_TOP_M, abs=1e-4)
        assert points[:, 2].max() < scene.TABLE_TOP_M + 1e-3


def test_views_agree_where_one_is_reprojected_into_the_other(software_gl):
    with Rig(8, **SIZE) as rig:
        rig.step(2.0)
        labelled = rig.render()
    source, target = labelled.frames.views[:2]
    rows, columns = np.nonzero(labelled.labels[source.camera] > 0)
    pixels, depth = project(lift(source, rows, columns), target.camera_to_world, target.intrinsics)
    nearest = np.round(pixels).astype(int)
    within = (nearest >= 0).all(1) & (nearest < [320, 240]).all(1)
    column, row = nearest[within].T
    visible = np.abs(target.depth_m[row, column] - depth[within]) < 0.004
    same = labelled.labels[target.camera][row, column] == labelled.labels[source.camera][rows, columns][within]
    assert visible.mean() > 0.5
    assert same[visible].mean() > 0.985


def test_ego_moves_and_exo_cameras_stand_still():
    rig = Rig(8)
    before = {camera: rig.camera_to_world(camera) for camera in rig.cameras}
    rig.step(2.0)
    assert np.linalg.norm(rig.camera_to_world("ego")[:3, 3] - before["ego"][:3, 3]) > 0.05
    for camera in rig.static_cameras:
        assert np.array_equal(rig.camera_to_world(camera), before[camera])


def test_stamps_are_simulated_time_unless_they_are_given(software_gl):
    with Rig(8, **SIZE) as rig:
        rig.step(0.25)
        rig.step(0.25)
        assert rig.stamp_ns == 496_000_000  # two times 62 steps of 4 ms
        assert {view.stamp_ns for view in rig.render().frames.views} == {rig.stamp_ns}
        assert {view.stamp_ns for view in rig.render(42).frames.views} == {42}


def test_arm_reaches_the_fingertips():
    tip = np.array([0.3, -0.2, scene.TABLE_TOP_M + 0.1])
    poses = arm_poses(tip, 0.4)
    shoulder, elbow = poses["upper_arm"][0], poses["forearm"][0]
    assert np.array_equal(poses["hand"][0], tip)
    assert np.linalg.norm(elbow - shoulder) == pytest.approx(scene.UPPER_ARM_M)
    assert np.linalg.norm(tip + [0, 0, 0.235] - elbow) == pytest.approx(scene.FOREARM_M)


def test_crowded_things_are_not_pushed_but_something_is_hidden():
    from geoseg_core.rig.motion import ArmPath

    crowd = [Obstacle(np.array([x, y]), 0.09) for x in (-0.1, 0.0, 0.1) for y in (-0.1, 0.0, 0.1)]
    arm = ArmPath(0)
    arm.plan(crowd, [np.array([0.0, -0.8, 1.3])])
    heights = []
    while not arm.needs_plan():
        arm.advance(0.02)
        heights.append(arm.tip[2] - scene.TABLE_TOP_M)
    # the hand never goes down among them
    assert min(heights) > 0.2


def test_without_mujoco_the_extra_is_named():
    code = "import sys; sys.modules['mujoco'] = None; import geoseg_core.rig"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtra: the simulated workplace needs the extra [sim]" in done.stderr


def test_gl_backend_follows_the_environment(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: name)
    assert gl_backend() == "egl"
    monkeypatch.delenv("MUJOCO_GL")
    assert gl_backend() == "osmesa"
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(MissingExtra, match="libosmesa6"):
        gl_backend()
