"""Recipe of the union head's memory on the features of the small network: objects found again by how they looked.

Of each clip one moment is the last: objects are remembered by their true masks in the moments before it, the features
of a view of that moment look at these memories, and the head finds the masks there, from the same camera's view of the
moment before or from another view of that moment. The network that gives the features and the head stay as they are.
"""

from dataclasses import dataclass, field, replace
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.cross_view.config import HEADS
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead
from geoseg_core.cross_view.union_head.remembering import check_memory
from geoseg_core.cross_view.union_head.steps import training_output
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.model import FINE, TinyOutput
from geoseg_core.memory.config import BankConfig, MemoryConfig
from geoseg_core.memory.networks import TemporalMemory
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.training.config import OptimiserConfig, TrainingConfig
from geoseg_core.training.mask_pairs import (
    MaskPairs,
    MaskPairsConfig,
    PairsTask,
    Ways,
    by_chance,
    chosen_pairs,
    no_loss,
    overlap,
    views_of_moments,
)
from geoseg_core.training.mask_pictures import mask_rows
from geoseg_core.training.sources import DataConfig
from geoseg_core.training.taught_memories import TRUE, Past, TaughtConfig, recalled
from geoseg_core.weights.chosen import choose_weights, config_metadata, stored_config


def tiny_memory() -> MemoryConfig:
    """The memory for the small network's maps and `tiny_head`: cells of 16 px, some 1.2 M parameters."""
    return MemoryConfig(
        map_width=112,
        token_width=96,
        map_stride=FINE,
        stride=4,
        width=128,
        memory_width=32,
        mask_strides=(4, 4),
        fuser_blocks=1,
        layers=2,
        hidden=256,
    )


@dataclass(frozen=True)
class ClipPairsConfig(MaskPairsConfig):
    """The same, and where the masks come from."""

    time_share: float = setting(0.5, "chance that a mask comes from the same camera's view of the moment before, not "
                                "from another view of the same moment", "", 0.0, 1.0)  # fmt: skip
    hidden_share: float = setting(0.7, "an object that shows less than this part of the pixels that the camera saw of "
                                  "it at most counts as partly hidden in the figures", "", 0.0, 1.0)  # fmt: skip


@dataclass(frozen=True)
class UnionMemoryRecipe(TrainingConfig):
    """Settings of the recipe."""

    encoder: str = setting("tiny", "weights of the small network: a name of `geoseg weights list`, or a file")
    head: str = setting(HEADS["tiny"], "weights of the union head: a name of `geoseg weights list`, or a file")
    model: MemoryConfig = field(default_factory=tiny_memory)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(
            easiest=0.0, worlds=WorldsConfig(width=192, height=144, exo_max=1, moments=4)
        )
    )
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=5e-4, weight_decay=0.02, ema_decay=0.998)
    )
    pairs: ClipPairsConfig = field(default_factory=ClipPairsConfig)
    taught: TaughtConfig = field(default_factory=TaughtConfig)
    bank: BankConfig = field(default_factory=BankConfig)


@dataclass(frozen=True, eq=False)
class Looks:
    """Objects to be found: the pairs, what the head sees of them, and the past."""

    chosen: MaskPairs
    inputs: HeadInput
    past: Past
    camera: str


class UnionMemoryTask(PairsTask):
    """Trains a TemporalMemory on clips with instance ids."""

    config: UnionMemoryRecipe

    def __init__(self, config: UnionMemoryRecipe) -> None:
        super().__init__(config, config.data, config.pairs, config.encoder)
        path = choose_weights(config.head).path
        head = UnionHead.from_checkpoint(path, stored_config(path, UnionHeadConfig()))
        self._head = head.float().requires_grad_(False)
        check_memory(self._head.config, config.model)

    def model(self) -> TemporalMemory:
        """A new model."""
        return TemporalMemory(self.config.model)

    def stored(self) -> dict[str, str]:
        """The sizes of the networks."""
        return config_metadata(self.config.model)

    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Focal and dice loss of the masks that are found in a view of one of the moments but the first."""
        sets = clip_of(batch)
        last = int(torch.randint(1, len(sets), ()))
        between, over_time = ways_to(batch, sets, last)
        ways = over_time if not between or torch.rand(()) < self.config.pairs.time_share else between
        chosen = chosen_pairs(batch, *by_chance(ways), self.pairs, shuffled=True)
        if not len(chosen.scenes):
            return {"total": no_loss(model)}
        looks = self._looks(batch, self.encoded(batch.images, sets), chosen, sets[:last])
        inputs = self._reminded(model, replace(looks, inputs=self.shaken(looks.inputs)), self.config.taught)
        losses = self.losses(training_output(self._head, inputs, refinements=self._refinements), chosen.truth)
        # Where all memories are lost, nothing is learned.
        return losses | {"total": losses["total"] + no_loss(model)}

    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Mean overlap of masks in the last moment of things that both views show, with the memory and by the head
        alone; also of those that are partly hidden, and how often nothing was found where nothing is."""
        sets = clip_of(batch)
        between, over_time = ways_to(batch, sets, len(sets) - 1)
        output = self.encoded(batch.images, sets)
        figures = {}
        for name, ways in (("views", between), ("time", over_time)):
            if not ways or not len((chosen := chosen_pairs(batch, *ways[0], self.pairs)).scenes):
                continue
            looks = self._looks(batch, output, chosen, sets[:-1])
            shown = chosen.truth.flatten(1).any(dim=1)
            kinds = {"iou": shown, "iou_hidden": shown & self._hidden(looks), "nothing": ~shown}
            for how, inputs in (("", self._reminded(model, looks)), ("_alone", looks.inputs)):
                overlaps = overlap(self._head(inputs).masks, chosen.truth)
                for kind, rows in kinds.items():
                    if rows.any():
                        figures[f"{kind}{how}_{name}"] = float(overlaps[rows].mean())
        return figures

    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """Of each object: its mask in the source, the truth in the target, the mask that was found there."""
        sets = clip_of(batch)
        chosen = chosen_pairs(batch, *ways_to(batch, sets, len(sets) - 1)[1][0], self.pairs)
        found = torch.zeros_like(chosen.truth)
        if len(chosen.scenes):
            looks = self._looks(batch, self.encoded(batch.images, sets), chosen, sets[:-1])
            found = self._head(self._reminded(model, looks)).masks
        ways = torch.stack((chosen.sources, chosen.targets), dim=1)
        return mask_rows(batch.images[chosen.scenes[:, None], ways], (chosen.masks, chosen.truth, found))

    @property
    def _refinements(self) -> int:
        return max(self._head.config.refinements, 1)

    def _looks(self, batch: Sample, output: TinyOutput, chosen: MaskPairs, past: list[list[int]]) -> Looks:
        assert batch.instance_ids is not None
        self._head.to(batch.images.device)
        masks = batch.instance_ids[chosen.scenes] == chosen.ids[:, None, None, None]
        before = Past(output.maps, chosen.scenes, masks, batch.cameras, past)
        pairs = self.pairs_of(output, chosen, clip_of(batch))
        return Looks(chosen, pairs, before, batch.cameras[int(chosen.targets[0])])

    def _reminded(self, model: nn.Module, looks: Looks, taught: TaughtConfig = TRUE) -> HeadInput:
        """The same, the target's features having looked at the memories."""
        assert isinstance(model, TemporalMemory)
        given = recalled(model, self._head, looks.past, looks.camera, self.pairs.anchors, taught, self.config.bank)
        return replace(looks.inputs, target_maps=model.attention(looks.inputs.target_maps, given))

    def _hidden(self, looks: Looks) -> Tensor:
        """(R,) bool: whether the target shows clearly less of an object than its camera saw before."""
        before = [view for views in looks.past.moments for view in views if looks.past.cameras[view] == looks.camera]
        most = looks.past.masks[:, before].flatten(2).sum(dim=2).amax(dim=1)
        return looks.chosen.truth.flatten(1).sum(dim=1) < self.config.pairs.hidden_share * most


def clip_of(batch: Sample) -> list[list[int]]:
    """The views of each moment.

    Raises:
        BadInput: fewer than two moments, or cameras without names.
    """
    sets = views_of_moments(batch)
    if len(sets) < 2 or not batch.cameras:
        raise BadInput(
            f"{batch.source}: expected clips of at least two moments with named cameras, got {len(sets)} moments of "
            f"{len(batch.cameras)} cameras; set data.worlds.moments, or take data over time"
        )
    return sets


def ways_to(batch: Sample, sets: list[list[int]], last: int) -> tuple[Ways, Ways]:
    """Sources and targets in a moment: between its views, and from the same camera's view of the moment before."""
    before = product(sets[last - 1], sets[last])
    same = [(source, target) for source, target in before if batch.cameras[source] == batch.cameras[target]]
    return list(permutations(sets[last], 2)), same
