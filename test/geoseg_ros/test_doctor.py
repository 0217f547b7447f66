"""`geoseg doctor` on a live replay and on what commonly goes wrong."""

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geoseg_processes import TIMEOUT_S, command
from raw_bags import write_bag

from geoseg_core.resources import resource
from geoseg_ros.doctor import discovery_finding, profile_finding, shared_memory_finding, shell_findings

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def doctor(environment, *words: object) -> tuple[int, str]:
    """The exit status and what it said."""
    with command(environment, "doctor", *words) as process:
        said = process.communicate(timeout=TIMEOUT_S)[0]
    return process.returncode, said


@pytest.fixture
def replay(tmp_path, ros_environment):
    """A bag of the cameras ego and exo, over and over."""
    write_bag(tmp_path / "bag", 20)
    with command(ros_environment, "replay", tmp_path / "bag", "--loop") as player:
        yield player


def test_all_is_well_while_a_bag_is_replayed(replay, ros_environment):
    status, said = doctor(ros_environment, "--seconds", 3, "--set", "use_sim_time=true")
    lines = said.splitlines()
    well = ("clock: /clock:", "camera ego: ", "camera exo: ", "calibration ego: known", "connections: all peers")
    for subject in well:
        assert any(line.startswith(f"ok     {subject}") for line in lines), said
    assert status == 0 and "WARN" not in said.split("shared memory")[1]


def test_stamps_of_another_time_are_named(replay, ros_environment):
    status, said = doctor(ros_environment, "--seconds", 2)
    assert status == 0 and "WARN   camera ego: " in said and "set use_sim_time" in said


def test_silence_and_weights_that_are_not_here_are_errors(ros_environment):
    words = ("--seconds", 0.2, "--set", "cameras=[wrist]", "--set", "pipeline.geometry.encoder=vggt",
             "--set", "use_sim_time=true")  # fmt: skip
    status, said = doctor(ros_environment | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, *words)
    assert status == 1
    assert "ERROR  camera wrist: no image on wrist/image or wrist/image/compressed" in said
    assert "-r wrist/image:=/its/topic" in said
    assert "ERROR  networks: " in said and "geoseg weights" in said
    assert "ERROR  clock: use_sim_time is set, and nothing comes on /clock" in said
    assert "WARN   discovery: ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET" in said


@pytest.mark.parametrize("words", [("--seconds", "0"), ("--config", "none.yaml"), ("--set", "cameras=[a, a]")])
def test_wrong_options_are_one_line(ros_environment, words):
    status, said = doctor(ros_environment, *words)
    assert status == 1 and len(said.strip().splitlines()) == 1 and said.startswith("geoseg doctor: ")


def test_profiles_of_the_middleware(tmp_path: Path):
    small, broken = tmp_path / "small.xml", tmp_path / "broken.xml"
    small.write_text("<dds><segment_size>524288</segment_size></dds>")
    broken.write_text("<dds>")
    assert profile_finding(resource("config/fastdds.xml")).level == OK
    assert profile_finding(small).level == WARN and "large images are lost" in profile_finding(small).words
    for each in (broken, tmp_path / "none.xml"):
        assert profile_finding(each).level == ERROR and str(each) in profile_finding(each).words
    (without, _) = shell_findings({})
    assert without.level == WARN and without.advice.startswith("export FASTRTPS_DEFAULT_PROFILES_FILE=")


@pytest.mark.parametrize(
    ("environment", "profile", "level", "words", "advice"),
    [
        ({}, "fastdds", OK, "this computer alone, domain 0", ""),
        ({}, "fastdds_network", WARN, "another that knows its address reaches them", "config/fastdds.xml"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "fastdds", WARN, "keeps to this computer", "fastdds_network.xml"),
        ({"ROS_STATIC_PEERS": "10.0.0.9"}, "fastdds_network", WARN, "other computers see and feed", "unset ROS_STATIC"),
    ],
)
def test_who_reaches_the_nodes(environment, profile, level, words, advice):
    found = discovery_finding(environment, resource(f"config/{profile}.xml"))
    assert found.level == level and words in found.words and advice in found.advice


def test_room_for_shared_memory(tmp_path: Path):
    (tmp_path / "fastrtps_1").write_bytes(bytes(3_000_000))
    assert shared_memory_finding(1, tmp_path).level == OK
    assert "3 MB in 1 files of Fast DDS" in shared_memory_finding(1, tmp_path).words
    assert shared_memory_finding(10**9, tmp_path).level == WARN
    assert shared_memory_finding(1, tmp_path / "none").level == ERROR
