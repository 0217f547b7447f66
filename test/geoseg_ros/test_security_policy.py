"""The policy for SROS 2: of the documented form, and for the node exactly what a running one offers and uses."""

import itertools
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from live import live_node
from rclpy.action import get_action_server_names_and_types_by_node

from geoseg_core.resources import resource
from geoseg_ros.parameters import NodeConfig

POLICY = ElementTree.parse(resource("config/sros2_policy.xml")).getroot()
RIGHTS = {"topics": {"publish", "subscribe"}, "services": {"request", "reply"}, "actions": {"call", "execute"}}
NODE = "/geoseg/perception"


def named(enclave: str) -> dict[str, set[str]]:
    """The names of an enclave by what it may do with them."""
    found: dict[str, set[str]] = {}
    for profile in POLICY.iterfind(f"enclaves/enclave[@path='{enclave}']/profiles/profile"):
        for group, right in ((each, right) for each in profile for right in each.attrib):
            found.setdefault(right, set()).update(each.text or "" for each in group)
    return found


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What other nodes see of a node with the default cameras."""
    with live_node(tmp_path_factory.mktemp("policy"), cameras=list(NodeConfig().cameras)) as live:
        live.bench.until(lambda: live.status("pipeline"))
        live.bench.spin(1.0)
        node = live.bench.node
        seen = {
            "publish": node.get_publisher_names_and_types_by_node("geoseg", "/"),
            "subscribe": node.get_subscriber_names_and_types_by_node("geoseg", "/"),
            "reply": node.get_service_names_and_types_by_node("geoseg", "/"),
            "request": node.get_client_names_and_types_by_node("geoseg", "/"),
            "execute": get_action_server_names_and_types_by_node(node, "geoseg", "/"),
        }
    return {right: {name for name, _ in names} for right, names in seen.items()}


def test_the_form_is_that_of_policies_0_2_0() -> None:
    assert POLICY.tag == "policy" and POLICY.attrib == {"version": "0.2.0"}
    (enclaves,) = POLICY
    assert enclaves.tag == "enclaves" and len(enclaves)
    for enclave in enclaves:
        assert enclave.tag == "enclave" and enclave.get("path", "").startswith("/")
        (profiles,) = enclave
        for profile in profiles:
            assert profile.tag == "profile" and set(profile.attrib) == {"ns", "node"}
            for group in profile:
                assert group.attrib and set(group.attrib) <= RIGHTS[group.tag] and len(group)
                assert set(group.attrib.values()) == {"ALLOW"}
                assert {each.tag for each in group} == {group.tag[:-1]}
    for names in itertools.chain.from_iterable(enclaves.iter(kind) for kind in RIGHTS):
        texts = [each.text for each in names]
        assert len(set(texts)) == len(texts)
        assert all(each and each.startswith("/") and "*" not in each for each in texts)


def test_a_running_node_has_exactly_what_its_policy_allows(graph: dict[str, set[str]]) -> None:
    parts = {right: {each for each in names if "/_action/" not in each} for right, names in graph.items()}
    assert named(NODE) == {right: names for right, names in parts.items() if names}


def test_the_others_ask_for_nothing_that_the_node_does_not_have(graph: dict[str, set[str]]) -> None:
    for enclave in ("/geoseg/planner", "/geoseg/cameras", "/geoseg/operator"):
        rights = named(enclave)
        assert rights.get("request", set()) <= graph["reply"]
        assert rights.get("call", set()) <= graph["execute"]
        heard = {each for each in rights["subscribe"] if each not in ("/tf", "/tf_static")}
        assert heard <= graph["publish"]
        assert rights["publish"] - {"/rosout", "/parameter_events"} <= graph["subscribe"]


def test_a_planner_cannot_feed_cameras_set_parameters_or_touch_files() -> None:
    rights = named("/geoseg/planner")
    assert rights["publish"].isdisjoint(named("/geoseg/cameras")["publish"] - {"/rosout", "/parameter_events"})
    forbidden = {"set_parameters", "set_parameters_atomically", "change_state", "save_memory", "load_memory"}
    assert rights["request"].isdisjoint(f"/geoseg/{each}" for each in forbidden)


def test_every_camera_is_fed_and_every_part_of_the_node_is_somebodys(graph: dict[str, set[str]]) -> None:
    assert {each for each in named("/geoseg/cameras")["publish"] if "/image" in each} == {
        f"/{camera}/image{end}" for camera in NodeConfig().cameras for end in ("", "/compressed")
    }
    asked = named("/geoseg/planner")["request"] | named("/geoseg/operator")["request"]
    offered = {each for each in graph["reply"] if "/_action/" not in each}
    assert offered - asked == {"/geoseg/get_type_description"}


def test_without_keys_an_enforced_node_does_not_start(tmp_path: Path, ros_environment: dict[str, str]) -> None:
    words = ["--ros-args", "--enclave", NODE]
    wanted = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_ros.nodes.perception", *words],
        env=ros_environment | wanted, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and f"SECURITY ERROR: directory '{tmp_path}/enclaves{NODE}'" in done.stderr
