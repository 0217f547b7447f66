"""Names of a bag's topics, in one place for everybody who writes, reads, records or replays one.

docs/bag_format.md explains them.
"""

import json
from collections.abc import Iterable

from geoseg_core.datasets.truth import TruthObject
from geoseg_core.errors import BadInput

CAMERA_INFO = "camera_info"
TF, TF_STATIC, OBJECTS = "/tf", "/tf_static", "/ground_truth/objects"
LATCHED = (TF_STATIC, OBJECTS)
# Where a stream of a camera may stand, best first; the message type decides how it is read.
SUFFIXES = {
    "image": ("image", "image/compressed"),
    "depth": ("depth", "depth/compressedDepth"),
    "labels": ("ground_truth/labels", "ground_truth/labels/compressed"),
}


def camera_topics(camera: str) -> list[str]:
    """Every topic that may belong to a camera."""
    suffixes = [CAMERA_INFO, *(suffix for names in SUFFIXES.values() for suffix in names)]
    return [f"/{camera}/{suffix}" for suffix in suffixes]


def find_cameras(topics: Iterable[str]) -> tuple[str, ...]:
    """Cameras that have a camera_info and an image among the topics; names with "ego" in them first."""
    known = set(topics)
    names = [topic[1 : -len(CAMERA_INFO) - 1] for topic in known if topic.endswith(f"/{CAMERA_INFO}")]
    seen = [name for name in names if name and any(f"/{name}/{suffix}" in known for suffix in SUFFIXES["image"])]
    return tuple(sorted(seen, key=lambda name: ("ego" not in name, name)))


def objects_to_json(objects: Iterable[TruthObject]) -> str:
    """The content of the objects topic."""
    entries = [{"id": each.id, "name": each.name, "class": each.class_name, "role": each.role} for each in objects]
    return json.dumps({"objects": entries})


def objects_from_json(text: str) -> tuple[TruthObject, ...]:
    """The objects that a bag names.

    Raises:
        BadInput: not the JSON that the format asks for, or an id that is named twice.
    """
    try:
        entries = json.loads(text)["objects"]
        objects = tuple(
            TruthObject(entry["id"], str(entry["name"]), str(entry.get("class", "")), entry.get("role", "object"))
            for entry in entries
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f'{OBJECTS}: expected {{"objects": [{{"id": 1, "name": "mug", "class": "mug", "role": "object"}}]}}, '
            f"got {text!r:.120} ({type(error).__name__}: {error})"
        ) from error
    ids = [each.id for each in objects]
    if len(set(ids)) != len(ids):
        raise BadInput(f"{OBJECTS}: expected every id once, got {ids}")
    return objects
