"""Prompts drawn from ground-truth masks, and how well they are answered in all views.

The kinds are those of MV-SAM's tables: 10 positive and 2 negative points, one click, three clicks and a box.
All are drawn in one view from the truth there, always the same ones for the same seed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from geoseg_core.evaluation.overlap import mask_iou
from geoseg_core.prompts import Prompt

PROMPT_KINDS = ("points_10_2", "one_click", "three_clicks", "box")
Answer = Callable[[Prompt], Sequence[np.ndarray]]


def deepest_pixel(mask: np.ndarray) -> np.ndarray:
    """(2,) float (u, v): the pixel of an (H, W) bool mask that is farthest from its edge and the image's."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    v, u = np.unravel_index(int(distance.argmax()), mask.shape)
    return np.array([u, v], float)


def random_points(mask: np.ndarray, positives: int, negatives: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points drawn evenly inside and outside a mask: points_px (N, 2) and positive (N,) bool."""
    generator = np.random.default_rng(seed)
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    drawn = [inside[generator.integers(len(inside), size=positives)]]
    if len(outside):
        drawn.append(outside[generator.integers(len(outside), size=negatives)])
    points = np.concatenate(drawn)[:, ::-1].astype(float)
    return points, np.arange(len(points)) < positives


def bounding_box(mask: np.ndarray) -> np.ndarray:
    """(4,) float (u_min, v_min, u_max, v_max): outer edges of the mask's pixels, so never empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5])


def click(camera: str, points: Sequence[np.ndarray], positive: Sequence[bool]) -> Prompt:
    """A prompt of single clicks."""
    return Prompt(camera, np.array(points, float).reshape(-1, 2), np.array(positive, bool))


def ask(kind: str, camera: str, view: int, truth: np.ndarray, answer: Answer, seed: int) -> Sequence[np.ndarray]:
    """Prompt an object in one way; the masks (H, W) bool of all views that `answer` gave in the end.

    Three clicks: each further click lies deepest inside the larger error of the prompted view (missed: positive,
    too much: negative), as a user would correct it.
    """
    if kind == "points_10_2":
        return answer(Prompt(camera, *random_points(truth, 10, 2, seed)))
    if kind == "box":
        return answer(Prompt(camera, box_px=bounding_box(truth)))
    points, positive = [deepest_pixel(truth)], [True]
    masks = answer(click(camera, points, positive))
    for _ in range(2 if kind == "three_clicks" else 0):
        missed, surplus = truth & ~masks[view], masks[view] & ~truth
        is_missed = np.count_nonzero(missed) >= np.count_nonzero(surplus)
        error = missed if is_missed else surplus
        if not error.any():
            break
        points.append(deepest_pixel(error))
        positive.append(bool(is_missed))
        masks = answer(click(camera, points, positive))
    return masks


class PromptScore:
    """Collects answers; `report` gives miou and macc for each kind of prompt.

    miou: mean over prompts of the mean IoU over the views where the object has `min_pixels` or more.
    macc: mean over prompts of the share of right pixels (object or not) in all views, as for NVOS and SPIn-NeRF.
    """

    def __init__(self, min_pixels: int) -> None:
        self.min_pixels = min_pixels
        self._figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in PROMPT_KINDS}

    def add(self, kind: str, truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> None:
        """Count one answer; masks (H, W) bool of all views; at least one truth must be large enough."""
        pairs = list(zip(truth, predicted, strict=True))
        ious = [mask_iou(*pair) for pair in pairs if np.count_nonzero(pair[0]) >= self.min_pixels]
        right = sum(int(np.count_nonzero(true == mask)) for true, mask in pairs)
        self._figures[kind].append((float(np.mean(ious)), right / sum(true.size for true in truth)))

    def report(self) -> dict[str, Any]:
        """miou, macc and the number of prompts of each kind; None where none was asked."""
        return {kind: _mean_figures(figures) for kind, figures in self._figures.items()}


def _mean_figures(figures: Sequence[tuple[float, float]]) -> dict[str, Any]:
    miou, macc = np.mean(figures, axis=0).tolist() if figures else (None, None)
    return {"miou": miou, "macc": macc, "prompts": len(figures)}
