"""Where samples come from: worlds made on the fly, or a dataset on the disk."""

import copy
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from geoseg_core.config import setting
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample, collate
from geoseg_core.datasets.scene_samples import SceneSamples
from geoseg_core.errors import BadConfig
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds
from geoseg_core.training.kept import KeptSource
from geoseg_core.training.task import HELD_OUT_SEEDS

WORLDS = "worlds"
# Of the scenes of a dataset every so many-th is held out.
HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class DataConfig:
    """What a network learns from."""

    source: str = setting(
        WORLDS,
        "where samples come from",
        choices=(WORLDS, "bag", "egoexo", "photographs", "sa1b", "scannet", "scannetpp"),
    )
    path: str = setting("", "the dataset's folder, or the bag")
    labels: str = setting("", "scannetpp: the folder of the object ids")
    easiest: float = setting(
        1.0, "difficulty of the easiest worlds; each batch draws its own up to worlds.difficulty", "", 0.0, 1.0
    )
    any_first: bool = setting(True, "views in any order, not the ego camera or the earliest first")
    kept: str = setting("", "folder in which worlds are kept to be seen again; empty = new ones in each step")
    kept_samples: int = setting(20_000, "so many worlds are kept", low=1)
    worlds: WorldsConfig = field(default_factory=WorldsConfig)
    reader: ReaderConfig = field(default_factory=ReaderConfig)


class Source(Protocol):
    """Batches of samples that depend on (step, seeds) alone; seeds below HELD_OUT_SEEDS are for evaluation.

    Attributes:
        on_device: samples are made on the device asked for, best in the training process.
    """

    on_device: bool

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """The samples with these seeds."""


class WorldSource:
    """Procedural scenes; the number of exo cameras, the order of the views and, in training, the difficulty change from
    step to step."""

    on_device = True

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """New scenes."""
        worlds, chance = self.config.worlds, random.Random(step)
        exo = chance.randint(worlds.exo_min, worlds.exo_max)
        if seeds[0] >= HELD_OUT_SEEDS and self.config.easiest < worlds.difficulty:
            worlds = replace(worlds, difficulty=chance.uniform(self.config.easiest, worlds.difficulty))
        batch = Worlds(worlds, device).batch(seeds, exo)
        return in_order(batch, chance) if self.config.any_first else batch


class DatasetSource:
    """Samples of scenes on the disk; one scene in ten is held out, where there are two at least."""

    on_device = False

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self._opened: dict[int, tuple[SceneSamples, SceneSamples]] = {}
        self._parts()

    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """One scene, and of it one choice of views, for each seed."""
        trained, held_out = self._parts()
        samples = []
        for seed in seeds:
            part = held_out if seed < HELD_OUT_SEEDS else trained
            # The reader's samples are numbered; scenes come in no order.
            samples.append(part[random.Random(seed).randrange(len(part))])
        batch = collate(samples).to(device)
        return in_order(batch, random.Random(step)) if self.config.any_first else batch

    def _parts(self) -> tuple[SceneSamples, SceneSamples]:
        """The scenes to train on and those held out, opened once in each process: files are not shared after a fork."""
        process = os.getpid()
        if process not in self._opened:
            # Enough choices of views of a scene for any training.
            reader = replace(self.config.reader, samples_per_scene=1_000_000)
            dataset = open_dataset(self.config, reader)
            trained, held_out = copy.copy(dataset), copy.copy(dataset)
            if len(dataset.scenes) > 1:
                held_out.scenes = dataset.scenes[::HELD_OUT_EVERY]
                trained.scenes = [scene for number, scene in enumerate(dataset.scenes) if number % HELD_OUT_EVERY]
            self._opened[process] = trained, held_out
        return self._opened[process]


def make_source(config: DataConfig, patch: int) -> Source:
    """The source that the settings name.

    Raises:
        BadConfig: images whose sides are no multiples of the patch, or no path where one is needed.
        BadInput: a dataset without a scene that can be used.
    """
    made = config.worlds if config.source == WORLDS else config.reader
    if made.width % patch or made.height % patch or not made.width * made.height:
        name, sides = "worlds" if config.source == WORLDS else "reader", f"{made.width} x {made.height}"
        raise BadConfig(f"data.{name}: expected image sides that are multiples of the patch {patch}, got {sides}")
    if config.source == WORLDS:
        worlds = WorldSource(config)
        if not config.kept:
            return worlds
        return KeptSource(worlds, Path(config.kept), config.kept_samples, config.worlds, config.easiest)
    if not config.path:
        raise BadConfig(f"data.path: expected the place of the {config.source} data, got none; set data.path=...")
    return DatasetSource(config)


def open_dataset(config: DataConfig, reader: ReaderConfig) -> SceneSamples:
    """The dataset on the disk; the readers need OpenCV and are imported only here."""
    from geoseg_core.datasets.bag_samples import RosbagSamples
    from geoseg_core.datasets.egoexo import EgoExoSamples
    from geoseg_core.datasets.photographs import PhotographSamples
    from geoseg_core.datasets.sa1b import Sa1bSamples
    from geoseg_core.datasets.scannet import scannet_samples
    from geoseg_core.datasets.scannetpp import scannetpp_samples

    readers: dict[str, Callable[[Path, ReaderConfig], SceneSamples]] = {
        "bag": RosbagSamples,
        "egoexo": EgoExoSamples,
        "photographs": PhotographSamples,
        "sa1b": Sa1bSamples,
        "scannet": scannet_samples,
        "scannetpp": lambda root, given: scannetpp_samples(root, Path(config.labels), given),
    }
    return readers[config.source](Path(config.path), reader)


def in_order(batch: Sample, chance: random.Random) -> Sample:
    """The batch with its views in another order, the same for all samples."""
    views = list(range(batch.images.shape[1]))
    chance.shuffle(views)
    moved: dict[str, Any] = {name: value[:, views] for name, value in batch.tensors().items()}
    return replace(batch, **moved, cameras=tuple(batch.cameras[view] for view in views) if batch.cameras else ())
