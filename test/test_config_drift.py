"""The generated files say what the settings say, and ROS reads from them what the settings mean."""

import pytest
import rclpy

from geoseg_core.config import Setting
from geoseg_core.resources import resource
from geoseg_ros.bringup import CONFIG
from geoseg_ros.commands.config import GENERATED, facts, yaml_value
from geoseg_ros.parameters import NodeConfig, NodeParameters


@pytest.mark.parametrize("name", GENERATED)
def test_the_file_is_what_would_be_generated_now(name: str) -> None:
    assert resource(name).read_text() == GENERATED[name](), "run `geoseg config --write` and look at the difference"


def test_ros_reads_the_defaults_from_the_yaml(ros_environment: dict[str, str]) -> None:
    rclpy.init(args=["--ros-args", "--params-file", str(resource(CONFIG))])
    try:
        node = rclpy.create_node("geoseg")
        given = node._parameter_overrides
        assert NodeParameters(node).config == NodeConfig()
        assert {"cameras", "sync.slop_s"} <= set(given), "the values must come from the file, not from the code"
        node.destroy_node()
    finally:
        rclpy.shutdown()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (1e-6, "0.000001"),
        (1e9, "1000000000.0"),
        (12.5, "12.5"),
        (7, "7"),
        (True, "true"),
        ("", '""'),
        (("ego", "exo"), "[ego, exo]"),
        ((0.5, 2.0), "[0.5, 2.0]"),
    ],
)
def test_a_value_is_written_so_that_its_type_survives(value: object, text: str) -> None:
    assert yaml_value(value) == text


def test_the_facts_of_a_setting() -> None:
    assert list(facts(Setting("a", 1.0, "", "m", 0.0, 10.0))) == ["m", "0 to 10"]
    assert list(facts(Setting("a", 1.0, "", "", 0.5, None))) == ["at least 0.5"]
    assert list(facts(Setting("a", 1.0, "", "", None, 1_000_000_000))) == ["at most 1000000000"]
    assert list(facts(Setting("a", "x", "", choices=("x", "y")))) == ["one of x, y"]
