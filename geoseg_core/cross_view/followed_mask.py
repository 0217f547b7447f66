"""An object that is followed by masks alone: what each camera saw of it, and how that is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from geoseg_core.cross_view.carrier import Sighting
from geoseg_core.instances.store import Stored, read_array, read_facts, read_list


@dataclass(eq=False)
class FollowedMask:
    """An object that is followed, by trusted masks of each camera.

    Attributes:
        newest, best: by camera, the mask that was seen last, and that which is trusted most: one that a user marked.
        points: (N, 3) where it was seen last, in the world.
    """

    object_id: int
    label: str
    first_seen_ns: int
    last_seen_ns: int
    newest: dict[str, Sighting] = field(default_factory=dict)
    best: dict[str, Sighting] = field(default_factory=dict)
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))

    def saw(self, sightings: Mapping[str, Sighting]) -> None:
        """Cameras saw it."""
        self.newest |= sightings
        for camera, each in sightings.items():
            if camera not in self.best or each.score >= self.best[camera].score:
                self.best[camera] = each

    def forget(self, camera: str = "") -> None:
        """What a camera saw, or all of them, counts no more."""
        for known in (self.newest, self.best):
            for each in [camera] if camera else list(known):
                known.pop(each, None)

    def sightings(self) -> Iterator[tuple[str, Sighting]]:
        """What cameras saw, in an order in which `saw` brings it back."""
        yield from self.best.items()
        yield from ((camera, each) for camera, each in self.newest.items() if each is not self.best[camera])


def stored_masks(things: list[FollowedMask]) -> Stored:
    """Followed objects for a memory file."""
    arrays: dict[str, np.ndarray] = {}
    facts = []
    for number, thing in enumerate(things):
        arrays[f"{number}.points"] = thing.points.astype(np.float32)
        kept = list(thing.sightings())
        for index, (_, sighting) in enumerate(kept):
            arrays[f"{number}.{index}.maps"] = sighting.maps.to(torch.float16).cpu().numpy()
            arrays[f"{number}.{index}.mask"] = sighting.mask.astype(np.uint8)
        facts.append({
            "id": thing.object_id, "label": thing.label, "cameras": [camera for camera, _ in kept],
            "scores": [each.score for _, each in kept], "first": [each.first for _, each in kept],
            "first_seen_ns": thing.first_seen_ns, "last_seen_ns": thing.last_seen_ns,
        })  # fmt: skip
    return Stored(arrays, {"masks": facts})


def restored_masks(stored: Stored) -> list[FollowedMask]:
    """Followed objects of a memory file.

    Raises:
        KeyError, TypeError, ValueError: they are not whole.
    """
    facts = read_list(stored.facts["masks"])
    return [_restored(fact, stored.arrays, f"{number}.") for number, fact in enumerate(facts)]


def _restored(fact: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> FollowedMask:
    object_id, label, first_ns, last_ns = read_facts(fact)
    points = read_array(arrays, f"{prefix}points", 2, np.float32)
    if points.shape[1] != 3:
        raise ValueError(f"{prefix}points: expected (N, 3), got {points.shape}")
    thing = FollowedMask(object_id, label, first_ns, last_ns, points=points)
    kept = zip(*(read_list(fact[name]) for name in ("cameras", "scores", "first")), strict=True)
    for index, (camera, score, first) in enumerate(kept):
        maps = read_array(arrays, f"{prefix}{index}.maps", 3, np.float16)
        mask = read_array(arrays, f"{prefix}{index}.mask", 2, np.uint8)
        thing.saw({str(camera): Sighting(torch.from_numpy(maps).float(), mask > 0, float(score), bool(first))})
    return thing
