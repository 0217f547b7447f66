"""Settings, each defined once: default, unit, description and range stand together in one field.

ROS parameters, the YAML files in config/ and docs/parameters.md are generated from here.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
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
        if wanted is tuple and isinstance(value, (list, tuple)):
            kind = member_type(self.default)
            value = tuple(in_float(member) if kind is float else member for member in value)
            if any(type(member) is not kind for member in value):
                raise BadConfig(f"{self.name}: expected a list of {kind.__name__}, got {list(value)!r}")
        elif wanted is float:
            value = in_float(value)
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


def member_type(default: tuple) -> type:
    """What the members of a tuple are, by its default; words where that is empty."""
    return type(default[0]) if default else str


def in_float(value: Any) -> Any:
    """A whole number as a float, if there is one so large; anything else as it is."""
    return float(value) if type(value) is int and abs(value) <= sys.float_info.max else value


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


def settings(config: Any, prefix: str = "") -> Iterator[Setting]:
    """All settings of a config class and of the configs inside it, with dotted names, in order.

    Of an instance, its values stand as the defaults.
    """
    given = config() if isinstance(config, type) else config
    for each in fields(given):
        name, value = f"{prefix}{each.name}", getattr(given, each.name)
        if is_dataclass(value):
            yield from settings(value, f"{name}.")
        else:
            yield Setting(name, value, **each.metadata)


def build(config: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Make a config from dotted names; what `values` leaves out keeps its default, or its value in an instance.

    Raises:
        BadConfig: an unknown name, or a value that its setting refuses.
    """
    given = config() if isinstance(config, type) else config
    known = {each.name: each for each in settings(given, prefix)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BadConfig(f"expected settings of {type(given).__name__}, got unknown {unknown}")
    changed: dict[str, Any] = {}
    for each in fields(given):
        name, value = f"{prefix}{each.name}", getattr(given, each.name)
        if is_dataclass(value):
            inner = {key: word for key, word in values.items() if key.startswith(f"{name}.")}
            changed[each.name] = build(value, inner, f"{name}.")
        elif name in values:
            changed[each.name] = known[name].check(values[name])
    return replace(given, **changed)


def build_from_words(config: Any, words: Iterable[str]) -> Any:
    """Make a config, or change an instance, by words such as "geometry.encoder=vggt" of a command line.

    Raises:
        BadConfig: a word of another form, an unknown name, or a value that its setting refuses.
    """
    known = {each.name: each for each in settings(config)}
    values = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise BadConfig(f"expected a setting as NAME=VALUE, got {word!r}")
        values[name] = _value(known[name].default, text) if name in known else text
    return build(config, values)


def _value(default: Any, text: str) -> Any:
    """A value of the default's type, or the text itself where it can't be one: the setting refuses that."""
    if isinstance(default, tuple):
        member = member_type(default)()
        return tuple(_value(member, part.strip()) for part in text.strip("[]").split(",") if part.strip())
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return type(default)(text)
    except ValueError:
        return text
