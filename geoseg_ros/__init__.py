"""The ROS 2 side of geoseg: nodes, conversions, commands, and (generated) msg, srv and action."""

from pkgutil import extend_path
from typing import Any

# The generated interfaces lie in the install space, the sources perhaps in a checkout: one package made of both.
__path__ = extend_path(__path__, __name__)

# `from geoseg_ros import masks_from_msg`: the decoders that a planner needs, loaded only when asked for.
DECODERS = (
    "masks_from_msg",
    "cloud_from_msg",
    "instances_from_msg",
    "prompt_result_from_msg",
    "event_from_msg",
    "scale_from_msg",
    "prompt_to_msg",
)


def __getattr__(name: str) -> Any:
    if name not in DECODERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from geoseg_ros import conversions

    return getattr(conversions, name)
