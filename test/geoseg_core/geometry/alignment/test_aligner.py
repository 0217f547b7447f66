"""The aligner on scenes whose true unit, world and errors are known."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import render_set, tabletop
from scipy.spatial.transform import Rotation

from geoseg_core.errors import BadConfig
from geoseg_core.geometry.alignment.aligner import AlignedScene, Aligner, AlignmentConfig
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.alignment.still import StillCameras
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.rgbd import RgbdEncoder, RgbdScene
from geoseg_core.results import ScaleState, ScaleStatus
from geoseg_core.views import FrameSet

TURN = Rotation.from_euler("xyz", (20, -50, 130), degrees=True).as_matrix()
NETWORK = Similarity(0.25, TURN, np.array([3.0, -1, 2]))  # metres and tf's world to the network's
TRUE, _ = render_set(tabletop(), size=(48, 64))


def told(frames: FrameSet, tf: tuple[str, ...] = (), depth: tuple[str, ...] = ()) -> FrameSet:
    """The same views, knowing the poses and the depth of these cameras only."""
    views = tuple(
        replace(
            view,
            camera_to_world=view.camera_to_world if view.camera in tf else None,
            depth_m=view.depth_m if view.camera in depth else None,
        )
        for view in frames.views
    )
    return replace(frames, views=views)


def predicted(frames: FrameSet = TRUE, tf=(), depth=(), network: Similarity = NETWORK, turn_exo=0.0) -> RgbdScene:
    """What a perfect network would make of the views: true geometry in another unit and world."""
    scene = RgbdEncoder().encode(frames)
    views = [network.view(view) for view in scene.views]
    if turn_exo:
        pose = views[-1].camera_to_world.copy()
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_euler("y", turn_exo, degrees=True).as_matrix()
        views[-1] = replace(views[-1], camera_to_world=pose)
    return RgbdScene(told(frames, tf, depth), tuple(views), ScaleState(), scene.config)


ALL = TRUE.cameras
TRUTH = RgbdEncoder().encode(TRUE).views


def assert_true(views: tuple[ViewGeometry, ...], atol: float = 1e-4) -> None:
    for found, true in zip(views, TRUTH, strict=True):
        np.testing.assert_allclose(found.camera_to_world, true.camera_to_world, atol=atol)
        np.testing.assert_allclose(found.depth_m, true.depth_m, atol=atol)
        np.testing.assert_allclose(found.points, true.points, atol=4 * atol)


def test_tf_gives_the_world_and_the_metre() -> None:
    aligned = Aligner().align(predicted(tf=ALL))
    assert_true(aligned.views)
    assert (aligned.scale.status, aligned.scale.source) == (ScaleStatus.ESTIMATED, "tf_baseline")
    assert 0.01 < aligned.scale.standard_deviation < 0.05 and aligned.moved is None


def test_two_cameras_known_by_tf_carry_the_third() -> None:
    assert_true(Aligner().align(predicted(tf=("exo_left", "exo_right"))).views)


def test_a_depth_camera_gives_the_metre_and_one_pose_the_world() -> None:
    aligned = Aligner().align(predicted(tf=("exo_left",), depth=("ego",)))
    assert_true(aligned.views)
    assert aligned.scale.source == "depth_camera" and aligned.scale.standard_deviation < 0.02


def test_the_scale_locks_and_outlives_a_gap() -> None:
    aligner, statuses = Aligner(), []
    for number in range(8):
        aligned = aligner.align(predicted(tf=ALL if number != 6 else ()))
        statuses.append(aligned.scale.status.name)
        assert_true(aligned.views)
        assert aligned.moved is None  # without tf, the cameras that are remembered keep up the world
    assert statuses == ["ESTIMATED"] * 4 + ["LOCKED"] * 4
    aligner.reset()
    assert aligner.align(predicted()).scale.status is ScaleStatus.UNKNOWN


def test_without_scale_the_median_depth_is_the_nominal_one() -> None:
    aligned = Aligner(AlignmentConfig(nominal_depth_m=0.8)).align(predicted())
    assert aligned.scale == ScaleState()
    depth = np.concatenate([view.depth_m.ravel() for view in aligned.views])
    assert np.median(depth[depth > 0]) == pytest.approx(0.8)
    # The world is the frame of the last camera, for the first one moves.
    np.testing.assert_allclose(aligned.views[-1].camera_to_world, np.eye(4), atol=1e-6)


def test_without_poses_the_world_stands_still_whatever_the_network_takes_for_it() -> None:
    aligner = Aligner()
    first = aligner.align(predicted())
    other = Similarity(1.7, TURN.T, np.array([0.0, 9, 0]))
    swayed, _ = render_set(tabletop(), sway=0.1, size=(48, 64))
    second = aligner.align(predicted(swayed, network=other))
    for index in (1, 2):  # the exo cameras
        np.testing.assert_allclose(second.views[index].camera_to_world, first.views[index].camera_to_world, atol=0.02)
    assert np.linalg.norm(second.views[0].camera_to_world[:3, 3] - first.views[0].camera_to_world[:3, 3]) > 0.05
    # The anchor is missing: another camera that was seen takes its place.
    two = replace(TRUE, views=TRUE.views[:2], missing=("exo_right",))
    third = aligner.align(predicted(two))
    np.testing.assert_allclose(third.views[1].camera_to_world, second.views[1].camera_to_world, atol=1e-6)


def test_when_the_unit_becomes_known_the_old_world_is_said_to_lie_in_the_new() -> None:
    aligner = Aligner()
    before = aligner.align(predicted())
    after = aligner.align(predicted(depth=("ego",)))
    assert before.moved is None and after.scale.source == "depth_camera" and after.moved is not None
    for old, new in zip(before.views, after.views, strict=True):
        np.testing.assert_allclose(after.moved.apply(old.points), new.points, atol=1e-4)
    assert after.moved.scale == pytest.approx(after.views[0].depth_m.max() / before.views[0].depth_m.max(), rel=1e-4)
    in_tf = aligner.align(predicted(tf=ALL, depth=("ego",)))
    np.testing.assert_allclose(in_tf.moved.apply(after.views[0].points), in_tf.views[0].points, atol=1e-3)
    assert_true(in_tf.views, 1e-3)


def last_of(aligner: Aligner, sets: int, **scene) -> AlignedScene:
    for _ in range(sets - 1):
        aligner.align(predicted(**scene))
    return aligner.align(predicted(**scene))


def test_a_camera_that_was_pushed_raises_the_alarm_by_name() -> None:
    aligner = Aligner()
    assert last_of(aligner, 8, tf=ALL).scale.status is ScaleStatus.LOCKED
    pushed = {"tf": ALL, "turn_exo": 20.0}
    assert last_of(aligner, 4, **pushed).scale.drift == ""
    state = last_of(aligner, 1, **pushed).scale
    assert state.drift == "tf and prediction disagree: exo_right is turned by 20.0 degrees"
    assert state.status is ScaleStatus.ESTIMATED
    assert last_of(aligner, 5, tf=ALL).scale.drift == ""


def test_a_camera_that_was_carried_away_raises_the_alarm_by_name() -> None:
    away = TRUE.views[2].camera_to_world.copy()
    away[:3, 3] += (0.0, 0.6, 0.0)
    views = (*TRUE.views[:2], replace(TRUE.views[2], camera_to_world=away))
    scene, aligner = replace(predicted(), frames=told(replace(TRUE, views=views), ALL)), Aligner()
    for _ in range(5):
        aligned = aligner.align(scene)
    # 0.6 m by the distance (r.m.s.) of the other two from their middle.
    half = np.linalg.norm(TRUE.views[0].camera_to_world[:3, 3] - TRUE.views[1].camera_to_world[:3, 3]) / 2
    assert aligned.scale.drift == (
        f"tf and prediction disagree: exo_right lies {60 / half:.0f} % of the cameras' distance away"
    )
    assert_true(aligned.views)


def test_a_depth_camera_that_contradicts_tf_raises_the_alarm() -> None:
    twice = replace(TRUE, views=tuple(replace(view, depth_m=1.3 * view.depth_m) for view in TRUE.views))
    aligner = Aligner()
    for _ in range(5):
        scene = predicted(tf=ALL)
        aligned = aligner.align(replace(scene, frames=told(twice, ALL, ("ego",))))
    assert aligned.scale.drift.startswith("tf_baseline gives a scale of 4, depth_camera of 5.2")


def test_depth_of_another_shape_than_a_depth_cameras_raises_the_alarm() -> None:
    random = np.random.default_rng(0)
    views = tuple(
        replace(view, depth_m=view.depth_m * np.kron(np.exp(random.normal(size=(8, 8))), np.ones((6, 8))))
        for view in TRUE.views
    )
    scene = replace(predicted(), frames=told(replace(TRUE, views=views), (), ALL))
    aligner = Aligner()
    for _ in range(5):
        aligned = aligner.align(scene)
    assert "depth camera and prediction disagree: their ratio spreads by" in aligned.scale.drift
    # What differs by regions is not averaged away by pixels.
    assert aligned.scale.standard_deviation > 0.05


def test_the_unit_is_carried_over_whatever_the_network_takes_for_it() -> None:
    aligner = Aligner()
    last_of(aligner, 8, tf=ALL)
    for factor in (0.5, 3.0, 1.02):
        other = Similarity(NETWORK.scale * factor, NETWORK.rotation, NETWORK.translation)
        aligned = aligner.align(predicted(tf=ALL, network=other))
        assert aligned.moved is None and aligned.scale.status is ScaleStatus.LOCKED
        assert_true(aligned.views)


def test_tf_that_becomes_another_raises_the_alarm_and_begins_anew() -> None:
    aligner = Aligner()
    last_of(aligner, 8, tf=ALL)
    grown = Similarity(2.0, np.eye(3), np.zeros(3))
    views = tuple(replace(view, camera_to_world=grown.pose(view.camera_to_world)) for view in TRUE.views)
    scene = replace(predicted(), frames=told(replace(TRUE, views=views), ALL))
    jumped = [aligner.align(scene) for _ in range(11)]
    assert "tf_baseline gives a scale of 8 where 4 was known" in jumped[4].scale.drift
    assert [each.moved is None for each in jumped[:6]] == [True] * 5 + [False]
    assert jumped[5].moved.scale == pytest.approx(2.0, rel=0.01)
    assert jumped[5].views[0].depth_m.max() == pytest.approx(2 * TRUTH[0].depth_m.max(), rel=0.01)
    assert jumped[-1].scale.drift == ""


def trembling(random: np.random.Generator, frames: FrameSet) -> RgbdScene:
    """A prediction with its own unit in every set, and cameras that tremble by half a percent."""
    unit = Similarity(
        float(np.exp(random.normal() * 0.05)), Rotation.random(rng=random).as_matrix(), random.normal(size=3)
    )
    scene = predicted(frames, network=unit)
    views = []
    for view in scene.views:
        shaken = view.camera_to_world.copy()
        shaken[:3, :3] = shaken[:3, :3] @ Rotation.from_rotvec(0.005 * random.normal(size=3)).as_matrix()
        shaken[:3, 3] += 0.005 * unit.scale * random.normal(size=3)
        views.append(replace(view, camera_to_world=shaken))
    return replace(scene, views=tuple(views))


def test_what_stands_still_does_not_tremble() -> None:
    random, aligner = np.random.default_rng(3), Aligner()
    swayed = [render_set(tabletop(), sway=0.02 * number, size=(120, 160))[0] for number in range(12)]
    aligned = [aligner.align(trembling(random, frames)) for frames in swayed]
    steps = [
        [np.linalg.norm((now.views[index].camera_to_world - last.views[index].camera_to_world)[:3, 3])
         for index in range(3)]
        for last, now in zip(aligned[6:], aligned[7:], strict=False)
    ]  # fmt: skip
    ego, *exo = np.mean(steps, axis=0)
    assert ego > 0.01 and max(exo) < 0.003
    depths = np.array([np.nanmedian(each.views[1].depth_m) for each in aligned])
    assert depths.std() / depths.mean() < 0.002


def test_an_object_of_known_size_gives_the_metre() -> None:
    aligner = Aligner(AlignmentConfig(known_sizes="mug=0.12, big box=0.3"))
    aligned = aligner.align(predicted())
    unit = aligned.views[0].depth_m.max() / TRUTH[0].depth_m.max()
    aligner.observe_size("mug", 0.12 * unit)
    aligner.observe_size("spoon", 5.0)
    aligned = aligner.align(predicted())
    assert (aligned.scale.status, aligned.scale.source) == (ScaleStatus.ESTIMATED, "known_size")
    assert aligned.views[0].depth_m.max() == pytest.approx(TRUTH[0].depth_m.max(), rel=1e-4)
    assert aligned.scale.standard_deviation == pytest.approx(np.hypot(0.05, 0.05))


@pytest.mark.parametrize("word", ["mug", "mug=", "=0.1", "mug=-1", "mug=nan", "mug=inf"])
def test_sizes_that_are_none_are_refused(word: str) -> None:
    with pytest.raises(BadConfig, match="mug=0.12"):
        Aligner(AlignmentConfig(known_sizes=word))


def test_a_metric_network_is_believed_until_something_better_comes() -> None:
    aligner = Aligner(metric=True)
    in_metres = Similarity(1.0, TURN, np.zeros(3))
    aligned = last_of(aligner, 10, network=in_metres)
    assert (aligned.scale.status, aligned.scale.source) == (ScaleStatus.ESTIMATED, "metric_encoder")
    assert aligned.scale.standard_deviation == pytest.approx(0.1, rel=0.02)
    assert aligned.views[0].depth_m.max() == pytest.approx(TRUTH[0].depth_m.max(), rel=1e-4)
    guessed = last_of(aligner, 1, tf=ALL, network=Similarity(0.9, TURN, np.zeros(3)))
    assert guessed.scale.source == "tf_baseline"
    assert_true(guessed.views, 0.02)


def test_a_prediction_that_fits_tf_nowhere_leaves_the_scale_unknown() -> None:
    random = np.random.default_rng(0)
    scene = predicted(tf=ALL)
    poses = Rotation.random(3, rng=random).as_matrix()
    views = tuple(
        replace(view, camera_to_world=Similarity(1.0, turn, random.normal(size=3)).pose(np.eye(4)))
        for view, turn in zip(scene.views, poses, strict=True)
    )
    aligner = Aligner()
    for _ in range(20):
        aligned = aligner.align(replace(scene, views=views))
    assert aligned.scale.status is ScaleStatus.UNKNOWN and "tf and prediction disagree" in aligned.scale.drift


def test_a_scene_without_any_depth_goes_through() -> None:
    scene = predicted()
    empty = tuple(replace(view, depth_m=view.depth_m * 0, points=view.points * np.nan) for view in scene.views)
    aligned = Aligner().align(replace(scene, views=empty))
    assert aligned.scale.status is ScaleStatus.UNKNOWN
    assert all(np.isfinite(view.camera_to_world).all() for view in aligned.views)


def test_a_camera_that_is_forgotten_is_where_the_next_set_says() -> None:
    random, aligner = np.random.default_rng(3), Aligner()
    for _ in range(10):
        aligner.align(replace(trembling(random, TRUE), frames=told(TRUE, ALL)))
    for camera in ALL:
        aligner.forget(camera)
    scene = predicted(tf=ALL)
    fresh = aligner.align(scene).views
    exact = Aligner().align(scene).views
    for view, expected in zip(fresh, exact, strict=True):
        np.testing.assert_allclose(view.camera_to_world[:3, :3], expected.camera_to_world[:3, :3], atol=1e-9)


def test_a_camera_stands_still_while_its_edges_do() -> None:
    still, moved = StillCameras(), render_set(tabletop(), sway=0.02, size=(120, 160))[0]
    calm, _ = render_set(tabletop(), size=(120, 160))
    lit = replace(calm, views=tuple(replace(view, image=np.full_like(view.image, 90)) for view in calm.views))
    other, _ = render_set([tabletop()[0].moved(0.2), *tabletop()[1:]], size=(120, 160))  # one thing moves
    assert still.update(calm) == set()
    assert still.update(calm) == set(ALL)
    assert still.update(other) == set(ALL)
    assert still.update(moved) == {"exo_left", "exo_right"}
    assert still.update(moved) == set(ALL)
    assert still.update(lit) == set() == still.update(lit)  # without edges nobody can tell


def test_tracks_are_those_of_the_scene_itself() -> None:
    scene = predicted()
    aligned = Aligner().align(scene)
    points = np.array([[32.0, 30.0], [20.0, 25.0]])
    np.testing.assert_array_equal(aligned.track(points, 0, [1]).points_px, scene.track(points, 0, [1]).points_px)
    with pytest.raises(Exception, match="has none"):
        aligned.features((1,))
