"""The profile of config/fastdds.xml: large best-effort messages pass between two processes without loss."""

import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from geoseg_core.resources import resource
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


def test_the_defaults_are_local_and_name_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "OMP_WAIT_POLICY"
    for name in names:
        monkeypatch.delenv(name, raising=False)
    environment = program_environment()
    assert Path(environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).name == "fastdds.xml"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment.keys() - os.environ.keys() == environment.keys()


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
