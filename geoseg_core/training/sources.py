"""Where samples come from: worlds made on the fly, or a dataset on the disk."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from geoseg_core.config import setting
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

# 224 x 168 are 16 x 12 patches of 14 pixels.
WORLDS = "worlds"


@dataclass(frozen=True)
class DataConfig:
    """What a geometry network learns from."""

    source: str = setting(WORLDS, "where samples come from", choices=(WORLDS,))
    any_first: bool = setting(True, "any view may come first, not only that of the ego camera")
    worlds: WorldsConfig = field(default_factory=WorldsConfig)


class Source(Protocol):
    """Batches of samples that depend on (step, seeds) alone.

    Attributes:
        on_device: samples are made on the device asked for, best in the training process.
    """

    on_device: bool

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """The samples with these seeds."""


class WorldSource:
    """Procedural scenes; the number of exo cameras and the order of the views change from step to step."""

    on_device = True

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self._worlds: dict[torch.device, Worlds] = {}

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """New scenes."""
        if device not in self._worlds:
            self._worlds[device] = Worlds(self.config.worlds, device)
        chance = random.Random(step)
        exo = chance.randint(self.config.worlds.exo_min, self.config.worlds.exo_max)
        batch = self._worlds[device].batch(seeds, exo)
        return in_order(batch, chance) if self.config.any_first else batch


def make_source(config: DataConfig, patch: int) -> Source:
    """The source that the settings name.

    Raises:
        BadConfig: images whose sides are no multiples of the patch.
    """
    worlds = config.worlds
    if worlds.width % patch or worlds.height % patch:
        sides = f"{worlds.width} x {worlds.height}"
        raise BadConfig(f"data.worlds: expected image sides that are multiples of the patch {patch}, got {sides}")
    return WorldSource(config)


def in_order(batch: Sample, chance: random.Random) -> Sample:
    """The batch with another view first, the same for all samples."""
    views = list(range(batch.images.shape[1]))
    chance.shuffle(views)
    moved: dict[str, Any] = {name: value[:, views] for name, value in batch.tensors().items()}
    return replace(batch, **moved, cameras=tuple(batch.cameras[view] for view in views) if batch.cameras else ())
