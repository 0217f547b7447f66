"""Recipe of the union head on the features of the small network: masks of things carried from view to view.

Pairs are two views of a scene, one camera's views of two moments (each seen in the set of its moment), or one image and
a changed copy of it, which needs no labels but masks. The network that gives the features stays as it is.
"""

from dataclasses import dataclass, field, fields, replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead, without_points
from geoseg_core.cross_view.union_head.steps import training_logits
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.matching import carried, follow, levelled
from geoseg_core.geometry.tiny.model import FINE, PATCH, TinyGeometry, TinyOutput
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.losses.masks import dice_loss, focal_loss
from geoseg_core.training.mask_pictures import mask_rows
from geoseg_core.training.single_image import ImagePairs, ImagePairsConfig, image_pairs
from geoseg_core.training.source_task import SourceTask
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import choose_weights, config_metadata, stored_config
from geoseg_core.weights.loading import load_checkpoint


def tiny_head() -> UnionHeadConfig:
    """The head for the small network's maps, 64 + 48 channels at 1/4 of its input's size. It works at 1/8, where two
    cores decode a pair of views in some 10 ms."""
    return UnionHeadConfig(
        width=96,
        input_width=112,
        input_shrink=2,
        heads=4,
        map_stride=2 * FINE,
        fusion_stride=2,
        fusion_width=192,
        fusion_inner=96,
        fusion_hidden=384,
        token_inner=48,
        token_hidden=192,
    )


KINDS = ("views", "image")
Ways = list[tuple[int, int]]


@dataclass(frozen=True)
class HeadPairsConfig:
    """Which masks are carried, and what is lost where they are not found."""

    kind: str = setting("views", "what makes a pair: two views of a scene, or an image and a changed copy of it",
                        choices=KINDS)  # fmt: skip
    objects: int = setting(4, "objects of a pair of views, at most; chosen by chance in training", low=1)
    over_time: bool = setting(False, "whether views of different moments are of different sets, and masks are carried "
                              "from one camera's view to its next, too")  # fmt: skip
    least_px: int = setting(24, "pixels of an object in the source view, at least", "px", 1)
    anchors: int = setting(5, "points that stand for a mask", low=1)
    guided: bool = setting(True, "whether those points, and where they are in the target, guide the head")
    shaken_px: float = setting(2.0, "points of the target are moved by so much, at most, while training", "px", 0.0)
    prior: bool = setting(True, "whether the first call sees the mask that the descriptors alone match")
    focal: float = setting(20.0, "share of the focal loss", low=0.0)
    dice: float = setting(1.0, "share of the dice loss", low=0.0)
    image: ImagePairsConfig = field(default_factory=ImagePairsConfig)


@dataclass(frozen=True)
class UnionHeadRecipe(TrainingConfig):
    """Settings of the recipe."""

    encoder: str = setting("tiny", "weights of the small network: a name of `geoseg weights list`, or a file")
    model: UnionHeadConfig = field(default_factory=tiny_head)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(easiest=0.0, worlds=WorldsConfig(width=192, height=144, exo_max=1))
    )
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=5e-4, weight_decay=0.02, ema_decay=0.998)
    )
    pairs: HeadPairsConfig = field(default_factory=HeadPairsConfig)


@dataclass(frozen=True, eq=False)
class MaskPairs:
    """R objects, each in a source and a target view of its scene.

    Attributes:
        scenes: (R,) rows of the batch.
        sources, targets: (R,) views.
        masks, truth: (R, H, W) bool, in the source and in the target.
    """

    scenes: Tensor
    sources: Tensor
    targets: Tensor
    masks: Tensor
    truth: Tensor


class UnionHeadTask(SourceTask):
    """Trains a UnionHead on samples with instance ids."""

    config: UnionHeadRecipe

    def __init__(self, config: UnionHeadRecipe) -> None:
        super().__init__(config, config.data, PATCH)
        path = choose_weights(config.encoder).path
        self._encoder = TinyGeometry(stored_config(path, TinyConfig())).eval().requires_grad_(False)
        load_checkpoint(self._encoder, path)

    def model(self) -> UnionHead:
        """A new model."""
        return UnionHead(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the head."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Focal and dice loss of the masks that are found in one of the views."""
        settings = self.config.pairs
        apart: ImagePairs | None = None
        if settings.kind == "image":
            # Both families in turn.
            made = image_pairs(batch, adaptive=step % 2 == 0, settings=settings.image)
            batch, apart = made.sample, made if step % 2 else None
        ways = [(0, 1)] if apart else [by_chance(some) for some in self._ways(batch) if some]
        chosen = joined([chosen_pairs(batch, *way, settings, shuffled=True) for way in ways])
        if not len(chosen.scenes):
            # Every parameter gets a gradient of 0.
            nothing = torch.stack([each.sum() for each in model.parameters()]).sum() * 0
            return {"total": nothing}
        inputs = self.head_input(batch, chosen, apart)
        shaken = (torch.rand_like(inputs.target_points_px) * 2 - 1) * settings.shaken_px
        inputs = replace(inputs, target_points_px=inputs.target_points_px + shaken)
        assert isinstance(model, UnionHead)
        logits = training_logits(model, inputs, refinements=max(self.config.model.refinements, 1))
        with torch.autocast(batch.images.device.type, enabled=False):
            parts = {
                "focal": settings.focal * focal_loss(logits.float(), chosen.truth),
                "dice": settings.dice * dice_loss(logits.float(), chosen.truth),
            }
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Mean overlap of masks of things that both views show, and that of the prior alone; in both directions, and
        over time where there is any."""
        assert isinstance(model, UnionHead)
        batch = self._looked_at(batch)
        figures = {}
        for name, source, target in self._directions(batch):
            chosen = chosen_pairs(batch, source, target, self.config.pairs)
            seen = chosen.truth.flatten(1).any(dim=1)
            if not seen.any():
                continue
            inputs = self.head_input(batch, chosen)
            overlaps = overlap(model(inputs).logits > 0, chosen.truth)
            figures[f"iou_{name}"] = float(overlaps[seen].mean())
            if (~seen).any():
                figures[f"nothing_{name}"] = float((overlaps[~seen] == 1).float().mean())
            if inputs.prior is not None:
                figures[f"iou_prior_{name}"] = float(overlap(inputs.prior[:, 0] > 0, chosen.truth)[seen].mean())
        return figures

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each object: its mask in the source, the truth in the target, the mask that was found there."""
        batch = self._looked_at(batch)
        chosen = chosen_pairs(batch, 0, 1, self.config.pairs)
        found = torch.zeros_like(chosen.truth)
        if len(chosen.scenes):
            found = model(self.head_input(batch, chosen)).logits > 0
        return mask_rows(batch.images[chosen.scenes][:, :2], (chosen.masks, chosen.truth, found))

    def _looked_at(self, batch: Sample) -> Sample:
        """Held-out views; of single images the same changed copies each time."""
        if self.config.pairs.kind == "views":
            return batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return image_pairs(batch, True, self.config.pairs.image).sample

    def _directions(self, batch: Sample) -> tuple[tuple[str, int, int], ...]:
        if self.config.pairs.kind == "image":
            return (("image", 0, 1),)
        ego = batch.cameras.index("ego") if "ego" in batch.cameras else 0
        between, over_time = self._ways(batch)
        found = [("ego_exo", *way) for way in between if way[0] == ego][:1]
        found += [("exo_ego", *way) for way in between if way[1] == ego][:1]
        return (*found, *(("time", *way) for way in over_time[:1]))

    def _sets(self, batch: Sample) -> list[list[int]]:
        """The views that are seen together: those of a moment, or all."""
        views = range(batch.images.shape[1])
        if not self.config.pairs.over_time or batch.moments is None:
            return [list(views)]
        moments = batch.moments[0].tolist()
        sets = [[view for view in views if moments[view] == moment] for moment in sorted(set(moments))]
        order = [batch.cameras[view] for view in sets[0]] if batch.cameras else []
        # A camera has the same place in each set, as it has live.
        return [sorted(some, key=lambda view: order.index(batch.cameras[view]) if order else view) for some in sets]

    def _ways(self, batch: Sample) -> tuple[Ways, Ways]:
        """Sources and targets: between views of a set, and from a camera's view in one set to that in another."""
        sets = self._sets(batch)
        between = [way for views in sets for way in permutations(views, 2)]
        together = {view: number for number, views in enumerate(sets) for view in views}
        apart = [way for way in permutations(together, 2) if together[way[0]] != together[way[1]]]
        return between, [way for way in apart if batch.cameras and batch.cameras[way[0]] == batch.cameras[way[1]]]

    def _are_apart(self, batch: Sample, chosen: MaskPairs) -> Tensor:
        """(R,) bool, whether source and target were not seen together."""
        numbers = torch.empty(batch.images.shape[1], dtype=torch.long)
        for number, views in enumerate(self._sets(batch)):
            numbers[views] = number
        return (numbers[chosen.sources.cpu()] != numbers[chosen.targets.cpu()]).to(chosen.scenes.device)

    @torch.no_grad()
    def head_input(self, batch: Sample, chosen: MaskPairs, apart: ImagePairs | None = None) -> HeadInput:
        """What the head sees of pairs; of pairs that no camera makes (`apart`) each view is encoded by itself."""
        output = self._encoded(batch.images, self._sets(batch) if apart is None else [[0], [1]])
        count = self.config.pairs.anchors
        start_at, end_at = (chosen.scenes, chosen.sources), (chosen.scenes, chosen.targets)
        points = np.stack([mask_anchors(mask, count).points_px for mask in chosen.masks.cpu().numpy()])
        start = torch.from_numpy(points).to(output.coarse)
        coarse, fine = ((each[start_at], each[end_at]) for each in (output.coarse, output.fine))
        away = self._are_apart(batch, chosen)[:, None, None, None]
        coarse = torch.where(away, levelled(coarse[0]), coarse[0]), torch.where(away, levelled(coarse[1]), coarse[1])
        followed = apart.moved(start, chosen.scenes) if apart else follow(coarse, fine, output.nowhere, start)[0]
        maps = output.maps
        prior = None
        if self.config.pairs.prior:
            prior = carried(coarse, output.nowhere, chosen.masks[:, None])
        inputs = HeadInput(maps[start_at], maps[end_at], chosen.masks, start, followed, prior=prior)
        return inputs if self.config.pairs.guided else without_points(inputs)

    def _encoded(self, images: Tensor, sets: list[list[int]]) -> TinyOutput:
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


def by_chance(ways: Ways) -> tuple[int, int]:
    """One of them."""
    return ways[int(torch.randint(len(ways), ()))]


def joined(pairs: list[MaskPairs]) -> MaskPairs:
    """All of them."""
    return MaskPairs(*(torch.cat([getattr(each, one.name) for each in pairs]) for one in fields(MaskPairs)))


def chosen_pairs(
    batch: Sample, source: int, target: int, settings: HeadPairsConfig, shuffled: bool = False
) -> MaskPairs:
    """The largest objects of each source view, or some by chance. What has no pose where others do, such as the arm of
    the worlds, is none.

    Raises:
        BadInput: samples without instance ids.
    """
    if batch.instance_ids is None:
        raise BadInput(
            f"{batch.source}: expected samples with instance ids to carry masks, got none; take labelled data"
        )
    last = torch.iinfo(torch.long).max if batch.object_to_world is None else batch.object_to_world.shape[2]
    rows, masks, truths = [], [], []
    for row, (shown, there) in enumerate(
        zip(batch.instance_ids[:, source], batch.instance_ids[:, target], strict=True)
    ):
        ids, counts = shown.unique(return_counts=True)
        known = [
            (int(count), int(each))
            for each, count in zip(ids, counts, strict=True)
            if 0 < each <= last and count >= settings.least_px
        ]
        order = torch.randperm(len(known)).tolist() if shuffled else np.argsort([-count for count, _ in known])
        for _, each in [known[place] for place in order][: settings.objects]:
            rows.append(row)
            masks.append(shown == each)
            truths.append(there == each)
    size = batch.instance_ids.shape[-2:]
    empty = torch.zeros(0, *size, dtype=torch.bool, device=batch.images.device)
    scenes = torch.tensor(rows, dtype=torch.long, device=batch.images.device)
    return MaskPairs(
        scenes,
        torch.full_like(scenes, source),
        torch.full_like(scenes, target),
        torch.stack(masks) if masks else empty,
        torch.stack(truths) if truths else empty,
    )


def overlap(found: Tensor, truth: Tensor) -> Tensor:
    """(R,) intersection over union of masks (R, H, W) bool; 1 where both are empty."""
    both, either = ((pair).flatten(1).sum(dim=1) for pair in (found & truth, found | truth))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
