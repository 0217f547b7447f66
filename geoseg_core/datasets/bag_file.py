"""BagFile: a rosbag2 recording, message by message. The only place that calls the foreign bag reader.

Definitions that the bag itself carries are used, and only those of the types that are asked for, so that other
types in it, known or not, do no harm.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backports.zstd import ZstdError
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from ruamel.yaml.error import YAMLError

from geoseg_core.errors import BadInput

try:  # what rosbags reads SQLite3 with, by version
    from apsw import Error as SqliteError
except ImportError:
    from sqlite3 import Error as SqliteError  # type: ignore[assignment]

# What the reader lets out on damaged files, found by flipping and cutting bytes. OSError: seek and read;
# ValueError includes UnicodeDecodeError; RuntimeError: lz4 and generators; TypeError: ord() at the end of a file;
# SyntaxError: Python code that it generates from a damaged definition.
FOREIGN_ERRORS = (
    ReaderError, SerdeError, TypesysError, ZstdError, YAMLError, SqliteError, struct.error,
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
    ArithmeticError, MemoryError, RuntimeError, SyntaxError, NameError,
)  # fmt: skip
IDL_SEPARATOR = "=" * 80 + "\n"


@contextmanager
def refusing(path: Path, doing: str) -> Iterator[None]:
    """Turn whatever the foreign reader raises into BadInput."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        raise BadInput(
            f"bag {path}: expected a complete rosbag2 recording (MCAP or SQLite3), got {type(error).__name__} "
            f"while {doing}: {str(error)[:200]}; record it again, or repair it with `mcap recover`"
        ) from error


@dataclass(frozen=True, eq=False)
class BagMessage:
    """One recorded message: when it was received, and its serialised bytes (CDR)."""

    topic: str
    type_name: str
    received_ns: int
    data: bytes


class BagFile:
    """A recording that is open for reading; use it in a `with` statement.

    Attributes:
        connections: all topics with their types, definitions, counts and QoS profiles.

    Raises:
        BadInput: there is no such bag, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _storage_path(Path(path))
        with refusing(self.path, "opening it"):
            self._reader = Reader(self.path)
            self._reader.open()
        self.connections: tuple[Connection, ...] = tuple(self._reader.connections)
        self._types: dict[str, Typestore] = {}

    @property
    def topics(self) -> dict[str, str]:
        """Topic to type name."""
        return {each.topic: each.msgtype for each in self.connections}

    @property
    def span_ns(self) -> tuple[int, int]:
        """When the first and the last message were received."""
        with refusing(self.path, "reading its time span"):
            return self._reader.start_time, self._reader.end_time

    def count(self, topic: str) -> int:
        """How many messages a topic has."""
        return sum(each.msgcount for each in self.connections if each.topic == topic)

    def messages(
        self, topics: Iterable[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """The messages of some topics in the order in which they were received, read as they are asked for.

        Args:
            start_ns, stop_ns: only what was received from the first time on and before the second.

        Raises:
            BadInput: the bag is damaged from here on.
        """
        wanted = set(topics)
        connections = [each for each in self.connections if each.topic in wanted]
        if not connections:
            return
        with refusing(self.path, "reading its messages"):
            source = self._reader.messages(connections, start=start_ns, stop=stop_ns)
        while True:
            with refusing(self.path, "reading its messages"):
                entry = next(source, None)
            if entry is None:
                return
            connection, received_ns, data = entry
            yield BagMessage(connection.topic, connection.msgtype, received_ns, bytes(data))

    def decode(self, message: BagMessage, *type_names: str) -> Any:
        """The message as an object with its fields.

        Args:
            type_names: types that are accepted; none: any.

        Raises:
            BadInput: another type, or bytes that do not fit the type's definition.
        """
        if type_names and message.type_name not in type_names:
            raise BadInput(f"{message.topic}: expected messages of {' or '.join(type_names)}, got {message.type_name}")
        with refusing(self.path, f"decoding a message of {message.topic}"):
            return self._typestore(message.type_name).deserialize_cdr(message.data, message.type_name)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def __enter__(self) -> "BagFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _typestore(self, type_name: str) -> Typestore:
        """Definitions of one type and of what it is made of: the bag's own, else those of ROS 2 Jazzy."""
        if type_name not in self._types:
            definition = next(each.msgdef for each in self.connections if each.msgtype == type_name)
            store = get_typestore(Stores.ROS2_JAZZY)
            if definition.format != MessageDefinitionFormat.NONE:
                store = get_typestore(Stores.EMPTY)
                store.register(_parse_definition(definition.format, definition.data, type_name))
                self._check_fields(store)
            self._types[type_name] = store
        return self._types[type_name]

    def _check_fields(self, store: Typestore) -> None:
        """Refuse definitions of standard types that lack what the standard has: their messages could not be used."""
        standard = get_typestore(Stores.ROS2_JAZZY).fielddefs
        for name in store.fielddefs.keys() & standard.keys():
            found = dict(store.fielddefs[name][1])
            lacking = [field for field, kind in standard[name][1] if found.get(field) != kind]
            if lacking:
                raise BadInput(f"bag {self.path}: expected {name} with the standard's fields, got none such: {lacking}")


def _parse_definition(form: MessageDefinitionFormat, text: str, type_name: str) -> dict[str, Any]:
    if form == MessageDefinitionFormat.MSG:
        return dict(get_types_from_msg(text, type_name))
    types: dict[str, Any] = {}
    for part in text.split(IDL_SEPARATOR):
        body = part.split("\n", 1)[1] if part.startswith("IDL: ") else part
        types.update(get_types_from_idl(body) if body.strip() else {})
    return types


def _storage_path(path: Path) -> Path:
    """What to open: the folder, or its only MCAP file where the recorder wrote no metadata.yaml."""
    if not path.exists():
        raise BadInput(f"bag {path}: expected a .mcap file or a rosbag2 folder, found nothing there")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        files = [*path.glob("*.mcap"), *path.glob("*.db3")]
        if len(files) != 1:
            raise BadInput(f"bag {path}: expected metadata.yaml or one .mcap file in it, got {len(files)} files")
        return files[0]
    return path
