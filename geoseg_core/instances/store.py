"""Memory files: all that is remembered as one safetensors file, checked before anything of it is believed.

Tracks are written here; what a follower remembers besides is its own (`Stored`).
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from geoseg_core.errors import BadInput
from geoseg_core.instances.keeper import LAST_ID
from geoseg_core.instances.tracks import Track

FORMAT = "geoseg-memory-3"
FOLLOWED = "followed."
MAX_BYTES = 1 << 30
MAX_THINGS = 4096


class Named(Protocol):
    """What has an id."""

    @property
    def object_id(self) -> int: ...


Thing = TypeVar("Thing", bound=Named)


@dataclass(frozen=True, eq=False)
class Stored:
    """What a follower remembers: arrays by name, and facts that JSON can hold."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


def save(path: str, tracks: list[Track], followed: Stored, next_id: int) -> None:
    """Write tracks that have an id and a place, and what is followed besides.

    Raises:
        BadInput: the file can't be written.
    """
    named = [track for track in tracks if track.object_id and len(track.points)]
    arrays = {FOLLOWED + name: array for name, array in followed.arrays.items()}
    for number, track in enumerate(named):
        arrays |= {f"track.{number}.points": track.points, f"track.{number}.colours": track.colours}
        if len(track.look):
            arrays[f"track.{number}.look"] = track.look.astype(np.float32)
    facts = {
        "next_id": next_id,
        "tracks": [
            {"id": track.object_id, "label": track.label, "followed": track.followed,
             "first_seen_ns": track.first_seen_ns, "last_seen_ns": track.last_seen_ns}
            for track in named
        ],
        "followed": dict(followed.facts),
    }  # fmt: skip
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(arrays, path, metadata={"format": FORMAT, "facts": json.dumps(facts)})
    except (OSError, SafetensorError) as error:
        raise BadInput(f"memory file {path!r}: could not be written ({error})") from error


def load(path: str, read: Callable[[Stored], list[Thing]]) -> tuple[list[Track], list[Thing], int]:
    """Read what `save` wrote: tracks, what is followed besides, the next free id.

    Args:
        read: makes of what is stored the things that are followed; raises KeyError, TypeError or ValueError where it is
            not whole.

    Raises:
        BadInput: not a memory file, or one that was cut off or tampered with; nothing is loaded then.
    """
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise BadInput(f"memory file {path!r}: expected at most {MAX_BYTES} bytes; is this a memory file?")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise BadInput(f"memory file {path!r}: expected a file written by save_memory, got {error}") from error
    if metadata.get("format") != FORMAT:
        raise BadInput(f"memory file {path!r}: expected format {FORMAT!r}, got {metadata.get('format')!r}")
    try:
        facts = json.loads(metadata["facts"])
        tracks = [_track(fact, arrays, f"track.{number}.") for number, fact in enumerate(read_list(facts["tracks"]))]
        own = {name.removeprefix(FOLLOWED): array for name, array in arrays.items() if name.startswith(FOLLOWED)}
        followed = read(Stored(own, facts["followed"]))
        groups = [[thing.object_id for thing in things] for things in (tracks, followed)]
        ids = [number for group in groups for number in group]
        next_id = read_whole(facts["next_id"], 1, LAST_ID + 1)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"memory file {path!r}: expected complete facts, got {type(error).__name__}: {error}") from error
    # A thing that is followed may be an instance too: both carry its id then.
    if any(len(set(group)) != len(group) for group in groups) or any(number >= next_id for number in ids):
        raise BadInput(f"memory file {path!r}: expected distinct ids below {next_id}, got {sorted(ids)}")
    return tracks, followed, next_id


def read_list(value: Any) -> list[Any]:
    """A list that is no longer than anything we write."""
    if not isinstance(value, list) or len(value) > MAX_THINGS:
        raise ValueError(f"expected a list of at most {MAX_THINGS} things")
    return value


def read_whole(value: Any, low: int, high: int) -> int:
    """A whole number within limits."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, got {value!r}")
    return value


def read_array(arrays: Mapping[str, np.ndarray], name: str, rank: int, dtype: Any) -> np.ndarray:
    """A finite array of that rank and type."""
    array = arrays[name]
    if array.ndim != rank or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite {np.dtype(dtype).name} of rank {rank}")
    return array


def read_facts(fact: Mapping[str, Any]) -> tuple[int, str, int, int]:
    """Id, label, first and last stamp in nanoseconds of an object."""
    label = fact["label"]
    if not isinstance(label, str):
        raise ValueError(f"label: expected a text, got {label!r}")
    stamps = [read_whole(fact[name], -(2**63), 2**63 - 1) for name in ("first_seen_ns", "last_seen_ns")]
    return read_whole(fact["id"], 1, LAST_ID), label, stamps[0], stamps[1]


def _track(fact: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Track:
    object_id, label, first_ns, last_ns = read_facts(fact)
    points = read_array(arrays, prefix + "points", 2, np.float32)
    colours = read_array(arrays, prefix + "colours", 2, np.float32)
    if points.shape[1] != 3 or points.shape != colours.shape or len(points) == 0:
        raise ValueError(f"{prefix}: expected points and colours (N, 3), got {points.shape} and {colours.shape}")
    track = Track(object_id, points, colours, np.ones(len(points), bool), first_ns, last_ns, sets_seen=1)
    track.label, track.followed = label, bool(fact["followed"])
    if prefix + "look" in arrays:
        track.look = read_array(arrays, prefix + "look", 1, np.float32)
    return track
