"""`geoseg evaluate-geometry ENCODER... --data DATA`: cameras, depth and point tracks from images alone, measured.

The encoder is shown neither depth nor calibration nor poses. geoseg_core/evaluation/geometry.py defines the figures.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.geometry_evaluator import GeometryEvaluationConfig, Query, evaluate_geometry
from geoseg_core.evaluation.geometry_pictures import scene_sheet
from geoseg_core.evaluation.machine import describe_machine
from geoseg_core.evaluation.pictures import write_png
from geoseg_core.evaluation.report import write_report
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, load_encoder
from geoseg_core.geometry.classical.config import ClassicalConfig
from geoseg_core.geometry.classical.encoder import ClassicalEncoder
from geoseg_core.geometry.encoder import EncodedScene, GeometryEncoder
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

CLASSICAL = {
    "classical": ClassicalConfig(),
    "classical-affine": ClassicalConfig(features=1500, contrast=0.01, tilts=2),
}
COLUMNS = {
    "rotation_error_deg_median": "rot deg",
    "auc30": "AUC@30",
    "auc30_folded": "folded",
    "abs_rel": "AbsRel",
    "delta125": "d<1.25",
    "track_pck1": "PCK 1%",
    "track_pck2": "PCK 2%",
    "track_pck4": "PCK 4%",
    "visibility_accuracy": "visible",
    "seconds_median": "seconds",
}
WORLDS = "worlds:"


@dataclass(frozen=True, eq=False)
class Data:
    """What encoders are measured on: a name for the report, and how many samples there are."""

    name: str
    count: int
    read: Callable[[int], Sample]

    def __iter__(self) -> Iterator[Sample]:
        return (self.read(number) for number in range(self.count))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare encoders, data and where the results go."""
    known = ", ".join([*CLASSICAL, *CHOICES])
    parser.add_argument("encoders", nargs="+", metavar="ENCODER", help=f"{known}; NAME=FILE gives its weights")
    parser.add_argument("--data", required=True, help="worlds:SEEDS (worlds:0-49 or worlds:3,7), or a bag")
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="measure on N pairs (default: all)")
    parser.add_argument("--pictures", type=int, default=4, metavar="N", help="draw so many of them")
    parser.add_argument("--device", default="auto", help="where networks run: auto, cpu, cuda ...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="report (default: OUT/report.json)")
    parser.add_argument("--out", type=Path, default=Path("out/geometry"), help="folder for report and pictures")


def run(arguments: argparse.Namespace) -> int:
    """Measure every encoder on the same pairs, write all, print the table.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown encoder, or seeds that are none.
    """
    data = open_data(arguments.data, arguments.pairs)
    encoders = {word: open_encoder(word, arguments.device) for word in arguments.encoders}
    figures: dict[str, dict[str, Any]] = {}
    for word, encoder in encoders.items():
        gallery = Gallery(arguments.out, word.partition("=")[0], data.count, arguments.pictures)
        bar = tqdm(data, total=data.count, unit="set", desc=word, dynamic_ncols=True, mininterval=0.5)
        score = evaluate_geometry(encoder, bar, GeometryEvaluationConfig(), gallery.add)
        figures[word] = score.report()
        print("\n".join(score.refusals[:5]), end="\n" if score.refusals else "")
    path = arguments.json or arguments.out / "report.json"
    write_report(path, make_report(data.name, figures))
    written = f"written: {path} and pictures in {arguments.out}"
    print("\n".join([f"{data.name}: {data.count} sets of views", *table(figures), written]))
    return 0


def make_report(source: str, figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The report: `geometry` holds the figures of the first encoder, `others` those of the rest by name."""
    first, *others = figures
    return {
        "source": source,
        "protocol": "geometry",
        "method": first,
        "geometry": figures[first],
        "others": {name: {"geometry": figures[name]} for name in others},
        "machine": describe_machine(),
    }


def table(figures: dict[str, dict[str, Any]]) -> list[str]:
    """One row for each encoder."""
    width = max(len(name) for name in (*figures, "encoder"))
    lines = [f"{'encoder':{width}}  " + "  ".join(f"{title:>7}" for title in COLUMNS.values())]
    for name, found in figures.items():
        cells = ["none" if found[key] is None else f"{found[key]:.3f}" for key in COLUMNS]
        lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>7}" for cell in cells))
    return lines


def open_encoder(word: str, device: str) -> GeometryEncoder:
    """The encoder of a word such as "classical" or "vggt=weights.safetensors".

    Raises:
        BadConfig: an unknown name; BadInput: weights that are missing or do not fit.
    """
    name, _, weights = word.partition("=")
    if name in CLASSICAL and not weights:
        return ClassicalEncoder(CLASSICAL[name])
    if name not in CHOICES:
        raise BadConfig(f"expected one of the encoders {[*CLASSICAL, *CHOICES]}, got {word!r}")
    return load_encoder(GeometryConfig(encoder=name, weights=weights, device=device)).encoder


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


class Gallery:
    """Writes NAME_0.png, NAME_1.png ... of sets that are evenly spread over the data."""

    def __init__(self, folder: Path, name: str, count: int, pictures: int) -> None:
        self.folder, self.name = folder, name
        self._wanted = set(np.linspace(0, count - 1, min(pictures, count)).round().astype(int).tolist())
        self._seen = 0

    def add(self, sample: Sample, scene: EncodedScene, queries: list[Query]) -> None:
        """Draw a set if it is one of those."""
        if self._seen in self._wanted:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_png(str(self.folder / f"{self.name}_{self._seen}.png"), scene_sheet(sample, scene, queries))
        self._seen += 1
