"""Ways to damage bytes, JSON and ROS messages, each drawn from a random generator."""

import json
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

NUMBERS = (0, 1, 2, 3, 4, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e-300, 1e300, 1e38, -1e20, 1e-40)
TEXTS = ("", "x", "rgb8", "bgr8", "mono8", "mono16", "32FC1", "bayer_rggb8", "yuv422", "32FC1; compressedDepth", "png",
         "world", "ego", "/ego", "ä" * 300, "\x00", "[]", "NaN")  # fmt: skip
DEEP = json.loads('{"a":' * 900 + "1" + "}" * 900)
LISTS = ([], {}, [0], [[]], [None], {"": 0}, [1] * 100, DEEP)
VALUES = (None, True, False, -1, *NUMBERS, 10**400, *FLOATS, *TEXTS, *LISTS)


def generator(name: str, number: int) -> np.random.Generator:
    """Always the same for a name and a number."""
    return np.random.default_rng([zlib.crc32(name.encode()), number])


def one_of(random: np.random.Generator, things: Sequence[Any]) -> Any:
    """One of several things."""
    return things[int(random.integers(len(things)))]


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Bytes with flipped bits, a lying number, a piece cut out, repeated or replaced, or an end that is missing; now
    and then as they were, or nothing but noise."""
    changed, kind = bytearray(data), int(random.integers(8))
    if kind == 0 or not data:
        return data if random.random() < 0.3 else random.bytes(int(random.integers(200)))
    for _ in range(1 + int(random.integers(4))):
        place, length = int(random.integers(len(changed) or 1)), int(random.integers(1, 17))
        if kind <= 2 and changed:
            changed[place] ^= 1 << int(random.integers(8))
        elif kind <= 4:
            size = one_of(random, (1, 2, 4, 8))
            order = one_of(random, ("little", "big"))
            changed[place : place + size] = (one_of(random, NUMBERS) % 256**size).to_bytes(size, order)
        elif kind == 5:
            del changed[place : place + length]
        elif kind == 6:
            changed[place:place] = changed[place : place + length * 10]
        else:
            return bytes(changed[:place])
    return bytes(changed)


def strange(value: Any, random: np.random.Generator) -> Any:
    """What JSON holds, with one thing in it removed, doubled or replaced; JSON in its texts is damaged too."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = one_of(random, list(value))
        if random.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: strange(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = int(random.integers(len(value)))
        kept = [] if random.random() < 0.1 else [strange(value[place], random)]
        return value[:place] + kept + value[place + int(random.random() < 0.95) :]
    if isinstance(value, str) and value[:1] in ("{", "[") and random.random() < 0.95:
        return damaged_json(value.encode(), random).decode(errors="replace")
    return one_of(random, VALUES)


def damaged_json(text: bytes, random: np.random.Generator) -> bytes:
    """JSON with strange things in it, or no JSON any more."""
    kind = random.random()
    if kind < 0.2:
        return damaged(text, random)
    if kind < 0.21:
        return b'{"objects":' + b"[" * int(random.integers(1, 100_000))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # it was damaged before
        return damaged(text, random)
    for _ in range(1 + int(random.integers(2))):
        value = strange(value, random)
    return json.dumps(value).encode()


def damaged_tensors(data: bytes, random: np.random.Generator) -> bytes:
    """A safetensors file with strange metadata, a strange header, or damage anywhere."""
    kind = random.random()
    if kind < 0.3:
        return damaged(data, random)
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    if kind < 0.7:
        values = json.loads(header)
        header = json.dumps({**values, "__metadata__": strange(values["__metadata__"], random)}).encode()
    else:
        header = damaged_json(header, random)
    said = len(header) if random.random() < 0.95 else one_of(random, NUMBERS)
    return said.to_bytes(8, "little") + header + data[8 + length :]


def damage_message(message: Any, random: np.random.Generator) -> None:
    """Make one field of a ROS message, or of one inside it, lie."""
    name, kind = one_of(random, list(message.get_fields_and_field_types().items()))
    setattr(message, name, _lie(getattr(message, name), kind, random))


def _lie(value: Any, kind: str, random: np.random.Generator) -> Any:
    if hasattr(value, "get_fields_and_field_types"):
        damage_message(value, random)
        return value
    if isinstance(value, list):
        return _lying_list(value, kind, random)
    if isinstance(value, array):
        size = value.itemsize
        data = damaged(value.tobytes(), random)
        return array(value.typecode, data[: len(data) // size * size])
    if isinstance(value, np.ndarray):
        value[int(random.integers(len(value)))] = one_of(random, FLOATS)
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        bits = int("".join(filter(str.isdigit, kind)) or 8)
        number = one_of(random, NUMBERS) if random.random() < 0.8 else value + int(random.integers(-2, 3))
        number %= 2**bits
        return number - 2**bits if not kind.startswith(("uint", "octet")) and number >= 2 ** (bits - 1) else number
    if isinstance(value, float):
        return float(np.float32(one_of(random, FLOATS))) if kind == "float" else one_of(random, FLOATS)
    return one_of(random, TEXTS)


def _lying_list(values: list[Any], kind: str, random: np.random.Generator) -> list[Any]:
    place = int(random.integers(len(values) or 1))
    if not values or random.random() < 0.2:
        return values[:place]
    if random.random() < 0.2:
        return [*values, values[place]]
    changed = _lie(values[place], kind.removeprefix("sequence<").rstrip(">"), random)
    return [*values[:place], changed, *values[place + 1 :]]
