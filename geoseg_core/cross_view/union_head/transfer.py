"""Masks of one view in all others by the union head: RGB alone, no calibration, no depth.

    transfer = UnionHeadTransfer(head)
    masks = transfer(scene, source=0, masks=marked).masks  # per view (K, H, W)

The encoder sees all views in one sequence, and the masks of all objects in all views are decoded in one batch.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.calibration import Calibration
from geoseg_core.cross_view.transferred import TransferredMasks, checked_masks, no_masks, state_of
from geoseg_core.cross_view.union_head.config import UnionTransferConfig
from geoseg_core.cross_view.union_head.looks import (
    Coarse,
    MatchedScene,
    Pair,
    coarse_points,
    encoded_pairs,
    whole_pairs,
    zoomed_pairs,
)
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead
from geoseg_core.cross_view.union_head.windows import UNSEEN
from geoseg_core.errors import BadInput
from geoseg_core.geometry.network_input import Placement
from geoseg_core.results import Visibility

# Pairs of all objects, in turn, and the cameras of their targets to the same pairs with other features of the targets.
Remind = Callable[[list[Pair], list[str]], list[Pair]]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the head says of a pair.

    Attributes:
        logits: (H, W) at the pixels of the target's image.
        seen: (h, w) the same at the pixels of what the network sees.
        presence: chance that the target shows the object, 1 from a head that does not say; where it is not more
            than a half, all logits are UNSEEN.
    """

    logits: Tensor
    seen: Tensor
    presence: float = 1.0

    @property
    def expected(self) -> float:
        """The overlap with the truth that the head expects of the mask."""
        return self.presence * float(expected_overlap(self.seen[None])[0])


class UnionHeadTransfer:
    """Masks of a source view to masks in all views of an encoded scene."""

    def __init__(
        self,
        head: UnionHead,
        config: UnionTransferConfig = UnionTransferConfig(),  # noqa: B008 (frozen)
        calibration: Calibration = Calibration(),  # noqa: B008 (frozen)
    ) -> None:
        self.head, self.config, self.calibration = head.eval(), config, calibration

    @torch.inference_mode()
    def __call__(
        self, scene: MatchedScene, source: int, masks: np.ndarray, remind: Remind | None = None
    ) -> TransferredMasks:
        """Carry masks (K, H, W) of view `source` into all views.

        Args:
            remind: what happens to the targets' features before they are decoded; nothing if None.

        Raises:
            BadInput: a set of one view, masks of another size than the view, or a mask that is empty, covers the whole
                view, or lies where the network does not look.
        """
        masks = checked_masks(scene.frames, source, masks)
        marked = [network_mask(mask, scene.placements[source], row) for row, mask in enumerate(masks)]
        if not marked:
            return no_masks(scene.frames)
        coarse = coarse_points(scene, source, marked, self.config.views, self.config.look == "whole")
        pairs = self._pairs(scene, source, masks, marked, coarse)
        if remind is not None:
            pairs = remind(pairs, [scene.frames.cameras[target] for target in coarse.targets])
        found = gathered(scene, source, masks, coarse, self.decode(pairs))
        scores = self.calibration(found.scores)
        scores[source] = found.scores[source]
        return replace(found, scores=scores)

    def score(self, decoded: Decoded) -> float:
        """The overlap with the truth that is to be expected of a mask."""
        return float(self.calibration(np.array(decoded.expected)))

    def _pairs(
        self, scene: MatchedScene, source: int, masks: np.ndarray, marked: list[np.ndarray], coarse: Coarse
    ) -> list[Pair]:
        if self.config.look == "encode":
            return encoded_pairs(scene, source, masks, coarse, self.config.views)
        look = whole_pairs if self.config.look == "whole" else zoomed_pairs
        return look(scene, source, marked, coarse, self.config.views)

    def decode(self, pairs: Sequence[Pair]) -> list[Decoded]:
        """What the head says of each pair."""
        device = self.head.mask_decoder.mask_tokens.weight.device
        found = []
        for start in range(0, len(pairs), self.config.pairs_at_once):
            some = pairs[start : start + self.config.pairs_at_once]
            inputs = batch_of(some, device)
            with self._types(device):
                output = self.head(inputs)
            logits, presence = output.logits.float(), output.presence
            chances = logits.new_ones(len(some)) if presence is None else presence.float().sigmoid()
            logits = logits.where((chances > 0.5)[:, None, None], UNSEEN)
            for pair, given, chance in zip(some, logits, chances.tolist(), strict=True):
                seen = without_small_parts(given, self.config.least_part)
                found.append(Decoded(pair.back(seen[None])[0], seen, chance))
        return found

    def _types(self, device: torch.device) -> AbstractContextManager:
        autocast = self.config.precision == "autocast"
        return torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()


def without_small_parts(logits: Tensor, least: float) -> Tensor:
    """Logits (h, w) that are UNSEEN in the parts of the mask that have less than `least` of its largest part's pixels;
    pixels that touch at a corner are of one part."""
    if not least:
        return logits
    count, parts, facts, _ = cv2.connectedComponentsWithStats((logits > 0).cpu().numpy().astype(np.uint8))
    sizes = facts[1:, cv2.CC_STAT_AREA]
    if count <= 2 or (sizes >= least * sizes.max()).all():
        return logits
    small = np.concatenate(([False], sizes < least * sizes.max()))
    return logits.masked_fill(torch.from_numpy(small[parts]).to(logits.device), UNSEEN)


def network_mask(mask: np.ndarray, place: Placement, row: int) -> np.ndarray:
    """A mask (H, W) bool of the image in the network's input.

    Raises:
        BadInput: nothing of it is there.
    """
    seen = place.map_to_network(mask.astype(np.uint8)) > 0
    if not seen.any():
        raise BadInput(
            f"mask {row}: expected an object of which the network sees a pixel, got {int(mask.sum())} pixels of which "
            "it sees none; mark a larger object, or one nearer to the middle of the image"
        )
    return seen


def batch_of(pairs: Sequence[Pair], device: torch.device) -> HeadInput:
    """Pairs as one input of the head; what pairs of the same views share is there once."""
    shared = all(pair.maps is pairs[0].maps for pair in pairs)
    maps = torch.stack([pair.maps for pair in (pairs[:1] if shared else pairs)]).to(device)
    masks = torch.from_numpy(np.stack([pair.mask for pair in pairs])).to(device, torch.bool)
    points = (
        np.stack([pair.source_points_px for pair in pairs]),
        np.stack([pair.target_points_px for pair in pairs]),
    )
    source, target = (torch.from_numpy(each).to(device, torch.float32) for each in points)
    priors = [pair.prior for pair in pairs if pair.prior is not None]
    prior = torch.stack(priors)[:, None].to(device, torch.float32) if priors else None
    return HeadInput(maps[:, 0], maps[:, 1], masks, source, target, prior=prior)


def gathered(
    scene: MatchedScene, source: int, masks: np.ndarray, coarse: Coarse, decoded: list[Decoded]
) -> TransferredMasks:
    """What the head says of all pairs, objects in turn, as masks of all views."""
    found, states, scores = [], [], []
    targets = len(coarse.targets)
    for index, view in enumerate(scene.frames.views):
        if index == source:
            found.append(masks)
            states.append([Visibility.VISIBLE] * len(masks))
            scores.append([1.0] * len(masks))
            continue
        row = coarse.targets.index(index)
        there = torch.stack([each.logits > 0 for each in decoded[row::targets]]).cpu().numpy()  # (K, H, W)
        found.append(there)
        states.append([state_of(mask, coarse.points_px[k][index], view.size) for k, mask in enumerate(there)])
        scores.append([each.expected for each in decoded[row::targets]])
    return TransferredMasks(tuple(found), np.array(states), np.array(scores))


def expected_overlap(logits: Tensor) -> Tensor:
    """(N,) what the chances of logits (N, H, W) let expect of intersection over union with the masks logits > 0."""
    chance, mask = logits.sigmoid(), logits > 0
    both = torch.where(mask, chance, 0.0).sum(dim=(1, 2))
    either = mask.sum(dim=(1, 2)) + torch.where(mask, 0.0, chance).sum(dim=(1, 2))
    return torch.where(mask.any(dim=(1, 2)), both / either.clamp(min=1e-6), 0.0)
