"""ScenePipeline: a frame set in, masks, instances and events out; prompts answered on the newest set.

The live nodes, bag evaluation and use from Python all call this one class.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from geoseg_core.config import setting
from geoseg_core.cross_view import followed
from geoseg_core.cross_view.followed import FlatThing
from geoseg_core.cross_view.reprojection import CrossViewConfig, Transfer, transfer_masks
from geoseg_core.errors import BadInput, GeosegError, UnknownObject
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.choice import GeometryConfig, LoadedEncoder, aligner_for, load_encoder
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances import store
from geoseg_core.instances.lifting import instance, oriented_box
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter, Layout
from geoseg_core.instances.tracks import Track
from geoseg_core.prompting.regions import PromptConfig, prompted_mask
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult, SceneResult, ViewMasks
from geoseg_core.views import FrameSet

TASKS = ("cross_view", "instances", "prompts")
SAME_THING = 0.8


@dataclass(frozen=True)
class PipelineConfig:
    """What the pipeline runs, and how."""

    tasks: tuple[str, ...] = setting(TASKS, "which readouts run on every frame set", choices=TASKS)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    cross_view: CrossViewConfig = field(default_factory=CrossViewConfig)
    instances: InstanceConfig = field(default_factory=InstanceConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)


@dataclass(frozen=True)
class TrackedObject:
    """An object that is followed because somebody asked for it."""

    object_id: int
    label: str
    last_seen_ns: int


class ScenePipeline:
    """Owns the encoder, the readouts and all memory of one workplace. Not thread-safe: one caller.

    Args:
        loaded: an encoder with its weights, from another pipeline of the same geometry that is not used any more; the
            configured one is loaded where there is none.

    Raises:
        BadInput: the encoder's weights are not here or do not fit.
        BadConfig: settings that contradict each other or this machine.
    """

    def __init__(
        self,
        config: PipelineConfig = PipelineConfig(),  # noqa: B008 (frozen)
        loaded: LoadedEncoder | None = None,
    ) -> None:
        self.config = config
        self._aligner = aligner_for(config.geometry)
        self.loaded = loaded or load_encoder(config.geometry)
        self._segmenter = InstanceSegmenter(config.instances)
        self._flat: dict[int, FlatThing] = {}
        self._scene: EncodedScene | None = None
        self._layout: Layout | None = None

    def process(self, frames: FrameSet) -> SceneResult:
        """Encode a set once, follow all objects into it, find its instances.

        Views without what the encoder needs (measured depth: depth and calibration; a network: nothing) are left out;
        `SceneResult.frames` says which took part.

        Raises:
            BadInput: no view of the set can be used.
        """
        started = time.perf_counter()
        self._scene, self._layout = self._encode(frames), None
        stage_ms = {"encode": _since(started)}
        instances = None
        moment = time.perf_counter()
        if "instances" in self.config.tasks:
            instances = self._segmenter.result(self._current())
            stage_ms["instances"] = _since(moment)
            moment = time.perf_counter()
        masks = self._masks() if "cross_view" in self.config.tasks else ()
        if "cross_view" in self.config.tasks:
            stage_ms["cross_view"] = _since(moment)
        self._observe_sizes()
        events = self._segmenter.keeper.take_events()
        stage_ms["total"] = _since(started)
        return SceneResult(self._scene.frames, masks, instances, events, self._scene.scale, stage_ms)

    def segment(self, prompt: Prompt) -> PromptResult:
        """Masks of the prompted object in every view of the newest set; nothing is remembered.

        Raises:
            BadInput: no set has come yet, the prompt is outside its view, or it points at nothing.
            GeosegError: a text prompt, or a pipeline with neither of the tasks prompts and cross_view.
        """
        layout, transfer = self._answer(prompt)
        return self._prompt_result(layout, transfer, 0, "")

    def track_object(self, prompt: Prompt, object_id: int = 0, label: str = "") -> PromptResult:
        """Follow the prompted object from the newest set on; with the id of a live one, correct it.

        A prompt on a thing that is known already gives that thing's id.

        Raises:
            UnknownObject: no object is followed under `object_id`.
            BadInput, GeosegError: as `segment`.
        """
        if object_id:
            self._check_followed(object_id)
            prompt = self._with_known_mask(prompt, object_id)
        layout, transfer = self._answer(prompt)
        if object_id in self._flat or (not object_id and not self._is_solid(layout, transfer, prompt)):
            object_id = self._keep_flat(layout, transfer, object_id, label)
        else:
            object_id = self._keep_solid(layout, transfer, object_id, label)
            layout = self._current()
        return self._prompt_result(layout, transfer, object_id, self._label(object_id))

    def forget_object(self, object_id: int) -> None:
        """Stop to follow an object.

        Raises:
            UnknownObject: no object is followed under this id.
        """
        self._check_followed(object_id)
        if self._flat.pop(object_id, None) is None:
            track = next(track for track in self._segmenter.keeper.tracks if track.object_id == object_id)
            track.followed, track.label = False, ""

    def objects(self) -> tuple[TrackedObject, ...]:
        """The objects that are followed now, in the order of their ids."""
        things: list[Track | FlatThing] = [track for track in self._segmenter.keeper.tracks if track.followed]
        things += self._flat.values()
        found = (TrackedObject(thing.object_id, thing.label, thing.last_seen_ns) for thing in things)
        return tuple(sorted(found, key=lambda thing: thing.object_id))

    def reset_memory(self) -> None:
        """Forget every object, every instance, the scale and the newest set. Ids are not used again."""
        self._segmenter.reset()
        self.loaded.reset()
        if self._aligner is not None:
            self._aligner.reset()
        self._flat.clear()
        self._scene = self._layout = None

    def flush_camera(self, camera: str) -> None:
        """Forget what is remembered of one camera (its calibration or resolution changed), and the newest set."""
        for track in self._segmenter.keeper.tracks:
            if camera in track.seen_by:
                track.points, track.colours = track.points[track.fresh], track.colours[track.fresh]
                track.fresh = np.ones(len(track.points), bool)
        for object_id, thing in list(self._flat.items()):
            kept = tuple(key for key in thing.keyframes if key.camera != camera)
            if kept:
                self._flat[object_id] = replace(thing, keyframes=kept)
        if self._aligner is not None:
            self._aligner.forget(camera)
        self._scene = self._layout = None

    def save_memory(self, path: str) -> tuple[int, ...]:
        """Write all tracks to a safetensors file; return their ids.

        Raises:
            BadInput: the file can't be written.
        """
        keeper = self._segmenter.keeper
        store.save(path, keeper.tracks, list(self._flat.values()), keeper.next_id)
        ids = [track.object_id for track in keeper.tracks if track.object_id]
        return tuple(sorted([*ids, *self._flat]))

    def load_memory(self, path: str) -> tuple[int, ...]:
        """Replace all tracks by those of a file; return their ids.

        Raises:
            BadInput: not a whole memory file; what is remembered stays as it was.
        """
        tracks, flat, next_id = store.load(path)
        keeper = self._segmenter.keeper
        keeper.replace(tracks, max(next_id, keeper.next_id))
        self._flat = {thing.object_id: thing for thing in flat}
        self._layout = None
        return tuple(sorted([track.object_id for track in tracks] + list(self._flat)))

    def _encode(self, frames: FrameSet) -> EncodedScene:
        scene = self.loaded.encoder.encode(frames)
        if self._aligner is None:
            return scene
        aligned = self._aligner.align(scene)
        if aligned.moved is not None:
            self._move_world(aligned.moved)
        return aligned

    def _move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on: what is remembered goes with it."""
        self._segmenter.move_world(moved)
        self._flat = {number: followed.moved_thing(thing, moved) for number, thing in self._flat.items()}

    def _observe_sizes(self) -> None:
        """Things of known size that are followed tell the scale, where all of them is seen."""
        if self._aligner is None or self._layout is None or not self.config.geometry.alignment.known_sizes:
            return
        for track in self._segmenter.keeper.tracks:
            if track.followed and track.label and track.seen_by:
                size = oriented_box(track.points, self._layout.up).size
                self._aligner.observe_size(track.label, float(size.max()))

    def _current(self) -> Layout:
        """The newest set taken apart, once."""
        if self._scene is None:
            raise BadInput("expected a processed frame set to answer on, got none yet; wait for the cameras")
        if self._layout is None:
            self._layout = self._segmenter.update(self._scene)
        return self._layout

    def _masks(self) -> tuple[ViewMasks, ...]:
        assert self._scene is not None
        tracks = sorted(
            (track for track in self._segmenter.keeper.tracks if track.followed), key=lambda track: track.object_id
        )
        if not tracks and not self._flat:
            return tuple(ViewMasks(camera, ()) for camera in self._scene.frames.cameras)
        layout = self._current()
        solid = followed.track_masks_now(tracks, layout)
        settings = self.config.cross_view
        flat = {number: followed.flat_masks_now(thing, layout, settings) for number, thing in self._flat.items()}
        for number, masks in flat.items():
            if any(mask.mask.any() for mask in masks):
                self._flat[number] = replace(self._flat[number], last_seen_ns=layout.scene.frames.stamp_ns)
        return tuple(
            ViewMasks(camera, (*solid[index], *(masks[index] for masks in flat.values())))
            for index, camera in enumerate(layout.scene.frames.cameras)
        )

    def _answer(self, prompt: Prompt) -> tuple[Layout, Transfer]:
        """The prompted mask in every view of the newest set."""
        if not {"prompts", "cross_view"} & set(self.config.tasks):
            raise GeosegError("prompts need the task 'prompts' or 'cross_view'; add one of them to tasks")
        layout = self._current()
        prompt.check(layout.scene.frames)
        mask = prompted_mask(layout, prompt, self.config.prompts)
        source = layout.scene.frames.index(prompt.camera)
        return layout, transfer_masks(layout, source, mask[None], self.config.cross_view)

    def _with_known_mask(self, prompt: Prompt, object_id: int) -> Prompt:
        """A correction by points alone starts from the mask that the object has now."""
        if prompt.box_px is not None or (prompt.mask is not None and prompt.mask.any()) or prompt.text:
            return prompt
        layout = self._current()
        view = layout.scene.frames.index(prompt.camera)
        masks = self._masks()[view].masks
        return replace(prompt, mask=next(mask.mask for mask in masks if mask.object_id == object_id))

    def _is_solid(self, layout: Layout, transfer: Transfer, prompt: Prompt) -> bool:
        """Whether most of a prompted mask stands out from the support planes."""
        source = layout.scene.frames.index(prompt.camera)
        mask = transfer.masks[source][0] & (layout.scene.views[source].depth_m > 0)
        standing = float((mask & ~layout.background[source]).sum())
        return bool(transfer.voxels[0].any()) and standing >= (1 - self.config.cross_view.flat_share) * mask.sum()

    def _keep_flat(self, layout: Layout, transfer: Transfer, object_id: int, label: str) -> int:
        old = self._flat.get(object_id)
        object_id = object_id or self._segmenter.keeper.new_id()
        first_ns = old.first_seen_ns if old else layout.scene.frames.stamp_ns
        label = label or (old.label if old else "")
        self._flat[object_id] = followed.flat_thing(object_id, label, layout, transfer, first_ns)
        return object_id

    def _keep_solid(self, layout: Layout, transfer: Transfer, object_id: int, label: str) -> int:
        """Follow the track that a transfer shows; make or correct it where it is not the same."""
        keeper, voxels = self._segmenter.keeper, transfer.voxels[0]
        number = next((i for i, track in enumerate(keeper.tracks) if object_id and track.object_id == object_id), -1)
        same = self._same_track(layout, voxels)
        if same >= 0 and number < 0:
            number = same
            keeper.confirm(number)
        else:
            owner = layout.owner.copy()
            number = keeper.claim(layout.foreground, owner, voxels, number, layout.scene.frames.stamp_ns)
            self._layout = replace(layout, owner=owner, tracks=tuple(keeper.tracks))
        track = keeper.tracks[number]
        track.followed, track.label = True, label or track.label
        track.seen_by = track.seen_by or layout.scene.frames.cameras
        return track.object_id

    def _same_track(self, layout: Layout, voxels: np.ndarray) -> int:
        """The track whose voxels are, but for little, those given; -1 = none."""
        mine = layout.owner[voxels & (layout.owner >= 0)]
        if len(mine) == 0:
            return -1
        counts = np.bincount(mine)
        number = int(counts.argmax())
        union = (voxels | (layout.owner == number)).sum()
        return number if counts[number] >= SAME_THING * union else -1

    def _check_followed(self, object_id: int) -> None:
        known = [thing.object_id for thing in self.objects()]
        if object_id not in known:
            raise UnknownObject(object_id, known)

    def _label(self, object_id: int) -> str:
        return next(thing.label for thing in self.objects() if thing.object_id == object_id)

    def _prompt_result(self, layout: Layout, transfer: Transfer, object_id: int, label: str) -> PromptResult:
        cloud = followed.transfer_cloud(layout, transfer, object_id, self.config.instances.cloud_points)
        track = followed.transfer_track(layout, cloud, transfer)
        size = layout.foreground.lattice.voxel_m
        measured = instance(track, layout.up, size, object_id, len(cloud.xyz)) if track else None
        views = followed.transfer_views(layout, transfer, object_id, label)
        return PromptResult(layout.scene.frames, object_id, views, cloud, measured, layout.scene.scale)


def _since(moment: float) -> float:
    """Milliseconds since a perf_counter moment."""
    return (time.perf_counter() - moment) * 1000
