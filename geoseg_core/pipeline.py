"""ScenePipeline: a frame set in, masks, instances and events out; prompts answered on the newest set.

The live nodes, bag evaluation and use from Python all call this one class.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from geoseg_core.config import setting
from geoseg_core.cross_view.choice import choose_follower
from geoseg_core.cross_view.config import CrossViewConfig
from geoseg_core.cross_view.follower import TrackedObject
from geoseg_core.cross_view.same_things import SameThings
from geoseg_core.cross_view.thing_follower import ThingFollower
from geoseg_core.errors import BadInput, GeosegError, UnknownObject
from geoseg_core.geometry.alignment.aligner import Aligner
from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.geometry.choice import GeometryConfig, LoadedEncoder, aligner_for, load_encoder
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.instances import store
from geoseg_core.instances.choice import choose_segmenter
from geoseg_core.instances.segmenter import InstanceConfig
from geoseg_core.instances.tracks import Track
from geoseg_core.instances.vocabulary.choice import choose_vocabulary, chosen
from geoseg_core.moment import Moment
from geoseg_core.process_memory import return_memory
from geoseg_core.prompting.budget import AnswerTimes
from geoseg_core.prompting.places import click_at
from geoseg_core.prompting.regions import PromptConfig
from geoseg_core.prompts import TEXT_NEEDS_VOCABULARY, Prompt
from geoseg_core.results import PromptResult, SceneResult
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import ChosenWeights

TASKS = ("cross_view", "instances", "prompts")


@dataclass(frozen=True)
class PipelineConfig:
    """What the pipeline runs, and how."""

    tasks: tuple[str, ...] = setting(TASKS, "which readouts run on every frame set", choices=TASKS)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    cross_view: CrossViewConfig = field(default_factory=CrossViewConfig)
    instances: InstanceConfig = field(default_factory=InstanceConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)


@dataclass(frozen=True, eq=False)
class Remembered:
    """What a pipeline remembers, for another one of the same configuration; none of it is on a GPU."""

    tracks: list[Track]
    next_id: int
    followed: store.Stored
    aligner: Aligner | None
    classes: tuple[str, ...]


class ScenePipeline:
    """Owns the encoder, the readouts and all memory of one workplace. Not thread-safe: one caller.

    Args:
        loaded: an encoder with its weights, from another pipeline of the same geometry that is not used any more; the
            configured one is loaded where there is none.

    Raises:
        BadInput: weights of the encoder or the vocabulary are not here or do not fit.
        BadConfig: settings that contradict each other or this machine.
        MissingExtra: what is configured needs a package that is not installed.
    """

    def __init__(
        self,
        config: PipelineConfig = PipelineConfig(),  # noqa: B008 (frozen)
        loaded: LoadedEncoder | None = None,
    ) -> None:
        self.config = config
        self._aligner = aligner_for(config.geometry)
        self.loaded = loaded or load_encoder(config.geometry)
        instances = choose_segmenter(config.instances, config.geometry)
        self._segmenter, self.instance_weights = instances.segmenter, instances.weights
        self._vocabulary = choose_vocabulary(config.instances.vocabulary, config.tasks)
        chosen = choose_follower(config.cross_view, config.geometry, config.prompts, self._segmenter)
        self._follower, self.head_weights, self.memory_weights = chosen.follower, chosen.weights, chosen.memory
        self._prompter, self.prompt_weights = chosen.prompts.prompter, chosen.prompts.weights
        self.answer_times = AnswerTimes()
        self._same = SameThings()
        self._moment: Moment | None = None

    @property
    def masks_by(self) -> str:
        """What carries masks between views: the encoder whose depth it goes by, or the method."""
        method = self._follower.method
        return self.config.geometry.encoder if method == "reprojection" else method

    @property
    def prompts_by(self) -> str:
        """What answers prompts: MV-SAM, or what carries masks."""
        return "mv_sam" if self.prompt_weights is not None else self.masks_by

    @property
    def instances_by(self) -> str:
        """What finds instances: the encoder whose depth it goes by, or the method."""
        method = self._segmenter.method
        return self.config.geometry.encoder if method == "rgbd" else method

    @property
    def networks(self) -> dict[str, tuple[str, ChosenWeights]]:
        """The weights in use, each with words for what it does, by the name of its part; the encoder's is ""."""
        parts = {
            "": (f"encoder {self.config.geometry.encoder}", self.loaded.weights),
            "head": (f"masks by {self.masks_by}", self.head_weights),
            "memory": ("memory of masks", self.memory_weights),
            "prompt": (f"prompts by {self.prompts_by}", self.prompt_weights),
            "instance": (f"instances by {self.instances_by}", self.instance_weights),
        }
        return {part: (words, weights) for part, (words, weights) in parts.items() if weights is not None}

    def process(self, frames: FrameSet) -> SceneResult:
        """Encode a set once, follow all objects into it, find its instances.

        Views without what the encoder needs (measured depth: depth and calibration; a network: nothing) are left out;
        `SceneResult.frames` says which took part.

        Raises:
            BadInput: no view of the set can be used.
        """
        started = time.perf_counter()
        moment = self._moment = Moment(self._encode(frames), self._segmenter)
        stage_ms = {"encode": _since(started)}
        instances = None
        begun = time.perf_counter()
        if "instances" in self.config.tasks:
            instances = self._segmenter.result(moment.layout)
            moment.labels = instances.labels
            stage_ms["instances"] = _since(begun)
            begun = time.perf_counter()
        masks = self._follower.masks(moment) if "cross_view" in self.config.tasks else ()
        if "cross_view" in self.config.tasks:
            stage_ms["cross_view"] = _since(begun)
        if instances is not None and not isinstance(self._follower, ThingFollower):  # whose objects are instances
            self._same.update(moment.layout, masks, self._segmenter.keeper)
        self._observe_sizes(moment)
        events = self._segmenter.keeper.take_events()
        if instances is not None and self._vocabulary is not None:
            begun = time.perf_counter()
            instances = self._vocabulary.classified(moment.scene.frames, instances, events)
            stage_ms["vocabulary"] = _since(begun)
        stage_ms["total"] = _since(started)
        scene = moment.scene
        return SceneResult(scene.frames, masks, instances, events, scene.scale, stage_ms, self.memory_bytes)

    def segment(self, prompt: Prompt, budget_s: float = 0.0) -> PromptResult:
        """Masks of the prompted object in every view of the newest set; nothing is remembered.

        Args:
            budget_s: with it, and MV-SAM, only as many views are answered as their usual time fits in, the prompted one
                in any case; 0: all.

        Raises:
            BadInput: no set has come yet, the prompt is outside its view, or it points at nothing; a budget below 0.
            GeosegError: a text prompt without a vocabulary, or neither of the tasks prompts and cross_view.
        """
        return self._answered(prompt, budget_s, self._follower.segment)

    def track_object(
        self, prompt: Prompt, object_id: int = 0, label: str = "", budget_s: float = 0.0
    ) -> PromptResult:
        """Follow the prompted object from the newest set on; with the id of a live one, correct it.

        A prompt on a thing that is known already gives that thing's id. Views that `budget_s` leaves out, as for
        `segment`, are followed from the next set on.

        Raises:
            UnknownObject: no object is followed under `object_id`.
            BadInput, GeosegError: as `segment`.
        """
        if object_id:
            self._check_followed(object_id)
        track = self._follower.track
        return self._answered(
            prompt, budget_s, lambda moment, told, views: track(moment, told, object_id, label, views)
        )

    def click_at(self, place: np.ndarray) -> Prompt:
        """A click on a place (3,) of the world, in the camera of the newest set that sees it.

        Raises:
            BadInput: no set has come yet, the place is not finite, or in sight of no camera.
            GeosegError: as `segment`.
        """
        return click_at(self._answering().scene, place)

    def forget_object(self, object_id: int) -> None:
        """Stop to follow an object.

        Raises:
            UnknownObject: no object is followed under this id.
        """
        self._check_followed(object_id)
        self._follower.forget(object_id)

    def objects(self) -> tuple[TrackedObject, ...]:
        """The objects that are followed now, in the order of their ids."""
        return tuple(sorted(self._follower.objects(), key=lambda thing: thing.object_id))

    @property
    def classes(self) -> tuple[str, ...]:
        """What instances are told apart by; none without a vocabulary."""
        return () if self._vocabulary is None else self._vocabulary.classes

    def set_classes(self, classes: Sequence[str]) -> None:
        """Tell instances apart by these words or phrases from the next set on; by none, they go without a class.

        Raises:
            BadInput: one that is empty or too long, too many, or one twice; the classes stay as they were.
            GeosegError: no vocabulary is configured.
        """
        chosen(self._vocabulary).set_classes(classes)

    def query_instances(self, text: str) -> tuple[tuple[int, float], ...]:
        """Live instances that the vocabulary has looked at, each with how well a text describes it in [0, 1], best
        first.

        Raises:
            BadInput: the text is empty or too long.
            GeosegError: no vocabulary is configured.
        """
        return chosen(self._vocabulary).query(text)

    def reset_memory(self) -> None:
        """Forget every object, every instance, the scale and the newest set. Ids are not used again."""
        self._segmenter.reset()
        self.loaded.reset()
        if self._aligner is not None:
            self._aligner.reset()
        self._follower.reset()
        self._forget_looks()
        self._moment = None

    def shrink_memory(self) -> None:
        """Memory is short: let go of the newest set and of what objects can be followed without, from now on too."""
        self._moment = None
        self._follower.shrink()
        return_memory()

    @property
    def memory_bytes(self) -> int:
        """Memory of all that is remembered: tracks of instances, and what followed objects are found by."""
        tracks = self._segmenter.keeper.tracks
        return self._follower.held_bytes + sum(
            each.points.nbytes + each.colours.nbytes + each.fresh.nbytes + each.look.nbytes
            + sum(seen.mask.nbytes for seen in each.masks.values())
            for each in tracks
        )  # fmt: skip

    def flush_camera(self, camera: str) -> None:
        """Forget what is remembered of one camera (its calibration or resolution changed), and the newest set."""
        self._segmenter.flush_camera(camera)
        self._follower.flush_camera(camera)
        if self._aligner is not None:
            self._aligner.forget(camera)
        self._moment = None

    def remembered(self) -> Remembered:
        """What is remembered, so that this pipeline can be let go; looks at instances by a vocabulary are not."""
        keeper = self._segmenter.keeper
        return Remembered(keeper.tracks, keeper.next_id, self._follower.stored(), self._aligner, self.classes)

    def restore(self, kept: Remembered) -> None:
        """Go on where another pipeline of the same configuration stopped."""
        self._segmenter.keeper.replace(kept.tracks, kept.next_id)
        self._follower.restore(self._follower.read(kept.followed))
        self._aligner = kept.aligner
        if self._vocabulary is not None:
            self._vocabulary.set_classes(kept.classes)

    def save_memory(self, path: str) -> tuple[int, ...]:
        """Write all that is remembered to a safetensors file; return the ids.

        Raises:
            BadInput: the file can't be written.
        """
        keeper = self._segmenter.keeper
        store.save(path, keeper.tracks, self._follower.stored(), keeper.next_id)
        return self._known_ids()

    def load_memory(self, path: str) -> tuple[int, ...]:
        """Replace all that is remembered by what a file holds; return the ids.

        Raises:
            BadInput: not a whole memory file of a pipeline of this method; what is remembered stays as it was.
        """
        tracks, things, next_id = store.load(path, self._follower.read)
        keeper = self._segmenter.keeper
        keeper.replace(tracks, max(next_id, keeper.next_id))
        self._follower.restore(things)
        self._forget_looks()
        if self._moment is not None:
            self._moment.forget_layout()
        return self._known_ids()

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
        self._follower.move_world(moved)

    def _observe_sizes(self, moment: Moment) -> None:
        """Things of known size that are followed tell the scale, where all of them is seen."""
        if self._aligner is None or not self.config.geometry.alignment.known_sizes:
            return
        for label, longest in self._follower.sizes(moment):
            self._aligner.observe_size(label, longest)

    def _answered(
        self, prompt: Prompt, budget_s: float, ask: Callable[[Moment, Prompt, tuple[int, ...] | None], PromptResult]
    ) -> PromptResult:
        """The answer to a prompt in the views that a budget has time for, all of them without one or without MV-SAM."""
        begun = time.perf_counter()
        if not budget_s >= 0:
            raise BadInput(f"budget_s: expected seconds, 0 for no budget, got {budget_s}")
        moment = self._answering()
        prompt = self._pointing(moment, prompt)
        if self._prompter is None:
            return replace(ask(moment, prompt, None), seconds=time.perf_counter() - begun)
        frames, views = moment.scene.frames, None
        prompted = frames.index(prompt.camera)
        moment.promptable(self._prompter)
        embedded = time.perf_counter()
        if budget_s:
            views = self.answer_times.views_within(begun + budget_s - embedded, prompted, len(frames.views))
        result, ended = ask(moment, prompt, views), time.perf_counter()
        self.answer_times.took(ended - embedded, len(frames.views if views is None else views))
        return in_views(replace(result, seconds=ended - begun), views)

    def _answering(self) -> Moment:
        """The newest set, for a prompt."""
        if not {"prompts", "cross_view"} & set(self.config.tasks):
            raise GeosegError("prompts need the task 'prompts' or 'cross_view'; add one of them to tasks")
        if self._moment is None:
            raise BadInput("expected a processed frame set to answer on, got none yet; wait for the cameras")
        return self._moment

    def _pointing(self, moment: Moment, prompt: Prompt) -> Prompt:
        """A prompt that points: one by text, at the instance that it means.

        Raises:
            GeosegError: a text without a vocabulary.
        """
        if not prompt.text.strip():
            return prompt
        if self._vocabulary is None:
            raise GeosegError(TEXT_NEEDS_VOCABULARY)
        assert moment.labels is not None, "a vocabulary comes with the task instances"
        return self._vocabulary.pointed(prompt, moment.scene.frames, moment.labels)

    def _forget_looks(self) -> None:
        """Ids mean other things from now on, or nothing."""
        if self._vocabulary is not None:
            self._vocabulary.reset()

    def _known_ids(self) -> tuple[int, ...]:
        """All that has an id: instances and followed objects."""
        tracks = {track.object_id for track in self._segmenter.keeper.tracks if track.object_id}
        return tuple(sorted(tracks | {thing.object_id for thing in self._follower.objects()}))

    def _check_followed(self, object_id: int) -> None:
        known = [thing.object_id for thing in self.objects()]
        if object_id not in known:
            raise UnknownObject(object_id, known)


def in_views(result: PromptResult, views: Sequence[int] | None) -> PromptResult:
    """An answer without the views that were not asked."""
    if views is None:
        return result
    frames = result.frames
    not_asked = tuple(camera for view, camera in enumerate(frames.cameras) if view not in views)
    kept = FrameSet(tuple(frames.views[view] for view in views), (*frames.missing, *not_asked))
    return replace(result, frames=kept, views=tuple(result.views[view] for view in views), not_asked=not_asked)


def _since(moment: float) -> float:
    """Milliseconds since a perf_counter moment."""
    return (time.perf_counter() - moment) * 1000
