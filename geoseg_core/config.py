"""Settings, each defined once: default, unit, description and range stand together in one field.

ROS parameters, the YAML files in config/ and docs/parameters.md are generated from here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from geoseg_core.errors import BadConfig


@dataclass(frozen=True)
class Setting:
    """One setting as a user meets it: its dotted name, default and the facts about it."""

    name: str
    default: Any
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()

    def check(self, value: Any) -> Any:
        """Return `value` in the default's type, or refuse it.

        Raises:
            BadConfig: wrong type, out of range, or none of the choices.
        """
        wanted = type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)
        if wanted is tuple and isinstance(value, (list, tuple)):
            value = tuple(value)
        if type(value) is not wanted:
            raise BadConfig(f"{self.name}: expected {wanted.__name__}, got {value!r}")
        members = value if wanted is tuple else (value,)
        if self.choices and any(member not in self.choices for member in members):
            raise BadConfig(f"{self.name}: expected one of {list(self.choices)}, got {value!r}")
        too_low = self.low is not None and any(not member >= self.low for member in members)
        too_high = self.high is not None and any(not member <= self.high for member in members)
        if too_low or too_high:
            wanted_range = f"{self.low} to {self.high} {self.unit}".rstrip()
            raise BadConfig(f"{self.name}: expected {wanted_range}, got {value!r}")
        return value


def setting(
    default: Any,
    description: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
) -> Any:
    """A dataclass field that carries all that is known about a setting."""
    facts = {"description": description, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=facts)


def settings(config_type: type, prefix: str = "") -> Iterator[Setting]:
    """All settings of a config class and of the configs inside it, with dotted names, in order."""
    for each in fields(config_type):
        name = f"{prefix}{each.name}"
        if each.default_factory is not MISSING and is_dataclass(each.default_factory):
            yield from settings(each.default_factory, f"{name}.")
        else:
            yield Setting(name, each.default, **each.metadata)


def build(config_type: type, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Make a config from dotted names; what `values` leaves out keeps its default.

    Raises:
        BadConfig: an unknown name, or a value that its setting refuses.
    """
    known = {each.name: each for each in settings(config_type, prefix)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BadConfig(f"expected settings of {config_type.__name__}, got unknown {unknown}")
    arguments: dict[str, Any] = {}
    for each in fields(config_type):
        name = f"{prefix}{each.name}"
        if name in known:
            if name in values:
                arguments[each.name] = known[name].check(values[name])
        else:
            inner = {key: value for key, value in values.items() if key.startswith(f"{name}.")}
            arguments[each.name] = build(each.default_factory, inner, f"{name}.")  # type: ignore[arg-type]
    return config_type(**arguments)
