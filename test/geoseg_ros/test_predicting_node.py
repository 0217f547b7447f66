"""The perception node with a network of random weights, on cameras of which nothing is known but their images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live import SMALL, Live, live_node, values
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from safetensors.torch import save_file
from scenes import render_set, tabletop
from small_models import VGGT, small_vggt

from geoseg_core.config import build
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.results import ScaleStatus
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.chosen import config_metadata
from geoseg_ros import msg

TO_WORLD = Similarity(2.5, np.diag([1.0, -1, -1]), np.array([0.5, 0, 1.2]))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(small_vggt().state_dict(), path, metadata=config_metadata(VGGT) | {"licence": "for tests only"})
    return path


def images() -> list[View]:
    """Two views with an image each, and nothing else."""
    frames, _ = render_set(tabletop(), size=SMALL, names=("ego", "exo_left"))
    return [replace(view, camera_to_world=None, intrinsics=None, depth_m=None) for view in frames.views]


def settings(weights: Path) -> dict[str, object]:
    return {"encoder": "vggt", "weights": str(weights), "device": "cpu", "vggt.side": 56}


def parameters(weights: Path) -> dict[str, object]:
    return {f"pipeline__geometry__{name.replace('.', '__')}": value for name, value in settings(weights).items()}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, weights: Path):
    folder = tmp_path_factory.mktemp("predicting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOSEG_WEIGHTS", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder))
        with watched(folder, weights) as running:
            yield running


@contextmanager
def watched(folder: Path, weights: Path) -> Iterator[Live]:
    """The node, once its first results are there."""
    with live_node(folder, views=images(), **parameters(weights)) as running:
        clouds = running.bench.listen(msg.InstanceCloud, "/geoseg/instances")
        running.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        running.spin_until(lambda: clouds, 60.0)
        yield running


def newest(live) -> msg.InstanceCloud:
    return live.bench.heard["/geoseg/instances"][-1]


def told_by_tf(live, weights: Path, push_m: float = 0.0) -> None:
    """Publish where the network takes the cameras to be, in another world and unit; the exo camera pushed aside."""
    frames = FrameSet(tuple(images()))
    found = load_encoder(build(GeometryConfig, settings(weights))).encoder.encode(frames).views
    poses = [TO_WORLD.pose(view.camera_to_world) for view in found]
    aside = np.linalg.svd((poses[1] - poses[0])[None, :3, 3])[2][1]  # a direction across the baseline
    poses[1][:3, 3] += push_m * np.linalg.norm(poses[1][:3, 3] - poses[0][:3, 3]) * aside
    views = [replace(view, camera_to_world=pose) for view, pose in zip(frames.views, poses, strict=True)]
    live.cameras.views = {view.camera: view for view in views}
    live.cameras.publish_poses()


def test_images_alone_are_enough_but_nothing_is_metric(live):
    masks, cloud = live.bench.heard["/geoseg/cross_view_masks"], newest(live)
    live.spin_until(lambda: masks)
    assert cloud.cameras == masks[-1].cameras == ["ego", "exo_left"] and cloud.method == "vggt"
    assert cloud.scale.state == ScaleStatus.UNKNOWN and np.isinf(cloud.scale.standard_deviation)
    assert cloud.header.frame_id == cloud.cloud.header.frame_id == "world_unscaled"
    assert cloud.cloud.width * cloud.cloud.height > 0
    live.spin_until(lambda: live.value("pipeline", "scale") == "UNKNOWN")
    assert live.status("pipeline").level == DiagnosticStatus.OK or "slow" in live.status("pipeline").message


def test_the_licence_is_logged_and_stands_in_the_diagnostics(live, weights):
    assert f"encoder vggt, weights small ({weights}), licence: for tests only" in live.log.read_text()
    told = values(live.status("pipeline"))
    assert (told["encoder"], told["weights"], told["licence"]) == ("vggt", "small", "for tests only")


def test_poses_from_tf_give_the_metre_and_contradicting_ones_raise_the_alarm(live, weights):
    told_by_tf(live, weights)
    live.spin_until(lambda: newest(live).scale.state != ScaleStatus.UNKNOWN)
    cloud = newest(live)
    assert cloud.scale.source == "tf_baseline" and 0 < cloud.scale.standard_deviation < 0.3
    assert cloud.header.frame_id == "world"
    live.spin_until(lambda: live.value("pipeline", "scale") == "LOCKED")
    assert 0 < float(live.value("pipeline", "scale_deviation")) <= 0.03 and live.value("pipeline", "drift") == ""
    told_by_tf(live, weights, push_m=2.0)
    live.spin_until(lambda: "tf and prediction disagree" in live.value("pipeline", "drift"))
    assert live.status("pipeline").level != DiagnosticStatus.OK
    live.spin_until(lambda: newest(live).scale.state == ScaleStatus.ESTIMATED)
    assert "drift alarm: tf and prediction disagree" in live.log.read_text()
    assert live.process.poll() is None and "Traceback" not in live.log.read_text()


def test_weights_that_are_not_here_keep_the_node_unconfigured_and_are_named(live):
    for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert live.call(ChangeState, "change_state", transition=Transition(id=number)).success
    usual = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="vggt-1b")
    changed = [Parameter(name="pipeline.geometry.weights", value=usual)]
    assert live.call(SetParameters, "set_parameters", parameters=changed).results[0].successful
    configure = Transition(id=Transition.TRANSITION_CONFIGURE)
    assert not live.call(ChangeState, "change_state", transition=configure).success
    assert "not configured: expected the weights vggt-1b" in live.log.read_text()
    assert "run `geoseg weights pull vggt-1b`" in live.log.read_text()
    assert live.process.poll() is None
