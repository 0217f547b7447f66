"""Masks of things in pairs of views, and the frozen features of the small network in which they are looked for.

What the recipes of the union head and of its memory have in common.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.cross_view.union_head.model import HeadInput, HeadOutput
from geoseg_core.cross_view.union_head.remembering import anchors_of
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.matching import carried, follow, levelled
from geoseg_core.geometry.tiny.model import PATCH, TinyOutput
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.frozen import frozen_encoder
from geoseg_core.training.losses.masks import dice_loss, focal_loss
from geoseg_core.training.single_image import ImagePairs
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig

Ways = list[tuple[int, int]]


@dataclass(frozen=True)
class MaskPairsConfig:
    """Which masks are carried, and what is lost where they are not found."""

    objects: int = setting(4, "objects of a pair of views, at most; chosen by chance in training", low=1)
    least_px: int = setting(24, "pixels of an object in the source view, at least", "px", 1)
    anchors: int = setting(5, "points that stand for a mask", low=1)
    shaken_px: float = setting(2.0, "points of the target are moved by so much, at most, while training", "px", 0.0)
    focal: float = setting(20.0, "share of the focal loss", low=0.0)
    dice: float = setting(1.0, "share of the dice loss", low=0.0)
    presence: float = setting(0.5, "share of the loss of whether the target shows the object, where the head says so",
                              low=0.0)  # fmt: skip
    absent: float = setting(4.0, "an object that the target does not show counts so much more there, since few are so",
                            low=0.0)  # fmt: skip


@dataclass(frozen=True, eq=False)
class MaskPairs:
    """R objects, each in a source and a target view of its scene.

    Attributes:
        scenes: (R,) rows of the batch.
        ids: (R,) of the objects.
        sources, targets: (R,) views.
        masks, truth: (R, H, W) bool, in the source and in the target.
    """

    scenes: Tensor
    ids: Tensor
    sources: Tensor
    targets: Tensor
    masks: Tensor
    truth: Tensor


class PairsTask(SourceTask):
    """Args of its constructor: the recipe's settings, those of its data and its pairs, the weights of the small
    network."""

    def __init__(self, config: TrainingConfig, data: DataConfig, pairs: MaskPairsConfig, encoder: str) -> None:
        super().__init__(config, data, PATCH)
        self.pairs = pairs
        self._encoder = frozen_encoder(encoder)

    @torch.no_grad()
    def encoded(self, images: Tensor, sets: list[list[int]]) -> TinyOutput:
        """What the network says of views (B, V, 3, H, W); those of a set are seen together, other ones are not."""
        order = [view for views in sets for view in views]
        apart = images[:, order].unflatten(1, (len(sets), -1)).flatten(0, 1)
        output: TinyOutput = self._encoder.to(images.device)(apart)
        back = [order.index(view) for view in range(len(order))]
        coarse, fine, fused = (
            each.unflatten(0, (len(images), len(sets))).flatten(1, 2)[:, back]
            for each in (output.coarse, output.fine, output.fused)
        )
        return replace(output, coarse=coarse, fine=fine, fused=fused)

    @torch.no_grad()
    def pairs_of(
        self, output: TinyOutput, chosen: MaskPairs, sets: list[list[int]], apart: ImagePairs | None = None
    ) -> HeadInput:
        """What a head sees of pairs of views, those of a set having been encoded together; `apart`: of pairs that no
        camera makes."""
        start_at, end_at = (chosen.scenes, chosen.sources), (chosen.scenes, chosen.targets)
        start = anchors_of(chosen.masks, self.pairs.anchors).to(output.coarse)
        coarse, fine = ((each[start_at], each[end_at]) for each in (output.coarse, output.fine))
        away = are_apart(sets, chosen)[:, None, None, None]
        coarse = torch.where(away, levelled(coarse[0]), coarse[0]), torch.where(away, levelled(coarse[1]), coarse[1])
        followed = apart.moved(start, chosen.scenes) if apart else follow(coarse, fine, output.nowhere, start)[0]
        maps = output.maps
        prior = carried(coarse, output.nowhere, chosen.masks[:, None])
        return HeadInput(maps[start_at], maps[end_at], chosen.masks, start, followed, prior=prior)

    def shaken(self, inputs: HeadInput) -> HeadInput:
        """With the points of the target a little beside their places."""
        moved = (torch.rand_like(inputs.target_points_px) * 2 - 1) * self.pairs.shaken_px
        return replace(inputs, target_points_px=inputs.target_points_px + moved)

    def losses(self, output: HeadOutput, truth: Tensor) -> dict[str, Tensor]:
        """Of what is said of R objects with masks (R, H, W) bool."""
        logits = output.logits.float()
        with torch.autocast(logits.device.type, enabled=False):
            parts = {
                "focal": self.pairs.focal * focal_loss(logits, truth),
                "dice": self.pairs.dice * dice_loss(logits, truth),
            }
            if output.presence is not None:
                shown = truth.flatten(1).any(dim=1)
                weight = torch.where(shown, 1.0, self.pairs.absent)
                there = F.binary_cross_entropy_with_logits(output.presence.float(), shown.float(), weight)
                parts["presence"] = self.pairs.presence * there
        return {"total": torch.stack(list(parts.values())).sum(), **parts}


def no_loss(model: nn.Module) -> Tensor:
    """0, from which every parameter gets a gradient of 0."""
    return torch.stack([each.sum() for each in model.parameters()]).sum() * 0


def views_of_moments(batch: Sample) -> list[list[int]]:
    """The views of each moment, the earliest first; all views where moments are not known. A camera has the same place
    in each, as it has live."""
    views = range(batch.images.shape[1])
    if batch.moments is None:
        return [list(views)]
    moments = batch.moments[0].tolist()
    sets = [[view for view in views if moments[view] == moment] for moment in sorted(set(moments))]
    order = [batch.cameras[view] for view in sets[0]] if batch.cameras else []
    return [sorted(some, key=lambda view: order.index(batch.cameras[view]) if order else view) for some in sets]


def are_apart(sets: list[list[int]], chosen: MaskPairs) -> Tensor:
    """(R,) bool, whether source and target are of different sets."""
    numbers = torch.empty(sum(map(len, sets)), dtype=torch.long)
    for number, views in enumerate(sets):
        numbers[views] = number
    return (numbers[chosen.sources.cpu()] != numbers[chosen.targets.cpu()]).to(chosen.scenes.device)


def by_chance(ways: Ways) -> tuple[int, int]:
    """One of them."""
    return ways[int(torch.randint(len(ways), ()))]


def joined(pairs: list[MaskPairs]) -> MaskPairs:
    """All of them."""
    return MaskPairs(*(torch.cat([getattr(each, one.name) for each in pairs]) for one in fields(MaskPairs)))


def chosen_pairs(
    batch: Sample, source: int, target: int, settings: MaskPairsConfig, shuffled: bool = False
) -> MaskPairs:
    """The largest things of each source view, or some by chance.

    Raises:
        BadInput: samples without instance ids.
    """
    if batch.instance_ids is None:
        raise BadInput(
            f"{batch.source}: expected samples with instance ids to carry masks, got none; take labelled data"
        )
    rows, chosen, masks, truths = [], [], [], []
    for row, (shown, there) in enumerate(
        zip(batch.instance_ids[:, source], batch.instance_ids[:, target], strict=True)
    ):
        ids, counts = shown.unique(return_counts=True)
        known = [
            (int(count), int(each))
            for each, count in zip(ids, counts, strict=True)
            if 0 < each <= batch.last_thing and count >= settings.least_px
        ]
        order = torch.randperm(len(known)).tolist() if shuffled else np.argsort([-count for count, _ in known])
        for _, each in [known[place] for place in order][: settings.objects]:
            rows.append(row)
            chosen.append(each)
            masks.append(shown == each)
            truths.append(there == each)
    size = batch.instance_ids.shape[-2:]
    empty = torch.zeros(0, *size, dtype=torch.bool, device=batch.images.device)
    scenes = torch.tensor(rows, dtype=torch.long, device=batch.images.device)
    return MaskPairs(
        scenes,
        torch.tensor(chosen, dtype=torch.long, device=batch.images.device),
        torch.full_like(scenes, source),
        torch.full_like(scenes, target),
        torch.stack(masks) if masks else empty,
        torch.stack(truths) if truths else empty,
    )


def overlap(found: Tensor, truth: Tensor) -> Tensor:
    """(R,) intersection over union of masks (R, H, W) bool; 1 where both are empty."""
    both, either = ((pair).flatten(1).sum(dim=1) for pair in (found & truth, found | truth))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
