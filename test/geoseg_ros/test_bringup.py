"""`geoseg bringup` as a process of its own, seen from another."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import rclpy
from geoseg_processes import command
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

from geoseg_core.resources import resource
from geoseg_ros.bringup import CONFIG, NODES
from geoseg_ros.commands.bringup import ros_command_line


@pytest.fixture
def observer(ros_environment: dict[str, str]) -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node("observer")
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def bringup(ros_environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with ExitStack() as started:
        yield lambda *words: started.enter_context(command(ros_environment, "bringup", *words))


def parameter(observer: Node, node: str, name: str) -> str:
    client = observer.create_client(GetParameters, f"/{node}/get_parameters")
    assert client.wait_for_service(timeout_sec=60), f"/{node} did not come up"
    future = client.call_async(GetParameters.Request(names=[name]))
    rclpy.spin_until_future_complete(observer, future, timeout_sec=30)
    return future.result().values[0].string_value


def wait_until_announced(observer: Node) -> None:
    deadline = time.monotonic() + 60
    while "geoseg" not in observer.get_node_names():
        assert time.monotonic() < deadline, "no node geoseg"
        time.sleep(0.001)


def wait_for_output(observer: Node, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not observer.count_publishers("/geoseg/cross_view_masks"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"nobody publishes; seen are {observer.get_node_names()}"
        time.sleep(0.1)


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_by_itself_and_ends_cleanly_when_told(observer: Node, bringup: Callable, word: int) -> None:
    process = bringup()
    wait_for_output(observer, process)
    process.send_signal(word)
    complaints, _ = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_it_ends_cleanly_when_told_while_it_starts(observer: Node, bringup: Callable, delay_s: float) -> None:
    process = bringup()
    wait_until_announced(observer)
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    complaints, _ = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints


def test_parameters_come_from_the_file_and_single_ones_from_the_command_line(
    observer: Node, bringup: Callable, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("geoseg:\n  ros__parameters:\n    world_frame: table\n    synchronizer: message_filters\n")
    bringup("--config", str(file), "--set", "synchronizer=builtin", "--set", "autostart=false")
    assert parameter(observer, "geoseg", "world_frame") == "table"
    assert parameter(observer, "geoseg", "synchronizer") == "builtin"
    assert observer.count_publishers("/geoseg/cross_view_masks") == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--set", "sync.slop_s=7.0"], "sync.slop_s"),
        (["--set", "cameras=[1, 2]"], "cameras"),
        (["--set", "nonsense"], "expected NAME=VALUE, got 'nonsense'"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml, which is not there"),
        (["--ros-args", "-r"], "remap"),
    ],
)
def test_what_keeps_it_from_starting_is_one_clear_line(bringup: Callable, words: list[str], complaint: str) -> None:
    process = bringup(*words)
    complaints, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint in complaints
    assert "geoseg bringup: " in complaints and "Traceback" not in complaints


def test_a_broken_yaml_is_refused(bringup: Callable, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("geoseg: [unclosed\n")
    process = bringup("--config", str(file))
    complaints, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(file) in complaints and "Traceback" not in complaints


def test_the_users_own_words_come_last() -> None:
    words = ros_command_line(None, ["a=1", "b=x=y"], ["-r", "ego/image:=/wrist/image"])
    assert words == [
        *("--ros-args", "--params-file", str(resource(CONFIG))),
        *("-p", "a:=1", "-p", "b:=x=y", "-r", "ego/image:=/wrist/image"),
    ]


def test_node_names_are_unique() -> None:
    assert len({entry.name for entry in NODES}) == len(NODES)
