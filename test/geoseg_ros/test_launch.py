"""The launch file, built with a stand-in for launch that takes what the real one (Jazzy) takes and no more."""

import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from geoseg_core.resources import resource
from geoseg_ros.bringup import CONFIG, NODES
from geoseg_ros.environment import ros_environment


@dataclass
class LaunchDescription:
    entities: list[Any]


@dataclass
class LaunchConfiguration:
    variable_name: str
    default: Any = field(default=None, kw_only=True)


@dataclass
class DeclareLaunchArgument:
    name: str
    default_value: str | None = field(default=None, kw_only=True)
    description: str | None = field(default=None, kw_only=True)
    choices: list[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # As the real one does when it is made.
        if self.choices is not None and self.default_value is not None and self.default_value not in self.choices:
            raise RuntimeError(f"default {self.default_value} is none of {self.choices}")


@dataclass
class SetEnvironmentVariable:
    name: str
    value: str


@dataclass
class ParameterValue:
    value: Any
    value_type: Any = field(default=None, kw_only=True)
    description: str | None = field(default=None, kw_only=True)


@dataclass(kw_only=True)
class Node:
    # launch_ros.actions.Node
    executable: str
    package: str | None = None
    name: str | None = None
    namespace: str | None = None
    exec_name: str | None = None
    parameters: list[Any] | None = None
    remappings: Any = None
    ros_arguments: list[Any] | None = None
    arguments: list[Any] | None = None
    # launch.actions.ExecuteProcess and ExecuteLocal
    output: str = "log"
    emulate_tty: bool = False
    respawn: bool = False
    respawn_delay: float | None = None
    respawn_max_retries: int = -1
    additional_env: dict[str, str] | None = None


STAND_IN = {
    "launch": [LaunchDescription],
    "launch.actions": [DeclareLaunchArgument, SetEnvironmentVariable],
    "launch.substitutions": [LaunchConfiguration],
    "launch_ros": [],
    "launch_ros.actions": [Node],
    "launch_ros.parameter_descriptions": [ParameterValue],
}


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("launch_file_under_test", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.fixture
def entities(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    for name, members in STAND_IN.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, name, module)
    return load(resource("launch/bringup.launch.py")).entities


def of_type(entities: list[Any], wanted: type) -> list[Any]:
    return [each for each in entities if isinstance(each, wanted)]


def test_the_nodes_are_those_of_the_list(entities: list[Any]) -> None:
    launched = of_type(entities, Node)
    assert [(node.package, node.executable, node.name) for node in launched] == [
        ("geoseg_ros", entry.executable, entry.name) for entry in NODES
    ]


def test_a_node_that_dies_is_started_again_after_a_while(entities: list[Any]) -> None:
    for node in of_type(entities, Node):
        assert node.respawn is True
        assert node.respawn_delay is not None and node.respawn_delay > 0


def test_every_argument_is_used_and_every_used_one_is_declared(entities: list[Any]) -> None:
    declared = {argument.name for argument in of_type(entities, DeclareLaunchArgument)}
    for node in of_type(entities, Node):
        config, flags = node.parameters
        used = {config.variable_name} | {flag.value.variable_name for flag in flags.values()}
        used |= {word.variable_name for word in node.ros_arguments if isinstance(word, LaunchConfiguration)}
        assert used == declared


def test_flags_reach_the_node_as_booleans_under_their_own_names(entities: list[Any]) -> None:
    for node in of_type(entities, Node):
        flags = node.parameters[1]
        assert {name: (flag.value.variable_name, flag.value_type) for name, flag in flags.items()} == {
            "autostart": ("autostart", bool),
            "use_sim_time": ("use_sim_time", bool),
        }


def test_the_default_parameters_are_the_file_of_the_package(entities: list[Any]) -> None:
    defaults = {argument.name: argument.default_value for argument in of_type(entities, DeclareLaunchArgument)}
    assert defaults["config"] == str(resource(CONFIG))
    assert Path(defaults["config"]).is_file()


def test_the_environment_comes_before_the_nodes_that_need_it(entities: list[Any]) -> None:
    variables = of_type(entities, SetEnvironmentVariable)
    assert {variable.name: variable.value for variable in variables} == ros_environment()
    last_variable = max(entities.index(variable) for variable in variables)
    assert last_variable < min(entities.index(node) for node in of_type(entities, Node))


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    environment = ros_environment()
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_each_executable_is_built_from_the_module_that_the_command_composes() -> None:
    # CMakeLists.txt makes one program for each file of geoseg_ros/nodes, named like the file.
    for entry in NODES:
        assert entry.module == f"geoseg_ros.nodes.{entry.executable}"
        assert importlib.util.find_spec(entry.module)


def test_under_the_real_launch() -> None:
    pytest.importorskip("launch_ros", reason="launch_ros comes with ROS 2 itself")
    description = load(resource("launch/bringup.launch.py"))
    assert [argument.name for argument in description.get_launch_arguments()] == [
        "config",
        "autostart",
        "use_sim_time",
        "log_level",
    ]
