"""The header of a safetensors file, believed only after it was checked against the file, before anything is allocated.

Layout: 8 bytes little-endian length n, n bytes of JSON {name: {dtype, shape, data_offsets}}, then the tensors.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg_core.errors import BadInput

# The largest header of the registered models is below 0.3 MB.
HEADER_BYTES_MAX = 16 * 1024 * 1024
SHAPE_LENGTH_MAX = 16
METADATA = "__metadata__"
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}


@dataclass(frozen=True)
class StoredTensor:
    """What the header says of one tensor: safetensors' name of its type, its shape, its bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path | str) -> dict[str, StoredTensor]:
    """Read and check the header of a safetensors file: name to what is stored, in the order of the file.

    Raises:
        BadInput: not a safetensors file, or one whose header is too large or contradicts itself or the file.
    """
    path = Path(path)
    values, data_bytes = _header(path)
    tensors = {name: _entry(path, name, value) for name, value in values.items() if name != METADATA}
    _check_layout(path, tensors, data_bytes)
    return tensors


def read_metadata(path: Path | str) -> dict[str, str]:
    """The free words that a safetensors file says of itself; nothing vouches for them.

    Raises:
        BadInput: not a safetensors file.
    """
    values, _ = _header(Path(path))
    words = values.get(METADATA, {})
    return {str(key): str(value) for key, value in words.items()} if isinstance(words, dict) else {}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header's object and the number of bytes behind it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, HEADER_BYTES_MAX):
                raise _refused(path, f"a header of {length} bytes in {size} bytes (at most {HEADER_BYTES_MAX})")
            text = file.read(length)
    except OSError as error:
        raise _refused(path, str(error)) from error
    return _json_object(path, text), size - 8 - length


def _json_object(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("a name given twice")
        return values

    try:
        values = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"a header that is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise _refused(path, f"a header that is a {type(values).__name__}, no object")
    return values


def _entry(path: Path, name: str, value: Any) -> StoredTensor:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]}:
            counts = [*shape, begin, end]
            whole = all(type(count) is int and 0 <= count < 2**63 for count in counts)
            if dtype in ITEM_BYTES and whole and len(shape) <= SHAPE_LENGTH_MAX:
                if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
                    raise _refused(path, f"{name!r} of {dtype} {tuple(shape)} in {end - begin} bytes")
                return StoredTensor(dtype, tuple(shape), begin, end)
    raise _refused(path, f"{name!r} described as {str(value)[:200]}")


def _check_layout(path: Path, tensors: dict[str, StoredTensor], data_bytes: int) -> None:
    """Tensors lie one behind the other and fill the file: no gap, no overlap, nothing beyond its end."""
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            raise _refused(path, f"{name!r} at byte {tensor.begin} where {position} was due")
        position = tensor.end
    if position != data_bytes:
        raise _refused(path, f"tensors of {position} bytes in {data_bytes} bytes of data (cut short?)")


def _refused(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path}: expected a whole safetensors file, got {what}; fetch it again with `geoseg weights pull`, "
        "or make it of a .pt or .pth file with `geoseg weights convert`"
    )
