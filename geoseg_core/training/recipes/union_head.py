"""Recipe of the union head on the features of the small network: masks of things carried from view to view.

Pairs are two views of a scene, one camera's views of two moments (each seen in the set of its moment), or one image and
a changed copy of it, which needs no labels but masks. The network that gives the features stays as it is.
"""

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead
from geoseg_core.cross_view.union_head.steps import training_output
from geoseg_core.datasets.sample import Sample
from geoseg_core.geometry.tiny.model import FINE
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.mask_pairs import (
    MaskPairs,
    MaskPairsConfig,
    PairsTask,
    Ways,
    by_chance,
    chosen_pairs,
    joined,
    no_loss,
    overlap,
    views_of_moments,
)
from geoseg_core.training.mask_pictures import mask_rows
from geoseg_core.training.single_image import ImagePairs, ImagePairsConfig, image_pairs
from geoseg_core.training.sources import DataConfig
from geoseg_core.weights.chosen import config_metadata


def tiny_head() -> UnionHeadConfig:
    """The head for the small network's maps, 64 + 48 channels at 1/4 of its input's size. It works at 1/8, where two
    cores decode a pair of views in some 10 ms. It learns to refine its masks, but is used without: after the few hours
    that it was trained, that is quicker and no worse."""
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
        refinements=0,
        detail=True,
        presence=True,
    )


KINDS = ("views", "image")


@dataclass(frozen=True)
class HeadPairsConfig(MaskPairsConfig):
    """The same, and what makes a pair."""

    kind: str = setting("views", "what makes a pair: two views of a scene, or an image and a changed copy of it",
                        choices=KINDS)  # fmt: skip
    over_time: bool = setting(False, "whether views of different moments are of different sets, and masks are carried "
                              "from one camera's view to its next, too")  # fmt: skip
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


class UnionHeadTask(PairsTask):
    """Trains a UnionHead on samples with instance ids."""

    config: UnionHeadRecipe

    def __init__(self, config: UnionHeadRecipe) -> None:
        super().__init__(config, config.data, config.pairs, config.encoder)

    def model(self) -> UnionHead:
        """A new model."""
        return UnionHead(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the head."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Focal and dice loss of the masks that are found in one of the views, and that of whether it shows them."""
        settings = self.config.pairs
        apart: ImagePairs | None = None
        if settings.kind == "image":
            # Both families in turn.
            made = image_pairs(batch, adaptive=step % 2 == 0, settings=settings.image)
            batch, apart = made.sample, made if step % 2 else None
        ways = [(0, 1)] if apart else [by_chance(some) for some in self._ways(batch) if some]
        chosen = joined([chosen_pairs(batch, *way, settings, shuffled=True) for way in ways])
        if not len(chosen.scenes):
            return {"total": no_loss(model)}
        inputs = self.shaken(self.head_input(batch, chosen, apart))
        assert isinstance(model, UnionHead)
        output = training_output(model, inputs, refinements=max(self.config.model.refinements, 1))
        return self.losses(output, chosen.truth)

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
            overlaps = overlap(model(inputs).masks, chosen.truth)
            figures[f"iou_{name}"] = float(overlaps[seen].mean())
            if (~seen).any():
                figures[f"nothing_{name}"] = float((overlaps[~seen] == 1).float().mean())
            assert inputs.prior is not None
            figures[f"iou_prior_{name}"] = float(overlap(inputs.prior[:, 0] > 0, chosen.truth)[seen].mean())
        return figures

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each object: its mask in the source, the truth in the target, the mask that was found there."""
        batch = self._looked_at(batch)
        chosen = chosen_pairs(batch, 0, 1, self.config.pairs)
        found = torch.zeros_like(chosen.truth)
        if len(chosen.scenes):
            found = model(self.head_input(batch, chosen)).masks
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
        return views_of_moments(batch) if self.config.pairs.over_time else [list(range(batch.images.shape[1]))]

    def _ways(self, batch: Sample) -> tuple[Ways, Ways]:
        """Sources and targets: between views of a set, and from a camera's view in one set to that in another."""
        sets = self._sets(batch)
        between = [way for views in sets for way in permutations(views, 2)]
        together = {view: number for number, views in enumerate(sets) for view in views}
        apart = [way for way in permutations(together, 2) if together[way[0]] != together[way[1]]]
        return between, [way for way in apart if batch.cameras and batch.cameras[way[0]] == batch.cameras[way[1]]]

    def head_input(self, batch: Sample, chosen: MaskPairs, apart: ImagePairs | None = None) -> HeadInput:
        """What the head sees of pairs; of pairs that no camera makes (`apart`) each view is encoded by itself."""
        sets = self._sets(batch) if apart is None else [[0], [1]]
        return self.pairs_of(self.encoded(batch.images, sets), chosen, sets, apart)
