"""The contract of what answers prompts and follows objects through views and time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from geoseg_core.geometry.alignment.similarity import Similarity
from geoseg_core.instances.store import Stored
from geoseg_core.moment import Moment
from geoseg_core.prompts import Prompt
from geoseg_core.results import PromptResult, ViewMasks

# A prompt that overlaps so much with a thing that is known means that thing.
SAME_THING = 0.8


@dataclass(frozen=True)
class TrackedObject:
    """An object that is followed because somebody asked for it."""

    object_id: int
    label: str
    last_seen_ns: int


class Follower(Protocol):
    """Answers prompts on the newest set and follows what was asked for. Ids come from the keeper of all instances.

    A prompt is answered in all views, or where MV-SAM answers in those of `views`: masks of the others are empty.
    """

    method: str

    def masks(self, moment: Moment) -> tuple[ViewMasks, ...]:
        """All followed objects in every view of a new set."""

    def segment(self, moment: Moment, prompt: Prompt, views: Sequence[int] | None = None) -> PromptResult:
        """The prompted object in every view; nothing is remembered."""

    def track(
        self, moment: Moment, prompt: Prompt, object_id: int, label: str, views: Sequence[int] | None = None
    ) -> PromptResult:
        """Follow the prompted object; correct the one of that id, if it is not 0."""

    def forget(self, object_id: int) -> None:
        """Stop to follow an object that is followed."""

    def objects(self) -> list[TrackedObject]:
        """The objects that are followed now."""

    def sizes(self, moment: Moment) -> Iterator[tuple[str, float]]:
        """Label and longest edge of each followed object with a label that is seen now, in units of the scene."""

    def reset(self) -> None:
        """Forget every object."""

    @property
    def held_bytes(self) -> int:
        """Memory of what is remembered besides the tracks."""

    def shrink(self) -> None:
        """Memory is short: keep less of what can be done without, from now on too."""

    def flush_camera(self, camera: str) -> None:
        """Forget what is remembered of one camera."""

    def move_world(self, moved: Similarity) -> None:
        """The world or its unit is another one from now on."""

    def stored(self) -> Stored:
        """All that is remembered besides the tracks."""

    def read(self, stored: Stored) -> list[Any]:
        """The things that were stored, each with its `object_id`; nothing changes yet.

        Raises:
            KeyError, TypeError, ValueError: it is not whole, or another kind of follower stored it.
        """

    def restore(self, things: Sequence[Any]) -> None:
        """Follow what was read and nothing else."""
