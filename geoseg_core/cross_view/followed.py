"""Objects that are followed: masks of tracked things, and flat things carried by static reprojection."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoseg_core.cross_view.reprojection import ReprojectionConfig, Transfer, visibility, warp_mask
from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.encoder import EncodedScene, ViewGeometry
from geoseg_core.geometry.pointmap import lift
from geoseg_core.instances.lifting import labelled_cloud
from geoseg_core.instances.segmenter import Layout
from geoseg_core.instances.store import Stored, read_array, read_facts, read_list
from geoseg_core.instances.tracks import Track
from geoseg_core.results import LabelledCloud, ObjectMask, ViewMasks, Visibility
from geoseg_core.views import FrameSet


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One camera's view of a flat thing when it was last told: geometry and mask (H, W) bool."""

    camera: str
    view: ViewGeometry
    mask: np.ndarray

    @property
    def held_bytes(self) -> int:
        arrays = (self.mask, self.view.depth_m, self.view.confidence, self.view.points)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True, eq=False)
class FlatThing:
    """Something that lies in a support plane (a poster, a sheet of paper): it stays where it was shown."""

    object_id: int
    label: str
    keyframes: tuple[Keyframe, ...]
    first_seen_ns: int
    last_seen_ns: int

    def points(self) -> np.ndarray:
        """Its points (N, 3) in the world, thinned."""
        points = np.concatenate([key.view.points[key.mask] for key in self.keyframes])
        points = points[np.isfinite(points[:, 0])]
        return points[:: 1 + len(points) // 4000]


def flat_thing(object_id: int, label: str, layout: Layout, transfer: Transfer, first_seen_ns: int) -> FlatThing:
    """Remember mask 0 of a transfer in every view that shows it."""
    keyframes = tuple(
        Keyframe(view.camera, geometry, masks[0])
        for view, geometry, masks in zip(layout.scene.frames.views, layout.scene.views, transfer.masks, strict=True)
        if masks[0].any()
    )
    return FlatThing(object_id, label, keyframes, first_seen_ns, layout.scene.frames.stamp_ns)


def moved_thing(thing: FlatThing, moved: Similarity) -> FlatThing:
    """The same thing in a world, or a unit, that is another one."""
    return replace(thing, keyframes=tuple(replace(key, view=moved.view(key.view)) for key in thing.keyframes))


def flat_masks_now(thing: FlatThing, layout: Layout, config: ReprojectionConfig) -> tuple[ObjectMask, ...]:
    """A flat thing in every view of a set. A camera's own keyframe is trusted before those of others."""
    points = thing.points()
    masks = []
    for view, goal, background in zip(layout.scene.frames.views, layout.scene.views, layout.background, strict=True):
        mask = np.zeros(background.shape, bool)
        own = [key for key in thing.keyframes if key.camera == view.camera]
        for key in own or thing.keyframes:
            mask |= warp_mask(goal, key.view, key.mask, background & (goal.depth_m > 0), config)
        score, state = mean_confidence(goal, mask), visibility(mask, points, goal)
        masks.append(ObjectMask(thing.object_id, mask, score, state, thing.label))
    return tuple(masks)


def stored_things(things: list[FlatThing]) -> Stored:
    """Flat things for a memory file."""
    arrays: dict[str, np.ndarray] = {}
    for number, thing in enumerate(things):
        for index, key in enumerate(thing.keyframes):
            prefix = f"flat.{number}.{index}."
            parts = {
                "depth_m": key.view.depth_m, "intrinsics": key.view.intrinsics, "mask": key.mask.astype(np.uint8),
                "camera_to_world": key.view.camera_to_world,
            }  # fmt: skip
            arrays |= {prefix + name: part for name, part in parts.items()}
    facts = [
        {"id": thing.object_id, "label": thing.label, "cameras": [key.camera for key in thing.keyframes],
         "first_seen_ns": thing.first_seen_ns, "last_seen_ns": thing.last_seen_ns}
        for thing in things
    ]  # fmt: skip
    return Stored(arrays, {"flat": facts})


def restored_things(stored: Stored) -> list[FlatThing]:
    """Flat things of a memory file.

    Raises:
        KeyError, TypeError, ValueError: they are not whole.
    """
    facts = read_list(stored.facts["flat"])
    return [_restored(fact, stored.arrays, f"flat.{number}.") for number, fact in enumerate(facts)]


def _restored(fact: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> FlatThing:
    object_id, label, first_ns, last_ns = read_facts(fact)
    keyframes = []
    for index, camera in enumerate(read_list(fact["cameras"])):
        name = f"{prefix}{index}."
        depth_m = read_array(arrays, name + "depth_m", 2, np.float32)
        mask = read_array(arrays, name + "mask", 2, np.uint8)
        intrinsics = read_array(arrays, name + "intrinsics", 2, np.float64)
        pose = read_array(arrays, name + "camera_to_world", 2, np.float64)
        if mask.shape != depth_m.shape or intrinsics.shape != (3, 3) or pose.shape != (4, 4) or intrinsics[0, 0] <= 0:
            raise ValueError(f"{name}: expected a mask, depth, intrinsics and pose that fit together")
        confidence = (depth_m > 0).astype(np.float32)
        view = ViewGeometry(depth_m, confidence, intrinsics, pose, lift(depth_m, intrinsics, pose))
        keyframes.append(Keyframe(str(camera), view, mask > 0))
    if not keyframes:
        raise ValueError(f"{prefix}: expected a keyframe")
    return FlatThing(object_id, label, tuple(keyframes), first_ns, last_ns)


def track_masks_now(tracks: list[Track], layout: Layout) -> list[tuple[ObjectMask, ...]]:
    """Tracked things in every view of a set: for each view the masks in the order of `tracks`."""
    labels = layout.paint(layout.ids())
    result = []
    for image, goal in zip(labels, layout.scene.views, strict=True):
        masks = []
        for track in tracks:
            mask = image == track.object_id
            state = Visibility.VISIBLE if mask.any() else visibility(mask, track.points, goal)
            masks.append(ObjectMask(track.object_id, mask, mean_confidence(goal, mask), state, track.label))
        result.append(tuple(masks))
    return result


def mean_confidence(view: ViewGeometry, mask: np.ndarray) -> float:
    """Mean confidence of the geometry under a mask (H, W); 0 for an empty one."""
    values = view.confidence[mask]
    return float(values.mean()) if len(values) else 0.0


def transfer_views(
    frames: FrameSet, transfer: TransferredMasks, object_id: int, label: str
) -> tuple[ViewMasks, ...]:
    """Mask 0 of a transfer as the masks of every view."""
    result = []
    for index, view in enumerate(frames.views):
        state = Visibility(int(transfer.visibility[index, 0]))
        mask = ObjectMask(object_id, transfer.masks[index][0], float(transfer.scores[index, 0]), state, label)
        result.append(ViewMasks(view.camera, (mask,)))
    return tuple(result)


def transfer_cloud(scene: EncodedScene, transfer: TransferredMasks, object_id: int, max_points: int) -> LabelledCloud:
    """The points under mask 0 of a transfer, from all views."""
    cloud = labelled_cloud(scene, [masks[0].astype(np.uint16) for masks in transfer.masks], max_points, 0)
    return replace(cloud, instance_id=np.full(len(cloud.xyz), object_id, np.uint16))


def transfer_track(
    frames: FrameSet, transfer: TransferredMasks, points: np.ndarray, colours: np.ndarray
) -> Track | None:
    """What a transfer found as an unnamed track of points (N, 3) with colours (N, 3) CIE Lab, to measure it; None
    without points."""
    if len(points) == 0:
        return None
    seen_by = tuple(view.camera for view, masks in zip(frames.views, transfer.masks, strict=True) if masks[0].any())
    fresh = np.ones(len(points), bool)
    return Track(0, points, colours, fresh, frames.stamp_ns, frames.stamp_ns, seen_by=seen_by)
