"""PromptSession: objects of one frame set, each told by clicks, boxes, masks or words in any views, bit by bit.

    session = PromptSession(prompter, scene)
    session.add("ego", points=[(320, 240)])                      # masks in all views
    session.add("exo", points=[(80, 60)], labels=[False])        # not this
    session.undo()

The set is embedded once; each answer costs the decoder alone. What is refused leaves the session as it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from geoseg_core.errors import BadInput, GeosegError
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.prompting.mv_sam.asking import PromptedMasks
from geoseg_core.prompting.mv_sam.prompter import Prompter
from geoseg_core.prompts import MAX_POINTS, TEXT_NEEDS_VOCABULARY, Prompt


@dataclass(frozen=True, eq=False)
class Step:
    """One addition: what was said, and of which object."""

    object_id: int
    prompt: Prompt


class PromptSession:
    """Objects that are prompted on one encoded frame set.

    Args:
        scene: of an encoder that the prompter was made for.
        pointed: makes of a prompt by text one that points, such as `Vocabulary.pointed` does; without it, texts are
            refused.

    Raises:
        BadInput: a scene of another encoder.
    """

    def __init__(
        self, prompter: Prompter, scene: EncodedScene, pointed: Callable[[Prompt], Prompt] | None = None
    ) -> None:
        self.prompter, self.scene, self._pointed = prompter, prompter.embed(scene), pointed
        self._steps: list[Step] = []
        self._answers: dict[int, PromptedMasks] = {}

    @property
    def answers(self) -> dict[int, PromptedMasks]:
        """The objects as they are told now, by id."""
        return dict(self._answers)

    def add(
        self,
        view: str,
        points: Sequence[Sequence[float]] | np.ndarray = (),
        labels: Sequence[bool] | np.ndarray | None = None,
        box: Sequence[float] | np.ndarray | None = None,
        mask: np.ndarray | None = None,
        text: str | None = None,
        object_id: int = 1,
    ) -> PromptedMasks:
        """Say more of an object, and get its masks in all views; a later box or mask in a view replaces an earlier one.

        Args:
            view: name of the camera that was pointed at.
            points: (N, 2) column and row; labels: (N,) whether each is on the object, all if None.
            box: (u_min, v_min, u_max, v_max); mask: (H, W) bool.
            text: words for the object, which stand alone; it may be in any view.

        Raises:
            BadInput: an unknown camera; anything outside the image; more points than are allowed; a point that is on
                the object and not on it; nothing said, or nothing yet that is on the object; a text that is empty or
                does not stand alone.
            GeosegError: a text in a session that knows no words.
        """
        prompt = prompt_of(view, points, labels, box, mask, text)
        if prompt.text:
            prompt = self._by_text(prompt)
        step = Step(object_id, prompt)
        together = joined([each.prompt for each in (*self._steps, step) if each.object_id == object_id])
        for each in together:
            each.check_places(self.scene.frames)
        if not any(each.says_where for each in together):
            raise BadInput(f"object {object_id}: expected a positive point, a box or a mask first, got none; add one")
        answer = self.prompter.answer(self.scene, together)
        self._steps.append(step)
        self._answers[object_id] = answer
        return answer

    def _by_text(self, prompt: Prompt) -> Prompt:
        """A prompt that points at what a text means."""
        prompt.check(self.scene.frames)
        if self._pointed is None:
            raise GeosegError(TEXT_NEEDS_VOCABULARY)
        return self._pointed(prompt)

    def undo(self) -> int | None:
        """Take back the last addition; the object that it was of, None if there was none."""
        if not self._steps:
            return None
        number = self._steps.pop().object_id
        left = joined([each.prompt for each in self._steps if each.object_id == number])
        if left:
            self._answers[number] = self.prompter.answer(self.scene, left)
        else:
            del self._answers[number]
        return number

    def clear(self, object_id: int | None = None) -> None:
        """Forget one object, or all of them; one that is not there is no error."""
        self._steps = [each for each in self._steps if object_id is not None and each.object_id != object_id]
        kept = {each.object_id for each in self._steps}
        self._answers = {number: answer for number, answer in self._answers.items() if number in kept}


def prompt_of(
    view: str,
    points: Sequence[Sequence[float]] | np.ndarray,
    labels: Sequence[bool] | np.ndarray | None,
    box: Sequence[float] | np.ndarray | None,
    mask: np.ndarray | None,
    text: str | None,
) -> Prompt:
    """A prompt of plain numbers.

    Raises:
        BadInput: too many points, or what cannot be read as numbers; an empty text, or one that does not stand alone;
            nothing at all.
    """
    if len(points) > MAX_POINTS:
        raise BadInput(f"prompt points: expected at most {MAX_POINTS}, got {len(points)}; send fewer")
    try:
        places = np.asarray(points, float).reshape(-1, 2)
        positive = np.ones(len(places), bool) if labels is None else np.asarray(labels, bool).reshape(-1)
        edges = None if box is None else np.asarray(box, float)
    except (TypeError, ValueError) as error:
        raise BadInput(f"prompt: expected points (N, 2), labels (N,) and a box (4,), got {error}") from error
    points_at = len(places) > 0 or edges is not None or mask is not None
    if text is not None:
        if points_at or not text.strip():
            got = "points, a box or a mask with it" if points_at else repr(text)
            raise BadInput(f"text prompt: expected words alone, got {got}; say what is meant, or point at it")
        return Prompt(view, text=text)
    if not points_at:
        raise BadInput("prompt: expected points, a box or a mask, got none")
    return Prompt(view, places, positive, edges, None if mask is None else np.asarray(mask, bool))


def joined(prompts: Sequence[Prompt]) -> list[Prompt]:
    """One prompt for each view, in which later boxes and masks replace earlier ones."""
    views: dict[str, Prompt] = {}
    for each in prompts:
        before = views.get(each.camera, Prompt(each.camera))
        views[each.camera] = Prompt(
            each.camera,
            np.concatenate((before.points_px, each.points_px)),
            np.concatenate((before.positive, each.positive)),
            before.box_px if each.box_px is None else each.box_px,
            before.mask if each.mask is None else each.mask,
        )
    return list(views.values())

