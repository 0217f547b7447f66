"""Masks of one view in all others without a trained head: points that an encoder follows prompt SAM 2.1.

    transfer = PointPromptSam.from_config(PointPromptSamConfig(weights="sam2.1-hiera-large"))
    masks = transfer(scene, source=0, masks=marked).masks  # per view (K, H, W)

Anchors of an object are followed into the other views; those that are seen there are points on it. Where there is
depth, its mask, reprojected through depth and cameras, is a prompt too.

Where the two contradict, SAM is given both: it was trained to take a mask as an earlier answer that points correct. A
mask that holds none of the points is left out, so that a wrong depth does not outweigh what the tracks saw.
"""

from collections.abc import Sequence

import numpy as np

from geoseg_core.cross_view.carrier import (
    Asked,
    Forgetful,
    Found,
    Sighting,
    in_network,
    matched_anchors,
    nothing,
    sighted,
)
from geoseg_core.cross_view.point_prompt_config import PointPromptSamConfig
from geoseg_core.cross_view.reprojected import reprojected_mask
from geoseg_core.cross_view.sam2 import Prompt, Sam2
from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks, no_masks, state_of
from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.looks import MatchedScene
from geoseg_core.geometry.camera import inside
from geoseg_core.geometry.choice import device_named
from geoseg_core.geometry.encoder import EncodedScene, PointTracks
from geoseg_core.results import Visibility


class PointPromptSam(Forgetful):
    """Masks of a source view to masks in all views of an encoded scene: a `MaskTransfer`, and a `MaskCarrier`."""

    method = "point_prompt_sam"

    def __init__(
        self,
        sam: Sam2,
        config: PointPromptSamConfig = PointPromptSamConfig(),  # noqa: B008 (frozen)
    ) -> None:
        self.sam, self.config = sam, config

    @classmethod
    def from_config(cls, config: PointPromptSamConfig) -> "PointPromptSam":
        """With the configured weights.

        Raises:
            MissingExtra: the extra [sam] is not installed.
            BadInput: weights that are not here, or no SAM 2 model.
            BadConfig: a device that is not there.
        """
        device = device_named(config.device, "device")
        return cls(Sam2.from_pretrained(config.weights, device, config.precision), config)

    def __call__(self, scene: EncodedScene, source: int, masks: np.ndarray) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source` into all views.

        An object of which no anchor is seen in a view has no mask there. The score is the overlap that SAM predicts.

        Raises:
            BadInput: a set of one view, masks of another size than the view, or a mask that is empty or covers the
                whole view.
        """
        masks = checked_masks(scene.frames, source, masks)
        if len(masks) == 0:
            return no_masks(scene.frames)
        targets = [index for index in range(len(scene.frames.views)) if index != source]
        tracks = [followed_anchors(scene, source, targets, mask, self.config.anchors) for mask in masks]
        found, states, scores = [], [], []
        for index, view in enumerate(scene.frames.views):
            if index == source:
                found.append(masks)
                states.append([Visibility.VISIBLE] * len(masks))
                scores.append(np.ones(len(masks)))
                continue
            points = [each.points_px[targets.index(index)] for each in tracks]
            seen = [seen_points(each, targets.index(index), view.size, self.config.least_confidence) for each in tracks]
            there, overlaps = self._segmented(view.image, view_prompts(scene, source, index, masks, seen, self.config))
            found.append(there)
            states.append([state_of(mask, at, view.size) for mask, at in zip(there, points, strict=True)])
            scores.append(overlaps)
        return TransferredMasks(tuple(found), np.array(states), np.stack(scores))

    def between_views(
        self, scene: EncodedScene, source: int, masks: np.ndarray, object_ids: Sequence[int] = (), frame: int = 0
    ) -> TransferredMasks:
        """Masks (K, H, W) of a view in all views of its set."""
        return self(scene, source, masks)

    def over_time(self, scene: MatchedScene, asked: Sequence[Asked], frame: int = 0) -> list[Found]:
        """Objects as their cameras saw them before: points that are matched from there prompt SAM."""
        found = [nothing(scene, each.view) for each in asked]
        for view in sorted({each.view for each in asked}):
            rows = [row for row, each in enumerate(asked) if each.view == view]
            prompts = [self._recalled(scene, asked[row].sighting, view) for row in rows]
            masks, scores = self._segmented(scene.frames.views[view].image, prompts)
            for row, mask, score in zip(rows, masks, scores, strict=True):
                found[row] = Found(mask, in_network(mask, scene, view), float(score))
        return found

    def _recalled(self, scene: MatchedScene, sighting: Sighting, view: int) -> Prompt | None:
        both = sighted(scene, sighting, view)
        ((_, matched, seen),) = matched_anchors(scene, both, [sighting.mask], view, self.config.anchors)
        points = scene.placements[view].to_source(matched[seen >= self.config.least_confidence])
        points = points[inside(points, np.ones(len(points)), scene.frames.views[view].size)]
        return Prompt(points) if len(points) else None

    def _segmented(self, image: np.ndarray, prompts: Sequence[Prompt | None]) -> tuple[np.ndarray, np.ndarray]:
        """Masks (K, H, W) bool and scores (K,) of an image; without a prompt, or a pixel, nothing and 0."""
        masks, scores = np.zeros((len(prompts), *image.shape[:2]), bool), np.zeros(len(prompts))
        asked = {row: prompt for row, prompt in enumerate(prompts) if prompt is not None}
        if asked:
            masks[list(asked)], scores[list(asked)] = self.sam(image, list(asked.values()))
        return masks, np.where(masks.any(axis=(1, 2)), scores, 0.0)


def followed_anchors(scene: EncodedScene, source: int, targets: list[int], mask: np.ndarray, count: int) -> PointTracks:
    """Anchors of one object's mask (H, W) in the targets; by itself, as the points that a tracker follows at a time may
    see each other, and objects shall not."""
    return scene.track(mask_anchors(mask, count).points_px, source, targets)


def seen_points(tracks: PointTracks, row: int, size: tuple[int, int], least_confidence: float) -> np.ndarray:
    """Points (N, 2) of a target, a row of the tracks, that are seen in its image (height, width) and trusted."""
    points = tracks.points_px[row]
    trusted = tracks.visible[row] & (tracks.confidence[row] >= least_confidence)
    return points[trusted & inside(points, np.ones(len(points)), size)]


def view_prompts(
    scene: EncodedScene,
    source: int,
    target: int,
    masks: np.ndarray,
    points_px: Sequence[np.ndarray],
    config: PointPromptSamConfig,
) -> list[Prompt | None]:
    """What SAM is asked in a target for each of the masks (K, H, W), with the points (N, 2) that are seen of it there;
    None for an object without any."""
    goal, start = scene.views[target], scene.views[source]
    prompts: list[Prompt | None] = []
    for mask, points in zip(masks, points_px, strict=True):
        if len(points) == 0:
            prompts.append(None)
            continue
        rough = reprojected_mask(goal, start, mask, config.tolerance) if config.mask_prompt else None
        columns, rows = np.rint(points).astype(np.intp).T
        agrees = rough is not None and rough[rows, columns].any()
        prompts.append(Prompt(points, rough if agrees else None))
    return prompts
