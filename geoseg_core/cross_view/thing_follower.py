"""Follows things of the 3-D layout: masks are carried by reprojection, identities by tracks.

Most objects are tracks of the instance readout. What lies in a support plane, such as a poster, is none: it stays where
it was shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from geoseg_core.cross_view import followed
from geoseg_core.cross_view.followed import FlatThing
from geoseg_core.cross_view.follower import SAME_THING, TrackedObject
from geoseg_core.cross_view.reprojection import ReprojectionConfig, Transfer, transfer_masks
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.instances.lifting import instance, oriented_box
from geoseg_core.instances.segmenter import Layout, Segmenter
from geoseg_core.instances.store import Stored
from geoseg_core.instances.tracks import Track
from geoseg_core.instances.voxels import lab
from geoseg_core.moment import Moment
from geoseg_core.prompting.regions import PromptConfig, prompted_mask
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult, ViewMasks


class ThingFollower:
    """Keeps the contract of `Follower`. Tracks live in the segmenter, flat things here. All views are answered."""

    method = "reprojection"

    def __init__(self, segmenter: Segmenter, config: ReprojectionConfig, prompts: PromptConfig) -> None:
        self.config, self.prompts = config, prompts
        self._segmenter = segmenter
        self._flat: dict[int, FlatThing] = {}

    def masks(self, moment: Moment) -> tuple[ViewMasks, ...]:
        """All followed objects in every view."""
        tracks = sorted(self._followed_tracks(), key=lambda track: track.object_id)
        if not tracks and not self._flat:
            return tuple(ViewMasks(camera, ()) for camera in moment.scene.frames.cameras)
        layout = moment.layout
        solid = followed.track_masks_now(tracks, layout)
        flat = {number: followed.flat_masks_now(thing, layout, self.config) for number, thing in self._flat.items()}
        for number, masks in flat.items():
            if any(mask.mask.any() for mask in masks):
                self._flat[number] = replace(self._flat[number], last_seen_ns=layout.scene.frames.stamp_ns)
        return tuple(
            ViewMasks(camera, (*solid[index], *(masks[index] for masks in flat.values())))
            for index, camera in enumerate(layout.scene.frames.cameras)
        )

    def segment(self, moment: Moment, prompt: Prompt, views: Sequence[int] | None = None) -> PromptResult:
        """The prompted object in every view; nothing is remembered."""
        return self._result(moment.layout, self._answer(moment.layout, prompt), 0, "")

    def track(
        self, moment: Moment, prompt: Prompt, object_id: int, label: str, views: Sequence[int] | None = None
    ) -> PromptResult:
        """Follow the prompted object, or correct a live one.

        A prompt on a thing that is known already gives that thing's id.
        """
        if object_id:
            prompt = self._with_known_mask(moment, prompt, object_id)
        transfer = self._answer(moment.layout, prompt)
        if object_id in self._flat or (not object_id and not self._is_solid(moment.layout, transfer, prompt)):
            object_id = self._keep_flat(moment.layout, transfer, object_id, label)
        else:
            object_id = self._keep_solid(moment, transfer, object_id, label)
        label = next(thing.label for thing in self.objects() if thing.object_id == object_id)
        return self._result(moment.layout, transfer, object_id, label)

    def forget(self, object_id: int) -> None:
        """Stop to follow an object; its track stays an instance."""
        if self._flat.pop(object_id, None) is None:
            track = next(track for track in self._segmenter.keeper.tracks if track.object_id == object_id)
            track.followed, track.label = False, ""

    def objects(self) -> list[TrackedObject]:
        """The objects that are followed now."""
        things: list[Track | FlatThing] = [*self._followed_tracks(), *self._flat.values()]
        return [TrackedObject(thing.object_id, thing.label, thing.last_seen_ns) for thing in things]

    def sizes(self, moment: Moment) -> Iterator[tuple[str, float]]:
        """Label and longest edge of each track that is seen now."""
        for track in self._followed_tracks():
            if track.label and track.seen_by:
                yield track.label, float(oriented_box(track.points, moment.layout.up).size.max())

    def reset(self) -> None:
        """Forget every flat thing; the segmenter forgets the tracks."""
        self._flat.clear()

    @property
    def held_bytes(self) -> int:
        """Memory of the flat things."""
        return sum(key.held_bytes for thing in self._flat.values() for key in thing.keyframes)

    def shrink(self) -> None:
        """Nothing is kept of an object that it could be followed without."""

    def flush_camera(self, camera: str) -> None:
        """Forget how one camera saw flat things; those that no other camera saw stay where that one saw them."""
        for object_id, thing in list(self._flat.items()):
            kept = tuple(key for key in thing.keyframes if key.camera != camera)
            if kept:
                self._flat[object_id] = replace(thing, keyframes=kept)

    def move_world(self, moved: Similarity) -> None:
        """Flat things go with the world; the segmenter moves the tracks."""
        self._flat = {number: followed.moved_thing(thing, moved) for number, thing in self._flat.items()}

    def stored(self) -> Stored:
        """The flat things; tracks are stored with the instances."""
        return followed.stored_things(list(self._flat.values()))

    def read(self, stored: Stored) -> list[FlatThing]:
        """The flat things as they were stored."""
        return followed.restored_things(stored)

    def restore(self, things: Sequence[FlatThing]) -> None:
        """Follow these flat things."""
        self._flat = {thing.object_id: thing for thing in things}

    def _followed_tracks(self) -> list[Track]:
        return [track for track in self._segmenter.keeper.tracks if track.followed]

    def _answer(self, layout: Layout, prompt: Prompt) -> Transfer:
        """The prompted mask in every view."""
        prompt.check(layout.scene.frames)
        mask = prompted_mask(layout, prompt, self.prompts)
        return transfer_masks(layout, layout.scene.frames.index(prompt.camera), mask[None], self.config)

    def _with_known_mask(self, moment: Moment, prompt: Prompt, object_id: int) -> Prompt:
        """A correction by points alone starts from the mask that the object has now."""
        if not prompt.is_points_alone:
            return prompt
        masks = self.masks(moment)[moment.scene.frames.index(prompt.camera)].masks
        return replace(prompt, mask=next(mask.mask for mask in masks if mask.object_id == object_id))

    def _is_solid(self, layout: Layout, transfer: Transfer, prompt: Prompt) -> bool:
        """Whether most of a prompted mask stands out from the support planes."""
        source = layout.scene.frames.index(prompt.camera)
        mask = transfer.masks[source][0] & (layout.scene.views[source].depth_m > 0)
        standing = float((mask & ~layout.background[source]).sum())
        return bool(transfer.voxels[0].any()) and standing >= (1 - self.config.flat_share) * mask.sum()

    def _keep_flat(self, layout: Layout, transfer: Transfer, object_id: int, label: str) -> int:
        old = self._flat.get(object_id)
        object_id = object_id or self._segmenter.keeper.new_id()
        first_ns = old.first_seen_ns if old else layout.scene.frames.stamp_ns
        label = label or (old.label if old else "")
        self._flat[object_id] = followed.flat_thing(object_id, label, layout, transfer, first_ns)
        return object_id

    def _keep_solid(self, moment: Moment, transfer: Transfer, object_id: int, label: str) -> int:
        """Follow the track that a transfer shows; make or correct it where it is not the same."""
        keeper, layout, voxels = self._segmenter.keeper, moment.layout, transfer.voxels[0]
        number = next((i for i, track in enumerate(keeper.tracks) if object_id and track.object_id == object_id), -1)
        same = same_track(layout, voxels)
        if same >= 0 and number < 0:
            number = same
            keeper.confirm(number)
        else:
            owner = layout.owner.copy()
            number = keeper.claim(layout.foreground, owner, voxels, number, layout.scene.frames.stamp_ns)
            moment.divide(layout.divided(owner, tuple(keeper.tracks)))
        track = keeper.tracks[number]
        track.followed, track.label = True, label or track.label
        track.seen_by = track.seen_by or layout.scene.frames.cameras
        return track.object_id

    def _result(self, layout: Layout, transfer: Transfer, object_id: int, label: str) -> PromptResult:
        frames, mine = layout.scene.frames, transfer.voxels[0]
        cloud = followed.transfer_cloud(layout.scene, transfer, object_id, self._segmenter.config.cloud_points)
        points, colours = layout.foreground.centres[mine], layout.foreground.colours[mine]
        if len(points) == 0:
            points, colours = cloud.xyz, lab(cloud.rgb)
        track = followed.transfer_track(frames, transfer, points, colours)
        size = layout.foreground.lattice.voxel_m
        measured = instance(track, layout.up, size, object_id, len(cloud.xyz)) if track else None
        views = followed.transfer_views(frames, transfer, object_id, label)
        return PromptResult(frames, object_id, views, cloud, measured, layout.scene.scale)


def same_track(layout: Layout, voxels: np.ndarray) -> int:
    """The track whose voxels are, but for little, those given; -1 = none."""
    mine = layout.owner[voxels & (layout.owner >= 0)]
    if len(mine) == 0:
        return -1
    counts = np.bincount(mine)
    number = int(counts.argmax())
    union = (voxels | (layout.owner == number)).sum()
    return number if counts[number] >= SAME_THING * union else -1
