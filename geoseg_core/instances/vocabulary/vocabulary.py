"""Vocabulary: what the live instances look like to an image-text model, their classes, and which of them a text means.

An instance is looked at in a few sets, each time in the views that show most of it, and again when clearly more of it
is seen. Its embedding is the mean of all these looks, each crop weighted by the pixels that it shows of the instance.
Work is bounded: so many instances in each set, those looked at least often first. Others keep what they have.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.instances.vocabulary.config import VocabularyConfig
from geoseg_core.instances.vocabulary.crops import instance_crop
from geoseg_core.instances.vocabulary.model import ImageTextModel
from geoseg_core.prompts import Prompt
from geoseg_core.results import EventKind, InstanceResult, ObjectEvent
from geoseg_core.views import FrameSet

MAX_CLASSES = 1000
MAX_TEXT = 300


@dataclass(frozen=True, eq=False)
class Words:
    """Texts with their embeddings (L, C), unit vectors."""

    names: tuple[str, ...]
    embeddings: Tensor

    def without(self, names: Sequence[str]) -> Tensor:
        """The embeddings of all but some."""
        return self.embeddings[[row for row, name in enumerate(self.names) if name not in names]]


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of an instance.

    Attributes:
        summed: (C,) its crops' embeddings, each times the pixels that it shows.
        count: in how many sets it was looked at.
        most_pixels: the most that a look had.
    """

    summed: Tensor
    count: int
    most_pixels: int


class Vocabulary:
    """Classes of instances, set at any time. Not thread-safe: one caller.

    Raises:
        BadInput: classes that are empty, too long, too many or not different.
    """

    def __init__(self, config: VocabularyConfig, model: ImageTextModel) -> None:
        self.config, self.model = config, model
        self._looks: dict[int, Looks] = {}
        self._rivals = self._embed(checked(config.rivals if model.compares_texts else ()))
        self.set_classes(config.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """What instances are told apart by."""
        return self._classes.names

    def set_classes(self, classes: Sequence[str]) -> None:
        """Tell instances apart by these words or phrases from now on; by none, they go without a class.

        Raises:
            BadInput: one that is empty or too long, too many, or one twice; the classes stay as they were.
        """
        self._classes = self._embed(checked(classes))

    def classified(
        self, frames: FrameSet, found: InstanceResult, events: Iterable[ObjectEvent] = ()
    ) -> InstanceResult:
        """The instances of a set with their classes; what was merged or split is looked at anew."""
        for event in events:
            if event.kind in (EventKind.MERGED, EventKind.SPLIT):
                self._forget((event.object_id, *event.related_ids))
        live = [each.instance_id for each in found.instances]
        self._forget(set(self._looks) - set(live))
        self._look(frames, found.labels, live)
        best = self._best()
        named = (
            replace(each, class_name=best[each.instance_id][0], class_score=best[each.instance_id][1])
            if each.instance_id in best
            else each
            for each in found.instances
        )
        return replace(found, instances=tuple(named))

    def query(self, text: str) -> tuple[tuple[int, float], ...]:
        """Live instances that were looked at, each with how well a text describes it in [0, 1], best first.

        Raises:
            BadInput: the text is empty or too long.
        """
        words = self._embed(checked((text,)))
        known = sorted(self._looks)
        if not known:
            return ()
        scores = self._scores(known, words)[:, 0]
        order = np.argsort(-scores, kind="stable")
        return tuple((known[row], float(scores[row])) for row in order)

    def pointed(self, prompt: Prompt, frames: FrameSet, labels: Sequence[np.ndarray]) -> Prompt:
        """A text prompt as a prompt by the mask of the best instance in view, where most of it is seen.

        Args:
            labels: instance ids (H, W) of each view.

        Raises:
            BadInput: the text does not stand alone, no instance that was looked at is in view, or none scores enough.
        """
        prompt.check(frames)
        if len(prompt.points_px) or prompt.box_px is not None or prompt.has_mask:
            raise BadInput("text prompt: expected the text alone, got points, a box or a mask with it; ask by the text "
                           "first, then correct the object with points")  # fmt: skip
        ranked = self.query(prompt.text)
        pixels = pixels_of([number for number, _ in ranked], labels)
        in_view = np.flatnonzero(pixels.any(axis=0))
        if len(in_view) == 0:
            raise BadInput(f"text prompt {prompt.text!r}: expected an instance in view that was looked at, found none; "
                           "wait for more frame sets, or point at it")  # fmt: skip
        number, score = ranked[in_view[0]]
        if score < self.config.least_score:
            raise BadInput(
                f"text prompt {prompt.text!r}: expected an instance that scores at least {self.config.least_score:g} "
                f"(instances.vocabulary.least_score), the best in view is {number} with {score:.2g}; point at it"
            )
        view = int(pixels[:, in_view[0]].argmax())
        return Prompt(frames.cameras[view], mask=labels[view] == number)

    def embeddings(self) -> dict[int, np.ndarray]:
        """What each live instance that was looked at looks like: a unit vector (C,) float32."""
        return {number: self._embedding(number).numpy() for number in sorted(self._looks)}

    def reset(self) -> None:
        """Forget how all instances look; the classes stay."""
        self._looks.clear()

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._looks.pop(number, None)

    def _embed(self, texts: tuple[str, ...]) -> Words:
        sentences = [self.config.template.replace("{}", text) for text in texts]
        return Words(texts, self.model.embed_texts(sentences))

    def _embedding(self, number: int) -> Tensor:
        return torch.nn.functional.normalize(self._looks[number].summed, dim=-1)

    def _best(self) -> dict[int, tuple[str, float]]:
        """Class and score of each known instance that has a class."""
        known = list(self._looks)
        if not known or not self.classes:
            return {}
        scores = self._scores(known, self._classes)
        best = {number: (int(row.argmax()), float(row.max())) for number, row in zip(known, scores, strict=True)}
        return {
            number: (self.classes[column], score)
            for number, (column, score) in best.items()
            if column < len(self.classes) and score >= self.config.least_score
        }

    def _scores(self, numbers: Sequence[int], words: Words) -> np.ndarray:
        """Scores (K, L + R) of K known instances, for L texts and then for the R rivals that are none of these."""
        images = torch.stack([self._embedding(number) for number in numbers])
        return self.model.scores(images, torch.cat([words.embeddings, self._rivals.without(words.names)]))

    def _look(self, frames: FrameSet, labels: Sequence[np.ndarray], live: Sequence[int]) -> None:
        """Look at the instances whose turn it is."""
        config = self.config
        pixels = pixels_of(live, labels)
        shown = np.sort(pixels, axis=0)[-config.views :].sum(0)
        due = [
            (self._looks[number].count if number in self._looks else 0, -int(total), row)
            for row, (number, total) in enumerate(zip(live, shown, strict=True))
            if total >= config.least_pixels and self._is_due(number, int(total))
        ]
        crops, whose, weights = [], [], []
        for _, _, row in sorted(due)[: config.instances_per_set]:
            views = np.argsort(-pixels[:, row], kind="stable")[: config.views]
            for view in views[pixels[views, row] > 0]:
                mask, image = labels[view] == live[row], frames.views[view].image
                crops.append(instance_crop(image, mask, self.model.side, config.margin, config.surroundings,
                                           self.model.grey))  # fmt: skip
                whose.append(live[row])
                weights.append(int(pixels[view, row]))
        if crops:
            self._remember(whose, weights, self.model.embed_images(crops))

    def _is_due(self, number: int, pixels: int) -> bool:
        known = self._looks.get(number)
        return known is None or known.count < self.config.looks or pixels >= self.config.growth * known.most_pixels

    def _remember(self, whose: Sequence[int], weights: Sequence[int], embeddings: Tensor) -> None:
        """Add one set's crops: of each the instance, the pixels that it shows, and its embedding (N, C)."""
        weighted = embeddings * torch.tensor(weights)[:, None]
        for number in dict.fromkeys(whose):
            mine = torch.tensor([each == number for each in whose])
            total = int(torch.tensor(weights)[mine].sum())
            old = self._looks.get(number, Looks(torch.zeros(embeddings.shape[1]), 0, 0))
            summed = old.summed + weighted[mine].sum(0)
            self._looks[number] = Looks(summed, old.count + 1, max(old.most_pixels, total))


def pixels_of(numbers: Sequence[int], labels: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels (V, K) of each of K instances in V label images (H, W)."""
    highest = max(numbers, default=0)
    counts = [np.bincount(image.ravel(), minlength=highest + 1) for image in labels]
    return np.stack([count[list(numbers)] for count in counts]).astype(np.int64)


def checked(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts without blanks around them.

    Raises:
        BadInput: one that is empty or too long, too many, or one twice.
    """
    clean = tuple(text.strip() for text in texts)
    if len(clean) > MAX_CLASSES:
        raise BadInput(f"classes: expected at most {MAX_CLASSES}, got {len(clean)}")
    wrong = [text for text in clean if not 1 <= len(text) <= MAX_TEXT]
    if wrong:
        raise BadInput(f"classes and queries: expected words of 1 to {MAX_TEXT} characters, got {wrong[0]!r:.80}")
    if len(set(clean)) < len(clean):
        twice = sorted({text for text in clean if clean.count(text) > 1})
        raise BadInput(f"classes: expected each once, got {twice} twice")
    return clean
