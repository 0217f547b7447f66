"""What the commands share that measure from images alone: the data, the encoders, the pictures and the report."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.machine import describe_machine
from geoseg_core.evaluation.pictures import write_png
from geoseg_core.evaluation.report import figures, write_report
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, load_encoder
from geoseg_core.geometry.encoder import GeometryEncoder
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

WORLDS = "worlds:"


@dataclass(frozen=True, eq=False)
class Data:
    """What is measured on: a name for the report, and how many samples there are."""

    name: str
    count: int
    read: Callable[[int], Sample]

    @property
    def measured(self) -> str:
        """How much there is, in words."""
        return f"{self.count} sets of views"

    def __iter__(self) -> Iterator[Sample]:
        return (self.read(number) for number in range(self.count))

    def shown(self, title: str) -> "tqdm[Sample]":
        """The samples, with a bar that tells how far it is."""
        return tqdm(self, total=self.count, unit="set", desc=title, dynamic_ncols=True, mininterval=0.5)


def add_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Declare pairs of views as data, and where the results go.

    Args:
        folder: where they go by default.
    """
    add_data_arguments(parser, folder)
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="measure on N pairs (default: all)")


def add_data_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Declare the data and where the results go; `folder` by default."""
    parser.add_argument("--data", required=True, help="worlds:SEEDS (worlds:0-49 or worlds:3,7), or a bag")
    parser.add_argument("--pictures", type=int, default=4, metavar="N", help="draw so many of them")
    parser.add_argument("--device", default="auto", help="where networks run: auto, cpu, cuda ...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="report (default: OUT/report.json)")
    parser.add_argument("--out", type=Path, default=Path(folder), help="folder for report and pictures")


def open_data(words: str, pairs: int) -> Data:
    """Worlds by their seeds, or the sets of a bag: the ego view with one exo view.

    Raises:
        BadInput: the bag is refused; BadConfig: not a list of seeds, or a negative number of pairs.
    """
    if pairs < 0:
        raise BadConfig(f"--pairs: expected 0 or more, got {pairs}")
    if not words.startswith(WORLDS):
        samples = RosbagSamples(words, ReaderConfig(height=0, width=0, views=2), pairs)
        return Data(Path(words).name, len(samples), samples.__getitem__)
    seeds = read_seeds(words.removeprefix(WORLDS))
    seeds = seeds[:pairs] if pairs else seeds
    worlds = Worlds(WorldsConfig())
    return Data(words, len(seeds), lambda number: worlds.sample(seeds[number], 1))


def read_seeds(words: str) -> list[int]:
    """"3,7,10-12" as 3, 7, 10, 11, 12.

    Raises:
        BadConfig: anything else.
    """
    seeds: list[int] = []
    for part in words.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise BadConfig(f"expected seeds as worlds:0-49 or worlds:3,7, got {words!r}")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds:
        raise BadConfig(f"expected at least one seed, got {words!r}")
    return seeds


def open_encoder(word: str, device: str, others: Iterable[str] = ()) -> GeometryEncoder:
    """The encoder of a word; see `read_encoder`.

    Raises:
        BadConfig: an unknown name; BadInput: weights that are missing or do not fit.
    """
    return load_encoder(read_encoder(word, device, others)).encoder


def read_encoder(word: str, device: str, others: Iterable[str] = ()) -> GeometryConfig:
    """What a word such as "tiny" or "vggt=weights.safetensors" asks for.

    Args:
        others: names that the command knows besides, for the message.

    Raises:
        BadConfig: an unknown name.
    """
    name, _, weights = word.partition("=")
    if name not in CHOICES:
        raise BadConfig(f"expected one of the encoders {[*others, *CHOICES]}, got {word!r}")
    return GeometryConfig(encoder=name, weights=weights, device=device)


class Gallery:
    """Writes NAME_0.png, NAME_1.png ... of sets that are evenly spread over the data."""

    def __init__(self, folder: Path, name: str, count: int, pictures: int) -> None:
        self.folder, self.name = folder, re.sub(r"[^\w.-]+", "_", name)
        self._wanted = set(np.linspace(0, count - 1, min(pictures, count)).round().astype(int).tolist())
        self._seen = 0

    def add(self, draw: Callable[..., np.ndarray], *found: Any) -> None:
        """Draw what was found in a set, `draw(*found)`, if it is one of those."""
        if self._seen in self._wanted:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_png(str(self.folder / f"{self.name}_{self._seen}.png"), draw(*found))
        self._seen += 1


def finish(
    arguments: argparse.Namespace,
    source: str,
    measured: str,
    protocol: str,
    columns: Mapping[str, str],
    found: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the report and print the table.

    Args:
        source: name of the data; measured: how much of it there was, in words.
        protocol: the report's key of the figures; see `make_report`.
        columns: titles by the dotted keys of the figures.
        found: figures by what was measured.
    """
    path = arguments.json or arguments.out / "report.json"
    write_report(path, make_report(source, protocol, found))
    written = f"written: {path} and pictures in {arguments.out}"
    print("\n".join([f"{source}: {measured}", *table(columns, found), written]))


def make_report(source: str, protocol: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The report: `protocol` holds the figures of the first method, `others` those of the rest by name."""
    first, *others = found
    return {
        "source": source,
        "protocol": protocol,
        "method": first,
        protocol: found[first],
        "others": {name: {protocol: found[name]} for name in others},
        "machine": describe_machine(),
    }


def table(columns: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One row for each method."""
    rows = [["method", *columns.values()]]
    for name, report in found.items():
        values = dict(figures(report))
        rows.append([name, *(f"{values[key]:.3f}" if key in values else "none" for key in columns)])
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    widths = [max(each, 7) for each in others]
    return [
        "  ".join([f"{name:{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
        for name, *cells in rows
    ]
