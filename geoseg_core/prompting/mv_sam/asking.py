"""What users point at, in the pixels of their images, as the decoder of MV-SAM takes it; and its answer back.

A mask speaks to its own view, so points on it and round it tell the other views. A box says less: it is first answered
in its own view, and that mask is the prompt; so are points, if the decoder is asked twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from geoseg_core.geometry.network_input import Placement
from geoseg_core.prompting.mv_sam.marks import MASK_POINTS, RIM_POINTS, rim
from geoseg_core.prompting.mv_sam.model import BOX, DENSE, MASK, NEGATIVE, POSITIVE, MvSam, Prepared, ScenePrompts
from geoseg_core.prompting.sharpening import sharpened
from geoseg_core.prompts import Prompt
from geoseg_core.views import FrameSet

# Parts of a mask with less than this share of an image's pixels are left out.
SPRINKLE = 0.001
# Logit of what the network did not see.
UNSEEN = -10.0


@dataclass(frozen=True, eq=False)
class PromptedMasks:
    """One object in all views: masks, per view (H, W) bool, and scores (V,), the mean chance of their pixels, or 1 for
    a mask that was given; an empty mask and 0 for a view that was not asked."""

    masks: tuple[np.ndarray, ...]
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Marked:
    """A prompt in one view at the pixels of the network's input: points (N, 2), whether they are on the object (N,),
    and a mask and a box as maps (H, W) bool, if any."""

    view: int
    points: np.ndarray
    positive: np.ndarray
    mask: np.ndarray | None = None
    box: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class PromptableScene:
    """A frame set that was embedded once, for all prompts on it."""

    frames: FrameSet
    placements: Sequence[Placement]
    prepared: Prepared

    def of_views(self, views: Sequence[int]) -> "PromptableScene":
        """Some views alone."""
        frames = replace(self.frames, views=tuple(self.frames.views[view] for view in views))
        placements = [self.placements[view] for view in views]
        return PromptableScene(frames, placements, self.prepared.of_views(list(views)))


def asked(
    decoder: MvSam, scene: PromptableScene, prompts: Sequence[Prompt], views: Sequence[int] | None = None
) -> PromptedMasks:
    """The object that prompts in any views ask for, in all views of one scene or in some, the prompted ones among them.
    What is found in a view does not depend on which others are asked, unless each looks at all of them."""
    some, order = (scene, range(len(scene.placements))) if views is None else (scene.of_views(views), views)
    marked = [marked_by(prompt, some) for prompt in prompts]
    told = [with_mask_points(with_own_mask(decoder, some, each)) for each in marked]
    answer = answered_masks(decoder, some, told)
    masks, scores = [np.zeros(view.size, bool) for view in scene.frames.views], np.zeros(len(scene.placements))
    for view, mask, score in zip(order, answer.masks, answer.scores, strict=True):
        masks[view], scores[view] = mask, score
    for prompt in prompts:
        if prompt.has_mask:
            view = scene.frames.index(prompt.camera)
            masks[view], scores[view] = np.asarray(prompt.mask, bool), 1.0
    return PromptedMasks(tuple(masks), scores)


def answered_masks(decoder: MvSam, scene: PromptableScene, told: Sequence[Marked]) -> PromptedMasks:
    """The masks of one object at the pixels of the images."""
    config, masks, scores = decoder.config, [], []
    logits = decoded(decoder, scene.prepared, told) - config.threshold
    for place, view, given in zip(scene.placements, logits, scene.frames.views, strict=True):
        larger = F.interpolate(view[None, None].float(), place.canvas, mode="bilinear", align_corners=False)[0]
        found = place.logits_to_source(larger, UNSEEN)[0].cpu().numpy()
        if config.sharpened:
            found = sharpened(found, given.image)
        mask = without_sprinkles(found > 0)
        masks.append(mask)
        scores.append(float((1 / (1 + np.exp(-found[mask]))).mean()) if mask.any() else 0.0)
    return PromptedMasks(tuple(masks), np.array(scores))


def marked_by(prompt: Prompt, scene: PromptableScene) -> Marked:
    """A prompt at the pixels of the network's input."""
    view = scene.frames.index(prompt.camera)
    place = scene.placements[view]
    height, width = place.canvas
    points = np.rint(place.to_network(prompt.points_px)).astype(np.int64).clip(0, (width - 1, height - 1))
    mask = box = None
    if prompt.has_mask:
        mask = place.map_to_network(np.asarray(prompt.mask, np.uint8)) > 0
    if prompt.box_px is not None:
        low, high = place.to_network(prompt.box_px.reshape(2, 2))
        columns, rows = np.arange(width), np.arange(height)[:, None]
        box = (columns > low[0]) & (columns < high[0]) & (rows > low[1]) & (rows < high[1])
    return Marked(view, points, np.asarray(prompt.positive, bool), mask, box)


def with_own_mask(decoder: MvSam, scene: PromptableScene, marked: Marked) -> Marked:
    """A box, and points if the decoder is asked twice, as the mask that their own view alone has for them: it tells the
    other views more. A mask that is given stands before it."""
    is_asked = marked.box is not None or (decoder.config.twice and marked.positive.any())
    if marked.mask is not None or not is_asked:
        return marked
    alone = scene.of_views([marked.view])
    (found,) = answered_masks(decoder, alone, [replace(marked, view=0)]).masks
    mask = alone.placements[0].map_to_network(found.astype(np.uint8)) > 0
    if marked.box is not None:
        mask &= marked.box
        mask = mask if mask.any() else marked.box
    return replace(marked, mask=mask if mask.any() else None, box=None)


def with_mask_points(marked: Marked) -> Marked:
    """With points on the mask and round it, if there is one."""
    if marked.mask is None or not marked.mask.any():
        return marked
    points, positive = [marked.points], [marked.positive]
    around = rim(torch.from_numpy(marked.mask)).numpy()
    for places, count, value in ((marked.mask, MASK_POINTS, True), (around, RIM_POINTS, False)):
        if places.any():
            points.append(spread_points(places, count))
            positive.append(np.full(len(points[-1]), value))
    return replace(marked, points=np.concatenate(points), positive=np.concatenate(positive))


def spread_points(mask: np.ndarray, count: int) -> np.ndarray:
    """(N, 2) columns and rows of a mask (H, W): the one farthest from its edge, then each time that with most distance
    from the points so far, and half as much from the edge."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    rows, columns = np.nonzero(mask)
    inside = depth[rows, columns]
    away = np.full(len(rows), np.inf)
    chosen = [int(inside.argmax())]
    while len(chosen) < min(count, len(rows)):
        away = np.minimum(away, np.hypot(rows - rows[chosen[-1]], columns - columns[chosen[-1]]))
        chosen.append(int(np.minimum(away, 2 * inside).argmax()))
    return np.stack((columns[chosen], rows[chosen]), axis=-1)


@torch.inference_mode()
def decoded(decoder: MvSam, prepared: Prepared, marked: Sequence[Marked]) -> Tensor:
    """Logits (V, h, w) of one object."""
    kinds = np.concatenate([np.where(each.positive, POSITIVE, NEGATIVE) for each in marked])
    views = np.concatenate([np.full(len(each.points), each.view) for each in marked])
    pixels = np.concatenate([each.points for each in marked])
    device = prepared.cells.device
    size = (DENSE * prepared.size[0], DENSE * prepared.size[1])
    dense = None
    for each in marked:
        for channel, given in ((MASK, each.mask), (BOX, each.box)):
            if given is not None:
                if dense is None:
                    dense = torch.zeros(1, 1, prepared.cells.shape[1], 2, *size, device=device)
                share = F.adaptive_avg_pool2d(torch.from_numpy(given)[None].float(), size)[0]
                dense[0, 0, each.view, channel] = torch.where(share >= 0.5, 1.0, -1.0).to(device)
    told = [torch.from_numpy(each.astype(np.int64)).to(device)[None, None] for each in (kinds, views, pixels)]
    prompts = ScenePrompts(told[0], told[1], told[2], dense)
    return decoder.decode(prepared, prompts)[0, 0]


def without_sprinkles(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) without the parts that are smaller than a thousandth of the image."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if not width:
        return mask
    window = (slice(top, top + height), slice(left, left + width))
    _, parts, facts, _ = cv2.connectedComponentsWithStats(mask[window].astype(np.uint8), connectivity=8)
    kept = facts[:, cv2.CC_STAT_AREA] >= SPRINKLE * mask.size
    kept[0] = False
    left_over = np.zeros_like(mask)
    left_over[window] = kept[parts]
    return left_over
