"""The model's side of the perception node: every method runs in the worker's thread, except where it says so."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from rclpy.clock import Clock

from geoseg_core.consistency import check_answer, check_scene
from geoseg_core.cross_view.follower import TrackedObject
from geoseg_core.errors import BadInput, GeosegError, InconsistentResult
from geoseg_core.pipeline import Remembered, ScenePipeline
from geoseg_core.process_memory import is_out_of_memory, resident_mib, return_memory
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult, ScaleState, ScaleStatus, SceneResult
from geoseg_core.views import FrameSet
from geoseg_ros import msg
from geoseg_ros.camera_rig import CameraRig
from geoseg_ros.conversions import metric_frame
from geoseg_ros.diagnostics import Statistics
from geoseg_ros.frames import FrameBuilder
from geoseg_ros.parameters import NodeConfig
from geoseg_ros.publishers import Outputs
from geoseg_ros.worker import Arrival

# Sets in a row that found no memory, after which the model is made anew.
MOST_STARVED = 3
SHRINK_PERIOD_S = 10.0
Computed = TypeVar("Computed")


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a prompt, and a line on how it was found."""

    masks: msg.PromptMasks
    words: str


class Scene:
    """Decode a set, run the pipeline on it, publish; answer prompts on the newest set.

    Args:
        pipeline: the model.
        make_pipeline: makes another one like it, where it had to be let go.
        tell: says a line of information.
    """

    def __init__(
        self,
        pipeline: ScenePipeline,
        make_pipeline: Callable[[], ScenePipeline],
        rig: CameraRig,
        builder: FrameBuilder,
        outputs: Outputs,
        statistics: Statistics,
        config: NodeConfig,
        clock: Clock,
        tell: Callable[[str], object],
    ) -> None:
        self._make_pipeline = make_pipeline
        self._pipeline: ScenePipeline | None = pipeline
        self._kept: Remembered | None = None
        self._rig = rig
        self._builder = builder
        self._outputs = outputs
        self._statistics = statistics
        self._tasks = config.pipeline.tasks
        self._most_mib = config.memory.cpu_mib
        self._max_wait_ms = config.sync.max_age_s * 1e3
        self._clock = clock
        self._tell = tell
        self._newest: FrameSet | None = None
        self._sizes: dict[str, tuple[int, int]] = {}
        self._told = ScaleState()
        self._starved = 0
        self._shrunk_s = -math.inf

    @property
    def pipeline(self) -> ScenePipeline:
        """The model.

        Raises:
            GeosegError: it was let go and can't be made again.
        """
        self.load()
        return self._pipeline

    def load(self) -> None:
        """Make the model anew where it was let go; it remembers what it did.

        Raises:
            GeosegError: it can't be made.
        """
        if self._pipeline is None:
            self._pipeline = self._make_pipeline()
            if self._kept is not None:
                self._pipeline.restore(self._kept)
                self._kept = None

    def unload(self) -> None:
        """Let go of the model with its weights; what it remembers stays. Call it while no worker runs."""
        if self._pipeline is not None:
            self._kept = self._pipeline.remembered()
        self._let_go()

    def _let_go(self) -> None:
        self._pipeline = self._newest = self._statistics.newest = None
        return_memory()

    def process(self, arrival: Arrival) -> None:
        """One set, from messages to messages. Without any task it is only counted."""
        begun_ns = time.monotonic_ns()
        times_ms = {"wait": (begun_ns - arrival.arrived_ns) / 1e6}
        if times_ms["wait"] > self._max_wait_ms:  # the set before took so long, and no newer one came
            self._statistics.count_set("stale")
            return
        if self._tasks:
            frames = self._builder.build(arrival.synced)
            if frames is None:
                self._statistics.count_set("undecodable")
                return
            times_ms["decode"] = (time.monotonic_ns() - begun_ns) / 1e6
            if not self._run(frames, times_ms):
                return
        times_ms["latency"] = (time.monotonic_ns() - arrival.arrived_ns) / 1e6
        times_ms["age"] = (self._clock.now().nanoseconds - arrival.synced.stamp_ns) / 1e6
        times_ms["overhead"] = times_ms["age"] - times_ms.get("core", 0.0)
        self._statistics.timed(times_ms)
        self._statistics.count_set("processed")

    def _run(self, frames: FrameSet, times_ms: dict[str, float]) -> bool:
        self._flush_resized(frames)
        begun_ns = time.monotonic_ns()
        try:
            result = self._try(lambda: self._process(frames)) or self._try(lambda: self._process(frames))
        except BadInput as error:  # such as no depth or no calibration yet: no fault of the model
            self._statistics.refuse("set", "frames", error)
            self._statistics.count_set("unusable")
            return False
        except InconsistentResult as error:
            self._statistics.refuse("set", "result", error)
            self._statistics.count_set("inconsistent")
            return False
        if result is None:
            self._statistics.count_set("out_of_memory")
            self._starve()
            return False
        self._starved = 0
        core_ns = time.monotonic_ns()
        self._newest = result.frames
        self._statistics.newest = result
        self._tell_scale(result.scale)
        self._outputs.publish(result)
        times_ms |= {stage: ms for stage, ms in result.stage_ms.items() if stage != "total"}
        times_ms["core"] = (core_ns - begun_ns) / 1e6
        times_ms["publish"] = (time.monotonic_ns() - core_ns) / 1e6
        self._keep_within_limit()
        return True

    def _keep_within_limit(self) -> None:
        """Remember less where the node takes more memory than it may; then see for a while what came of it."""
        if not self._most_mib or time.monotonic() - self._shrunk_s < SHRINK_PERIOD_S:
            return
        if (resident := resident_mib()) > self._most_mib:
            self._shrunk_s = time.monotonic()
            self._tell(f"the node takes {resident:.0f} MiB, memory.cpu_mib is {self._most_mib}: less is remembered")
            self._newest = None
            self._pipeline.shrink_memory()

    def _process(self, frames: FrameSet) -> SceneResult:
        result = self.pipeline.process(frames)
        check_scene(result)
        return result

    def _try(self, compute: Callable[[], Computed]) -> Computed | None:
        """What the model computes; None where memory ran out, and less is remembered from then on."""
        try:
            return compute()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            why = str(error).partition("\n")[0]
        self._tell(f"memory ran out: {why:.120}; less is remembered from now on")
        self._newest = None
        if self._pipeline is not None:
            self._pipeline.shrink_memory()
        return None

    def _starve(self) -> None:
        """A set is dropped, as memory ran out twice. After some in a row the model begins anew."""
        self._starved += 1
        if self._starved == MOST_STARVED:
            self._tell(f"memory ran out for {MOST_STARVED} sets in a row: the model is made anew, its memory is lost")
            self._starved = 0
            self._let_go()

    def _tell_scale(self, scale: ScaleState) -> None:
        if scale.status != self._told.status:
            deviation = f" from {scale.source}, {scale.standard_deviation:.1%}" if scale.source else ""
            self._tell(f"the scale is {scale.status.name}{deviation}")
        if bool(scale.drift) != bool(self._told.drift):
            self._tell(f"drift alarm: {scale.drift}" if scale.drift else "drift alarm: over")
        self._told = scale

    def _flush_resized(self, frames: FrameSet) -> None:
        for view in frames.views:
            if self._sizes.get(view.camera, view.size) != view.size:
                self.flush(view.camera, "its resolution changed")
            self._sizes[view.camera] = view.size

    def flush(self, camera: str, why: str) -> None:
        """Forget what is remembered of one camera."""
        self._newest = None
        self.pipeline.flush_camera(camera)
        self._tell(f"camera {camera!r}: {why}; what was remembered of it is forgotten")

    def reset(self, why: str) -> None:
        """Forget everything; does and says nothing where there is nothing since the last time."""
        if self._newest is None:
            return
        self._newest = None
        self.pipeline.reset_memory()
        self._statistics.memory_resets += 1
        self._tell(f"{why}; the memory is reset")

    def cameras(self) -> tuple[str, ...]:
        """Cameras of the newest set. Safe in any thread."""
        newest = self._newest
        return () if newest is None else newest.cameras

    def segment(self, prompt: Prompt, request_id: str) -> Answer | None:
        """Answer once; None while there is no set with the prompt's camera."""
        if prompt.camera not in self.cameras():
            return None
        return self._answer(partial(self.pipeline.segment, prompt), request_id, 0.0)

    def track(
        self, prompt: Prompt, object_id: int, label: str, request_id: str, budget_s: float = 0.0
    ) -> Answer | None:
        """Follow from now on, or correct; None while there is no set with the prompt's camera."""
        if prompt.camera not in self.cameras():
            return None
        ask = partial(self.pipeline.track_object, prompt, object_id, label, budget_s)
        return self._answer(ask, request_id, budget_s)

    def _answer(self, ask: Callable[[], PromptResult], request_id: str, budget_s: float) -> Answer | None:
        """The answer; None where memory ran out, for which the next set is waited for."""
        result = self._try(ask)
        if result is None:
            return None
        check_answer(result)
        masks = self._outputs.answer(result, request_id)
        return Answer(masks, answer_words(result, budget_s, self.pipeline.prompts_by == "mv_sam"))

    def click_at(self, point: np.ndarray, frame_id: str) -> Prompt | None:
        """A click on a point (3,) of a frame, in the camera that sees it; None while there is no set."""
        if self._newest is None:
            return None
        return self.pipeline.click_at(self._in_world(point, frame_id.lstrip("/"), self._newest.stamp_ns))

    def _in_world(self, point: np.ndarray, frame_id: str, stamp_ns: int) -> np.ndarray:
        """A point (3,) in the world of the newest set, whose unit tf does not know while the scale is unknown."""
        world = metric_frame(self._rig.world_frame, self._told)
        if frame_id == world:
            return point
        if frame_id and self._told.status == ScaleStatus.UNKNOWN:
            raise BadInput(f"point: expected the frame {world!r} while the scale is unknown, got {frame_id!r:.80}; "
                           "show the cloud in its own frame and click there")  # fmt: skip
        return self._rig.in_world(point, frame_id, stamp_ns)

    def objects(self) -> tuple[TrackedObject, ...]:
        """The objects that are followed now."""
        return self.pipeline.objects()

    def classes(self) -> tuple[str, ...]:
        """What instances are told apart by; none while there is no model. Safe in any thread."""
        pipeline = self._pipeline
        return () if pipeline is None else pipeline.classes

    def query_instances(self, text: str) -> tuple[tuple[int, float], ...]:
        """Instances with how well a text describes each."""
        return self.pipeline.query_instances(text)

    def forget_object(self, object_id: int) -> str:
        self.pipeline.forget_object(object_id)
        return f"object {object_id} is not followed any more"

    def set_classes(self, classes: tuple[str, ...]) -> str:
        self.pipeline.set_classes(classes)
        return f"{len(classes)} classes hold from the next frame set on" if classes else "instances go without a class"

    def reset_now(self) -> str:
        """Forget everything because somebody asks for it."""
        self._newest = None
        self.pipeline.reset_memory()
        return "the memory is reset"

    def save_memory(self, path: str) -> tuple[int, ...]:
        return self._with_file(self.pipeline.save_memory, path)

    def load_memory(self, path: str) -> tuple[int, ...]:
        return self._with_file(self.pipeline.load_memory, path)

    def _with_file(self, action: Callable[[str], tuple[int, ...]], path: str) -> tuple[int, ...]:
        try:
            return action(path)
        except OSError as error:
            raise GeosegError(f"expected a file that can be used, got {path!r}: {error}") from error


def answer_words(result: PromptResult, budget_s: float, is_applied: bool) -> str:
    """In which views a prompt was answered; with a budget, how it was kept."""
    answered = result.frames.cameras
    if not budget_s:
        return f"answered on {' '.join(answered)}"
    took = f"in {result.seconds:.3g} s, over the budget of" if result.seconds > budget_s else "within"
    views = f"{len(answered)} of {len(answered) + len(result.not_asked)} views"
    words = f"answered in {views} {took} {budget_s:g} s: {', '.join(answered)}"
    if result.not_asked:
        words += f"; not asked: {', '.join(result.not_asked)}"
    return words if is_applied else f"{words}; the budget was not applied: prompts are answered by regions"
