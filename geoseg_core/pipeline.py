"""ScenePipeline: a frame set in, masks, instances and events out; prompts answered on the newest set.

The live nodes, bag evaluation and use from Python all call this one class.
"""

from dataclasses import dataclass

from geoseg_core.config import setting
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult, SceneResult
from geoseg_core.views import FrameSet

TASKS = ("cross_view", "instances", "prompts")


@dataclass(frozen=True)
class PipelineConfig:
    """What the pipeline runs, and how."""

    tasks: tuple[str, ...] = setting(TASKS, "which readouts run on every frame set", choices=TASKS)


@dataclass(frozen=True)
class TrackedObject:
    """An object that is followed because somebody asked for it."""

    object_id: int
    label: str
    last_seen_ns: int


class ScenePipeline:
    """Owns the encoder, the readouts and all memory of one workplace. Not thread-safe: one caller."""

    def __init__(self, config: PipelineConfig) -> None: ...

    def process(self, frames: FrameSet) -> SceneResult:
        """Encode a set once, follow all objects into it, find its instances."""

    def segment(self, prompt: Prompt) -> PromptResult:
        """Masks of the prompted object in every view of the newest set; nothing is remembered."""

    def track_object(self, prompt: Prompt, object_id: int = 0, label: str = "") -> PromptResult:
        """Follow the prompted object from the newest set on; with the id of a live one, correct it."""

    def forget_object(self, object_id: int) -> None:
        """Stop to follow an object."""

    def objects(self) -> tuple[TrackedObject, ...]:
        """The objects that are followed now."""

    def reset_memory(self) -> None:
        """Forget every object, every instance and the newest set. Ids are not used again."""

    def flush_camera(self, camera: str) -> None:
        """Forget what is remembered of one camera (its calibration or resolution changed)."""

    def save_memory(self, path: str) -> tuple[int, ...]:
        """Write all tracks to a safetensors file; return their ids."""

    def load_memory(self, path: str) -> tuple[int, ...]:
        """Replace all tracks by those of a file; return their ids."""
