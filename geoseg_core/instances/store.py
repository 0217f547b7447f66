"""Memory files: tracks and flat things as one safetensors file, checked before anything of it is believed."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from geoseg_core.cross_view.followed import FlatThing, Keyframe
from geoseg_core.errors import BadInput
from geoseg_core.geometry.encoder import ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.instances.identity import LAST_ID
from geoseg_core.instances.tracks import Track

FORMAT = "geoseg-memory-1"
MAX_BYTES = 1 << 30
MAX_THINGS = 4096


def save(path: str, tracks: list[Track], flat: list[FlatThing], next_id: int) -> None:
    """Write tracks that have an id, and flat things.

    Raises:
        BadInput: the file can't be written.
    """
    arrays: dict[str, np.ndarray] = {}
    named = [track for track in tracks if track.object_id]
    for number, track in enumerate(named):
        arrays |= {f"track.{number}.points": track.points, f"track.{number}.colours": track.colours}
    for number, thing in enumerate(flat):
        for index, key in enumerate(thing.keyframes):
            prefix = f"flat.{number}.{index}."
            parts = {
                "depth_m": key.view.depth_m, "intrinsics": key.view.intrinsics, "mask": key.mask.astype(np.uint8),
                "camera_to_world": key.view.camera_to_world,
            }  # fmt: skip
            arrays |= {prefix + name: np.ascontiguousarray(part) for name, part in parts.items()}
    facts = {
        "next_id": next_id,
        "tracks": [
            {"id": track.object_id, "label": track.label, "followed": track.followed,
             "first_seen_ns": track.first_seen_ns, "last_seen_ns": track.last_seen_ns}
            for track in named
        ],
        "flat": [
            {"id": thing.object_id, "label": thing.label, "cameras": [key.camera for key in thing.keyframes],
             "first_seen_ns": thing.first_seen_ns, "last_seen_ns": thing.last_seen_ns}
            for thing in flat
        ],
    }  # fmt: skip
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(arrays, path, metadata={"format": FORMAT, "facts": json.dumps(facts)})
    except (OSError, SafetensorError) as error:
        raise BadInput(f"memory file {path!r}: could not be written ({error})") from error


def load(path: str) -> tuple[list[Track], list[FlatThing], int]:
    """Read what `save` wrote: tracks, flat things, the next free id.

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
        tracks = [_track(fact, arrays, f"track.{number}.") for number, fact in enumerate(_list(facts["tracks"]))]
        flat = [_flat(fact, arrays, f"flat.{number}.") for number, fact in enumerate(_list(facts["flat"]))]
        ids = [track.object_id for track in tracks] + [thing.object_id for thing in flat]
        next_id = _whole(facts["next_id"], 1, LAST_ID + 1)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"memory file {path!r}: expected complete facts, got {type(error).__name__}: {error}") from error
    if len(set(ids)) != len(ids) or any(number >= next_id for number in ids):
        raise BadInput(f"memory file {path!r}: expected distinct ids below {next_id}, got {sorted(ids)}")
    return tracks, flat, next_id


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_THINGS:
        raise ValueError(f"expected a list of at most {MAX_THINGS} things")
    return value


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}, got {value!r}")
    return value


def _array(arrays: Mapping[str, np.ndarray], name: str, rank: int, dtype: Any) -> np.ndarray:
    array = arrays[name]
    if array.ndim != rank or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite {np.dtype(dtype).name} of rank {rank}")
    return array


def _facts(fact: Mapping[str, Any]) -> tuple[int, str, int, int]:
    label = fact["label"]
    if not isinstance(label, str):
        raise ValueError(f"label: expected a text, got {label!r}")
    stamps = [_whole(fact[name], -(2**63), 2**63 - 1) for name in ("first_seen_ns", "last_seen_ns")]
    return _whole(fact["id"], 1, LAST_ID), label, stamps[0], stamps[1]


def _track(fact: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Track:
    object_id, label, first_ns, last_ns = _facts(fact)
    points = _array(arrays, prefix + "points", 2, np.float32)
    colours = _array(arrays, prefix + "colours", 2, np.float32)
    if points.shape[1] != 3 or points.shape != colours.shape or len(points) == 0:
        raise ValueError(f"{prefix}: expected points and colours (N, 3), got {points.shape} and {colours.shape}")
    track = Track(object_id, points, colours, np.ones(len(points), bool), first_ns, last_ns, sets_seen=1)
    track.label, track.followed = label, bool(fact["followed"])
    return track


def _flat(fact: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> FlatThing:
    object_id, label, first_ns, last_ns = _facts(fact)
    keyframes = []
    for index, camera in enumerate(_list(fact["cameras"])):
        name = f"{prefix}{index}."
        depth_m, mask = _array(arrays, name + "depth_m", 2, np.float32), _array(arrays, name + "mask", 2, np.uint8)
        intrinsics = _array(arrays, name + "intrinsics", 2, np.float64)
        pose = _array(arrays, name + "camera_to_world", 2, np.float64)
        if mask.shape != depth_m.shape or intrinsics.shape != (3, 3) or pose.shape != (4, 4) or intrinsics[0, 0] <= 0:
            raise ValueError(f"{name}: expected a mask, depth, intrinsics and pose that fit together")
        confidence = (depth_m > 0).astype(np.float32)
        view = ViewGeometry(depth_m, confidence, intrinsics, pose, lift(depth_m, intrinsics, pose))
        keyframes.append(Keyframe(str(camera), view, mask > 0))
    if not keyframes:
        raise ValueError(f"{prefix}: expected a keyframe")
    return FlatThing(object_id, label, tuple(keyframes), first_ns, last_ns)
