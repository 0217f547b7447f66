"""The profile of config/fastdds.xml: large best-effort messages pass between two processes without loss, large prompts
leave no memory behind.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from faults.lives import resident_mb
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from geoseg_core.process_memory import return_memory
from geoseg_core.resources import resource
from geoseg_ros import msg
from geoseg_ros.environment import ros_environment as program_environment

COUNT = 20
QOS = "QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)"
IMAGE = 'Image(height=720, width=1280, encoding="rgb8", step=3840, data=bytes(1280 * 720 * 3))'
CLOUD = "PointCloud2(height=1, width=250_000, point_step=20, row_step=5_000_000, data=bytes(5_000_000))"
PUBLISHER = f"""
import sys, time, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
rclpy.init()
node = rclpy.create_node("camera")
large = eval(sys.argv[1])
publisher = node.create_publisher(type(large), "large", {QOS})
deadline = time.monotonic() + 20
while not publisher.get_subscription_count() and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(0.5)
for number in range({COUNT}):
    large.header.frame_id = str(number)
    publisher.publish(large)
    time.sleep(0.05)
sys.stdin.read()
"""

PROMPTER = """
import sys, time, rclpy
from geoseg_ros import msg
from geoseg_ros.sensor_messages import packed
rclpy.init()
publisher = rclpy.create_node("planner").create_publisher(msg.Prompt, "/geoseg/prompt", 10)
labels = packed(bytes(9_000_000))
while not publisher.get_subscription_count():
    time.sleep(0.02)
time.sleep(0.5)
for _ in range(10):
    publisher.publish(msg.Prompt(point_labels=labels))
sys.stdin.read()
"""


@pytest.mark.parametrize(("kind", "large"), [(Image, IMAGE), (PointCloud2, CLOUD)])
def test_no_large_message_is_lost_between_two_processes(
    ros_environment: dict[str, str], kind: type, large: str
) -> None:
    if rclpy.get_rmw_implementation_identifier() != "rmw_fastrtps_cpp":
        pytest.skip("the profile is for Fast DDS")
    shared_memory = Path("/dev/shm")
    before = {path.name for path in shared_memory.iterdir()}
    rclpy.init()
    node = rclpy.create_node("viewer")
    received: list[str] = []
    qos = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(kind, "large", lambda each: received.append(each.header.frame_id), qos)
    camera = subprocess.Popen([sys.executable, "-c", PUBLISHER, large], env=ros_environment, stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while len(received) < COUNT and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.1)
        segments = [path.stat().st_size for path in shared_memory.iterdir() if path.name not in before]
    finally:
        camera.communicate(timeout=20)
        node.destroy_node()
        rclpy.shutdown()
    assert received == [str(number) for number in range(COUNT)]
    assert max(segments) >= 64 * 2**20


def test_large_prompts_leave_no_memory_behind(ros_environment: dict[str, str]) -> None:
    """Ten of 9 MB fill the queue of a subscriber; once taken, they are gone. Without the profile 90 MB stay."""
    rclpy.init()
    node = rclpy.create_node("perception")
    sizes: list[int] = []
    node.create_subscription(msg.Prompt, "/geoseg/prompt", lambda each: sizes.append(len(each.point_labels)), 10)
    planner = subprocess.Popen([sys.executable, "-c", PROMPTER], env=ros_environment, stdin=subprocess.PIPE)
    return_memory()  # what earlier tests freed would take the prompts in, and nothing would be seen of them
    before_mb = resident_mb(os.getpid(), "RssAnon")
    try:
        deadline = time.monotonic() + 30
        while resident_mb(os.getpid(), "RssAnon") < before_mb + 80 and time.monotonic() < deadline:
            time.sleep(0.05)
        full_mb = resident_mb(os.getpid(), "RssAnon")
        while len(sizes) < 10 and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.1)
        return_memory()
        after_mb = resident_mb(os.getpid(), "RssAnon")
    finally:
        planner.communicate(timeout=20)
        node.destroy_node()
        rclpy.shutdown()
    assert sizes == [9_000_000] * 10
    assert full_mb > before_mb + 80
    assert after_mb < before_mb + 20


def test_the_defaults_are_local_and_name_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "OMP_WAIT_POLICY"
    for name in (*names, "RMW_FASTRTPS_USE_QOS_FROM_XML"):
        monkeypatch.delenv(name, raising=False)
    environment = program_environment()
    assert Path(environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).name == "fastdds.xml"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment.keys() - os.environ.keys() == environment.keys()


def test_a_profile_of_the_users_own_keeps_the_memory_of_queues_that_ros_gives_it(monkeypatch) -> None:
    monkeypatch.delenv("RMW_FASTRTPS_USE_QOS_FROM_XML", raising=False)
    assert program_environment()["RMW_FASTRTPS_USE_QOS_FROM_XML"] == "1"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/etc/robot.xml")
    assert program_environment()["RMW_FASTRTPS_USE_QOS_FROM_XML"] == "0"


@pytest.mark.parametrize(
    ("name", "value"), [("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET"), ("ROS_STATIC_PEERS", "robot")]
)
def test_who_asks_for_other_computers_gets_a_profile_that_reaches_them(name, value, monkeypatch) -> None:
    for each in ("FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, value)
    assert Path(program_environment()["FASTRTPS_DEFAULT_PROFILES_FILE"]).name == "fastdds_network.xml"


def test_the_two_profiles_differ_in_the_interfaces_alone() -> None:
    local, network = (ElementTree.parse(resource(f"config/fastdds{end}.xml")).getroot() for end in ("", "_network"))
    (listing,) = (each for each in local.iter() if each.tag.endswith("interfaceWhiteList"))
    assert [each.text for each in listing] == ["127.0.0.1"]
    (udp,) = (each for each in local.iter() if listing in each)
    udp.remove(listing)
    written = [ElementTree.canonicalize(ElementTree.tostring(each), strip_text=True) for each in (local, network)]
    assert written[0] == written[1]
