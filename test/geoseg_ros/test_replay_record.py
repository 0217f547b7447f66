"""Bags out to DDS and back: real processes, real topics."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from geoseg_processes import TIMEOUT_S, command, listener
from raw_bags import INTRINSICS, START_NS, RawBag, write_bag
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

from geoseg_core.datasets.bag_file import BagFile
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.errors import BadInput
from geoseg_ros.commands.replay import summary

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def contents(path: Path) -> dict[str, list[bytes]]:
    """The serialised messages of a bag by topic, filled up to whole words as DDS transports them."""
    with BagFile(path) as bag:
        found: dict[str, list[bytes]] = {topic: [] for topic in bag.topics}
        for message in bag.messages(bag.topics):
            found[message.topic].append(message.data + bytes(-len(message.data) % 4))
        return found


def test_what_is_replayed_is_recorded_byte_for_byte(tmp_path, ros_environment):
    write_bag(tmp_path / "bag", 15)
    with command(ros_environment, "record", tmp_path / "copy") as recorder:
        with command(ros_environment, "replay", tmp_path / "bag", "--wait-for-subscribers", "--rate", 2) as player:
            said = player.communicate(timeout=TIMEOUT_S)[0]
        assert player.returncode == 0, said
        time.sleep(1.0)
        recorder.send_signal(signal.SIGINT)
        listed = recorder.communicate(timeout=TIMEOUT_S)[0]
    assert recorder.returncode == 0, listed
    assert contents(tmp_path / "copy") == contents(tmp_path / "bag")
    assert (tmp_path / "copy" / "metadata.yaml").is_file()
    assert "messages on 11 topics" in said
    assert "15 /ego/image/compressed" in listed
    pairs = zip(BagSequence(tmp_path / "bag"), BagSequence(tmp_path / "copy"), strict=True)
    assert all((one.labels["exo"] == two.labels["exo"]).all() for one, two in pairs)


def test_loop_jumps_back_in_time_and_serves_late_comers(tmp_path, ros_environment):
    write_bag(tmp_path / "bag", 6)
    words = ("replay", tmp_path / "bag", "--loop", "--rate", 2)
    with command(ros_environment, *words) as player, listener() as (node, wait):
        clock_ns, stamps_ns, fixed = [], [], []
        node.create_subscription(
            Clock, "/clock", lambda each: clock_ns.append(each.clock.sec * 10**9 + each.clock.nanosec), 100
        )
        node.create_subscription(
            CompressedImage, "/ego/image/compressed",
            lambda each: stamps_ns.append(each.header.stamp.sec * 10**9 + each.header.stamp.nanosec),
            qos_profile_sensor_data,
        )  # fmt: skip
        wait(lambda: any(later < sooner for sooner, later in zip(stamps_ns, stamps_ns[1:], strict=False)))
        # subscribed long after it was published for the first time
        node.create_subscription(TFMessage, "/tf_static", fixed.append, LATCHED)
        wait(lambda: fixed)
        assert fixed[0].transforms[0].child_frame_id == "exo_optical_frame"
        assert any(later < sooner for sooner, later in zip(clock_ns, clock_ns[1:], strict=False))
        assert min(clock_ns) >= START_NS and max(clock_ns) <= START_NS + 600_000_000
        player.send_signal(signal.SIGTERM)
        assert player.wait(TIMEOUT_S) == 0


def test_chosen_topics_only_and_types_that_are_not_installed_are_named(tmp_path, ros_environment):
    bag = RawBag(tmp_path / "bag")
    alien = bag._writer.add_connection("/alien", "alien_msgs/msg/Thing", msgdef="uint8 a\n", rihs01="RIHS01_00")
    bag._writer.write(alien, START_NS, b"\x00\x01\x00\x00\x01")
    bag.put_info("ego", START_NS, INTRINSICS)
    bag.put("/words", "std_msgs/msg/String", START_NS, data="hello")
    bag.close()

    def replay(*words):
        done = subprocess.run(
            [sys.executable, "-m", "geoseg_core.cli", "replay", str(tmp_path / "bag"), *words],
            env=ros_environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    status, said = replay()
    assert status == 0
    assert "/alien is left out: its type alien_msgs/msg/Thing is not installed" in said
    assert "2 messages on 2 topics" in said
    assert "1 messages on 1 topics" in replay("--topics", "/words")[1]
    status, said = replay("--topics", "/nobody")
    assert status == 1 and "got ['/nobody']" in said
    status, said = replay("--topics", "/alien")
    assert status == 1 and "expected a topic whose type is installed" in said
    status, said = replay("--rate", "0")
    assert status == 1 and "--rate: expected 0.001 to 1000" in said


def test_recording_stops_by_itself_and_takes_only_the_cameras_asked_for(tmp_path, ros_environment):
    write_bag(tmp_path / "bag", 10)
    with command(ros_environment, "replay", tmp_path / "bag", "--loop", "--wait-for-subscribers"):
        recorder = [sys.executable, "-m", "geoseg_core.cli", "record", str(tmp_path / "copy")]
        done = subprocess.run(
            [*recorder, "--cameras", "exo", "--duration", "1.5"],
            env=ros_environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        again = subprocess.run(recorder, env=ros_environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert again.returncode == 1 and "exists already" in again.stderr
    recorded = contents(tmp_path / "copy")
    assert {topic for topic in recorded if topic.startswith("/e")} == {
        "/exo/image/compressed", "/exo/camera_info", "/exo/depth/compressedDepth", "/exo/ground_truth/labels/compressed"
    }  # fmt: skip
    assert len(recorded["/exo/camera_info"]) >= 5
    assert BagSequence(tmp_path / "copy").cameras == ("exo",)


def test_recording_nothing_is_an_error_and_leaves_nothing(tmp_path, ros_environment):
    with command(ros_environment, "record", tmp_path / "copy") as recorder:
        assert "stop with Ctrl-C" in recorder.stdout.readline()
        recorder.send_signal(signal.SIGINT)
        said = recorder.communicate(timeout=TIMEOUT_S)[0]
    assert recorder.returncode == 1
    assert "none came" in said
    assert not (tmp_path / "copy").exists()


def test_types_that_are_not_of_the_format_are_left_out_of_the_recording(tmp_path, ros_environment, capfd):
    from geoseg_ros.msg import ObjectEvent
    from std_msgs.msg import String

    from geoseg_ros.recorder import Recorder

    with listener() as (node, wait):
        wrong = node.create_publisher(ObjectEvent, "/ego/camera_info", 1)
        right = node.create_publisher(String, "/ground_truth/objects", LATCHED)
        right.publish(String(data="{}"))
        recorder = Recorder(tmp_path / "copy", ["ego"])
        executor = SingleThreadedExecutor()
        executor.add_node(recorder)
        wait(lambda: executor.spin_once(timeout_sec=0.05) or recorder.counts and wrong)
        recorder.close()
        executor.shutdown()
        recorder.destroy_node()
    assert set(contents(tmp_path / "copy")) == {"/ground_truth/objects"}
    assert "/ego/camera_info is left out: its type geoseg_ros/msg/ObjectEvent" in capfd.readouterr().err


def test_damaged_bag_ends_the_replay_with_one_line(tmp_path, ros_environment):
    (tmp_path / "bag.mcap").write_bytes(b"\x89MCAP0\r\nrubbish")
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_core.cli", "replay", str(tmp_path / "bag.mcap")],
        env=ros_environment, capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("geoseg replay: bag ") and "Traceback" not in done.stderr


def test_negative_duration_is_refused(tmp_path):
    from argparse import Namespace

    from geoseg_ros.commands.record import run

    with pytest.raises(BadInput, match="--duration"):
        run(Namespace(out=tmp_path / "copy", cameras=[], duration=-1.0))


def test_summary_says_how_late_the_messages_were():
    late = [0.0, 1.0, 2.0, 3.0, 40.0]
    assert summary({"/a": 3, "/b": 2}, late) == (
        "replay: 5 messages on 2 topics, lateness median 2.0 ms, 95 % 3.0 ms, most 40.0 ms"
    )
    assert "0 messages" in summary({}, [])
