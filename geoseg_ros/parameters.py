"""NodeConfig: every setting of the perception node, as ROS parameters with description, range and type."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from geoseg_core.config import Setting, build, setting, settings
from geoseg_core.errors import BadConfig, GeosegError
from geoseg_core.imaging import MAX_PIXELS
from geoseg_core.memory_limits import MemoryLimits
from geoseg_core.pipeline import PipelineConfig
from geoseg_core.synchronizer import SynchronizerConfig


@dataclass(frozen=True)
class DiagnosticsConfig:
    """What /diagnostics says, how often, and when it warns."""

    period_s: float = setting(0.25, "time from one diagnostic message to the next", "s", 0.1, 10.0)
    warn_latency_s: float = setting(
        0.2, "time from a set's arrival to its output (95th percentile): WARN above", "s", 0.0
    )
    error_latency_s: float = setting(
        1.0, "time from a set's arrival to its output (95th percentile): ERROR above", "s", 0.0
    )
    stale_s: float = setting(1.0, "no set for this long: WARN", "s", 0.1)


LONGEST_WAIT_S = 600.0


@dataclass(frozen=True)
class LimitsConfig:
    """What can be asked of the node; what is above is refused at once."""

    requests_per_s: float = setting(
        50.0, "requests a second on each service, action and topic of prompts, over time; as many may come at once "
        "as in one second", "Hz", 1.0, 10_000.0
    )  # fmt: skip
    waiting_requests: int = setting(
        100, "requests of each service, action and topic of prompts that may wait for their answer", "", 1, 10_000
    )
    objects: int = setting(100, "objects that are followed at once; each one costs time in every set", "", 1, 10_000)


@dataclass(frozen=True)
class NodeConfig:
    """Everything that can be set on the perception node."""

    cameras: tuple[str, ...] = setting(
        ("ego", "exo"), "names of the cameras, the ego camera first; each is also the prefix of its topics"
    )
    world_frame: str = setting("world", "tf frame of all 3-D results")
    autostart: bool = setting(True, "configure and activate at start, without a lifecycle manager")
    synchronizer: str = setting("builtin", "who groups the cameras' frames", choices=("builtin", "message_filters"))
    sync: SynchronizerConfig = field(default_factory=SynchronizerConfig)
    max_image_pixels: int = setting(MAX_PIXELS, "larger images are refused", "pixels", 1, 1_000_000_000)
    tf_wait_s: float = setting(
        0.05, "how long a set waits for the transforms of its stamp; without one a camera has no pose", "s", 0.0, 1.0
    )
    prompt_timeout_s: float = setting(
        5.0, "how long a prompt waits for a frame set with its camera, unless it says so itself", "s",
        0.0, LONGEST_WAIT_S,
    )  # fmt: skip
    clicked_point: str = setting(
        "segment", "what a click in RViz (/clicked_point) or on an overlay in rqt_image_view (overlay_mouse_left) "
        "does: answer once, have the thing tracked, or nothing", choices=("segment", "track", "ignore"),
    )  # fmt: skip
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)


# These shape the node's topics or are used once. The others may be set at any time; what the pipeline is built from
# holds from the next configure on, sync.* and diagnostics.period_s from the next activate on, the rest at once.
READ_ONLY = ("cameras", "world_frame", "autostart", "synchronizer")
# ROS 2 itself declares these on every node.
FOREIGN_PREFIXES = ("use_sim_time", "qos_overrides.", "start_type_description_service")


class NodeParameters:
    """The parameters of one node: declared once, readable as a NodeConfig at any time.

    Raises:
        BadConfig: a value given at start is refused.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._settings = {each.name: each for each in settings(NodeConfig)}
        for each in self._settings.values():
            self._declare(each)
        self.config: NodeConfig = self._build({})
        node.add_on_set_parameters_callback(self._check)
        self._warn_unknown(node._parameter_overrides)

    def _declare(self, each: Setting) -> None:
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        if default == []:  # from which ROS could not tell what it is a list of; it counts as not set
            default = Parameter.Type.STRING_ARRAY
        try:
            self._node.declare_parameter(each.name, default, _descriptor(each))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise BadConfig(f"parameter {error}") from error

    def _warn_unknown(self, given: Iterable[str]) -> None:
        unknown = sorted(set(given) - set(self._settings))
        unknown = [name for name in unknown if not name.startswith(FOREIGN_PREFIXES)]
        if unknown:
            self._node.get_logger().warning(f"expected parameters of this node, got also {unknown}: they do nothing")

    def _build(self, changed: dict[str, Any]) -> NodeConfig:
        values = {name: self._value(name) for name in self._settings}
        config = build(NodeConfig, values | changed)
        check_cameras(config.cameras)
        return config

    def _value(self, name: str) -> Any:
        try:
            return self._node.get_parameter(name).value
        except ParameterUninitializedException:  # what ROS makes of an empty list in YAML, which has no type
            return ()

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        changed = {each.name: each.value for each in parameters if each.name in self._settings}
        try:
            self.config = self._build(changed)
        except GeosegError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def check_cameras(cameras: tuple[str, ...]) -> None:
    """Refuse camera names that can't be parts of topic names, or that occur twice.

    Raises:
        BadConfig: with the names.
    """
    are_names = all(each.replace("/", "_").isidentifier() for each in cameras)
    if not cameras or not are_names or len(set(cameras)) != len(cameras):
        raise BadConfig(f"cameras: expected one or more different names of letters, digits and _, got {list(cameras)}")


def _descriptor(each: Setting) -> ParameterDescriptor:
    unit = f" [{each.unit}]" if each.unit else ""
    descriptor = ParameterDescriptor(
        name=each.name, description=f"{each.description}{unit}", read_only=each.name in READ_ONLY
    )
    if each.choices:
        descriptor.additional_constraints = f"one of {list(each.choices)}"
    kind = type(each.default)
    if kind is float:
        low = float("-inf") if each.low is None else float(each.low)
        high = float("inf") if each.high is None else float(each.high)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif kind is int:
        low = -(2**63) if each.low is None else int(each.low)
        high = 2**63 - 1 if each.high is None else int(each.high)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return descriptor
