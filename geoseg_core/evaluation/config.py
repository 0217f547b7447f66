"""What an evaluation measures, and how finely."""

from dataclasses import dataclass

from geoseg_core.config import setting
from geoseg_core.pipeline import TASKS


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of `geoseg evaluate`."""

    tasks: tuple[str, ...] = setting(TASKS, "what is measured", choices=TASKS)
    min_pixels: int = setting(100, "a truth with fewer pixels is neither asked for nor counted", "pixels", 1, 1_000_000)
    prompt_every: int = setting(10, "prompts are measured on every n-th set", "sets", 1, 1_000_000)
    max_sets: int = setting(0, "stop after so many sets, 0 = all", "sets", 0, 1_000_000_000)
