"""The simulated workplace as a process: types, stamps, frames and truth of what it publishes."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from geoseg_processes import TIMEOUT_S, command, listener
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from geoseg_core.datasets.bag_format import objects_from_json
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.errors import MissingExtra
from geoseg_core.imaging import to_depth_m
from geoseg_ros.sensor_messages import image_from_msg, time_from_msg

pytest.importorskip("mujoco", reason="the extra [sim] is not installed")
from geoseg_core.rig import Rig  # noqa: E402
from geoseg_core.rig.rendering import gl_backend  # noqa: E402

CAMERAS = ("ego", "exo_left", "exo_right")
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(autouse=True)
def software_gl():
    try:
        gl_backend()
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("compressed", [False, True])
def test_rig_publishes_the_bag_format(ros_environment, compressed):
    image_type = CompressedImage if compressed else Image
    suffixes = ("image", "depth", "ground_truth/labels")
    if compressed:
        suffixes = ("image/compressed", "depth/compressedDepth", "ground_truth/labels/compressed")
    words = ["rig", "--seed", "3", "--rate", "5", *(["--compressed"] if compressed else [])]
    with command(ros_environment, *words) as rig, listener() as (node, wait):
        came: dict[str, list] = {}

        def listen(kind, topic, quality):
            came[topic] = []
            node.create_subscription(kind, topic, came[topic].append, quality)

        for camera in CAMERAS:
            listen(CameraInfo, f"/{camera}/camera_info", qos_profile_sensor_data)
            for suffix in suffixes:
                listen(image_type, f"/{camera}/{suffix}", qos_profile_sensor_data)
        listen(TFMessage, "/tf", 10)
        listen(TFMessage, "/tf_static", LATCHED)
        listen(String, "/ground_truth/objects", LATCHED)
        wait(lambda: all(came.values()) and len(came["/ego/camera_info"]) >= 3)
        rig.send_signal(signal.SIGINT)
        said = rig.communicate(timeout=TIMEOUT_S)[0]
    assert rig.returncode == 0, said
    truths = objects_from_json(came["/ground_truth/objects"][0].data)
    assert json.loads(came["/ground_truth/objects"][0].data)["objects"][0]["role"] == "object"
    assert truths == Rig(3).objects
    assert {each.child_frame_id for each in came["/tf_static"][0].transforms} == {
        "exo_left_optical_frame", "exo_right_optical_frame"
    }  # fmt: skip
    moving = came["/tf"][-1].transforms
    assert [(each.header.frame_id, each.child_frame_id) for each in moving] == [("world", "ego_optical_frame")]
    for camera in CAMERAS:
        infos = {time_from_msg(each.header.stamp) for each in came[f"/{camera}/camera_info"]}
        for suffix in suffixes:
            message = came[f"/{camera}/{suffix}"][-1]
            assert message.header.frame_id == f"{camera}_optical_frame"
            assert time_from_msg(message.header.stamp) in infos
        colour, depth, labels = (image_from_msg(came[f"/{camera}/{suffix}"][-1]) for suffix in suffixes)
        assert colour.shape == (480, 640, 3) and depth.shape == labels.shape == (480, 640)
        assert 0.2 < np.median(to_depth_m(depth)) < 4
        assert set(np.unique(labels)) <= {0, *(each.id for each in truths)}
        assert len(np.unique(labels)) >= 6


def test_bag_of_the_rig_is_complete_and_the_same_again(tmp_path, ros_environment):
    def record(name):
        subprocess.run(
            [sys.executable, "-m", "geoseg_core.cli", "rig", "--bag", str(tmp_path / name), "--duration", "0.2"],
            env=ros_environment, check=True, timeout=300, capture_output=True,
        )  # fmt: skip
        return (tmp_path / name / f"{name}.mcap").read_bytes()

    first = record("one")
    sequence = BagSequence(tmp_path / "one")
    sets = list(sequence)
    assert sequence.cameras == CAMERAS and len(sets) == 2
    assert all(set(each.labels) == set(CAMERAS) for each in sets)
    assert len([each for each in sequence.objects if each.role == "object"]) == 12
    assert record("two").replace(b"two.mcap", b"one.mcap") == first


def test_sample_bag_is_what_the_documentation_says():
    """The bag of the repository: small, long enough, labelled, and something leaves the ego view and comes back."""
    from geoseg_core.resources import resource

    folder = resource("bags/tabletop")
    assert sum(each.stat().st_size for each in folder.iterdir()) <= 15_000_000
    sequence = BagSequence(folder)
    ids = [each.id for each in sequence.objects if each.role == "object"]
    seen, stamps_ns, depth_m = [], [], 0.0
    for labelled in sequence:
        stamps_ns.append(labelled.frames.stamp_ns)
        counts = np.bincount(labelled.labels["ego"].ravel(), minlength=max(ids) + 1)
        seen.append(counts[ids] > 50)
        depth_m = max(depth_m, max(float(view.depth_m.max()) for view in labelled.frames.views))
    assert len(stamps_ns) == 101 and stamps_ns[-1] - stamps_ns[0] == 10 * 10**9
    assert depth_m == pytest.approx(2.1)
    seen = np.array(seen)
    assert ((~seen[:-1] & seen[1:]).any(0) & seen[0]).any()
