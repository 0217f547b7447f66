"""Scans that benchmarks measure on: the vertices of a mesh, its segments, and the objects that are made of them.

The layout is ScanNet's: vertices in a binary PLY, `segIndices` with the segment of each vertex in one JSON file, and
`segGroups` with `objectId` and `segments` of each object in another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg_core.datasets.files import read_bytes, read_json
from geoseg_core.errors import BadInput

MOST_OBJECTS = 65_536
GROUP_ERRORS = (TypeError, KeyError, ValueError, OverflowError)
PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4", "float": "<f4",
    "double": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4",
    "float32": "<f4", "float64": "<f8",
}  # fmt: skip
HEADER_END, COMMENTS = b"end_header\n", ("comment", "obj_info")


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan in the world of its frames' poses.

    Attributes:
        points: (N, 3) metres; colours: (N, 3) in [0, 1].
        ids: (N,) int64, object id + 1, 0 = none.
        segments: (N,) int64 number of each point's segment, from 0.
    """

    points: np.ndarray
    colours: np.ndarray
    ids: np.ndarray
    segments: np.ndarray


@dataclass(frozen=True)
class ScanFiles:
    """Where a scan lies; read only where it is asked for."""

    mesh: Path
    segments: Path
    objects: Path

    def exist(self) -> bool:
        """Whether all of them are there."""
        return all(path.is_file() for path in (self.mesh, self.segments, self.objects))

    def read(self) -> Scan:
        """The scan. Of two objects that claim a segment the later one has it.

        Raises:
            BadInput: a file is missing or damaged, or they are not of one scan.
        """
        vertices = read_vertices(self.mesh)
        points, colours = (
            np.stack([vertices[name] for name in names], axis=1).astype(np.float64)
            for names in (("x", "y", "z"), ("red", "green", "blue"))
        )
        if not np.isfinite(points).all():
            raise BadInput(f"{self.mesh}: expected finite vertices, got others; fetch the file anew")
        numbers, segments = np.unique(self._segments(len(points)), return_inverse=True)
        owners = self._owners()
        ids = np.array([owners.get(number, 0) for number in numbers.tolist()], np.int64)
        return Scan(points, colours / 255, ids[segments], segments)

    def _segments(self, count: int) -> np.ndarray:
        """(N,) the segment of each vertex, as numbered in the file."""
        numbers = read_json(self.segments).get("segIndices")
        known = [each for each in numbers if type(each) is int] if isinstance(numbers, list) else []
        if not isinstance(numbers, list) or not len(numbers) == len(known) == count:
            raise BadInput(
                f"{self.segments}: expected segIndices with a number for each of the {count} vertices of "
                f"{self.mesh.name}, got {len(known)} numbers; take both files of one scan"
            )
        return np.array(known)

    def _owners(self) -> dict[int, int]:
        """Object id + 1 of each segment that has an object."""
        groups = read_json(self.objects).get("segGroups")
        try:
            return {int(number): object_id(group) + 1 for group in groups for number in group["segments"]}
        except GROUP_ERRORS as error:
            raise BadInput(f"{self.objects}: expected segGroups with objectId and segments, got {error!r}") from error


def object_id(group: dict[str, Any]) -> int:
    """The id of an annotated object.

    Raises:
        ValueError: it is none; TypeError, KeyError, OverflowError: neither is the group one of segGroups.
    """
    number = int(group["objectId"])
    if not 0 <= number < MOST_OBJECTS:
        raise ValueError(f"objectId {number}, not 0 to {MOST_OBJECTS - 1}")
    return number


def read_vertices(path: Path) -> np.ndarray:
    """(N,) with the fields of the vertices of a binary PLY, x, y, z, red, green, blue among them.

    Raises:
        BadInput: missing, cut short, or another kind of PLY.
    """
    content = read_bytes(path, "a PLY")
    header, end, body = content.partition(HEADER_END)
    lines = [line.split() for line in header.decode("latin-1").splitlines() if not line.startswith(COMMENTS)]
    elements = [number for number, line in enumerate(lines) if line[:1] == ["element"]]
    if not end or lines[:1] != [["ply"]] or ["format", "binary_little_endian", "1.0"] not in lines or not elements:
        raise BadInput(f"{path}: expected a PLY of the format binary_little_endian, got {bytes(header[:60])!r}")
    first, after = elements[0], [*elements[1:], len(lines)][0]
    try:
        (name, count), fields = lines[first][1:], [(line[2], PLY_TYPES[line[1]]) for line in lines[first + 1 : after]]
        kind, number = np.dtype(fields), int(count)
    except (ValueError, KeyError, IndexError) as error:
        raise BadInput(f"{path}: expected vertices with plain numbers, got {error!r} in the header") from error
    if name != "vertex" or not {"x", "y", "z", "red", "green", "blue"} <= {field for field, _ in fields}:
        raise BadInput(f"{path}: expected vertices with x, y, z, red, green and blue first, got {name} with {fields}")
    if not 0 < number * kind.itemsize <= len(body):
        raise BadInput(
            f"{path}: expected {number} vertices of {kind.itemsize} bytes, got {len(body)} bytes; fetch the file anew"
        )
    return np.frombuffer(body, kind, number)
