"""`geoseg worlds --out DIR`: contact sheets of procedural scenes, with their depth and instances, to look at."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from geoseg_core.config import build_from_words
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.colours import colour_table
from geoseg_core.evaluation.pictures import contact_sheet, write_png
from geoseg_core.synthetic.config import WorldsConfig
from geoseg_core.synthetic.worlds import Worlds

SCENES_A_SHEET = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare seeds, settings and output."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the sheets go")
    parser.add_argument("--seeds", default="0:8", metavar="FROM:TO", help="seeds of the scenes (default: 0:8)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="a setting of the worlds, such as exo_max=3; repeatable",
    )  # fmt: skip
    parser.add_argument("--plain", action="store_true", help="pictures alone, without depth and instances")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")


def run(arguments: argparse.Namespace) -> int:
    """Render and write.

    Raises:
        BadInput: seeds that are no range; BadConfig: unknown settings or values out of range.
    """
    seeds = parse_range(arguments.seeds)
    worlds = Worlds(build_from_words(WorldsConfig, arguments.overrides), arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(seeds), SCENES_A_SHEET):
        rows, titles = [], []
        for seed in seeds[start : start + SCENES_A_SHEET]:
            pictures = pictures_of(worlds.sample(seed).to("cpu"))
            wanted = pictures[:1] if arguments.plain else pictures
            rows += wanted
            titles += [f"seed {seed}", "depth", "instances"][: len(wanted)]
        path = arguments.out / f"worlds_{seeds[start]:06d}.png"
        write_png(str(path), contact_sheet(rows, titles))
        print(path)
    return 0


def parse_range(words: str) -> range:
    """`FROM:TO` as a range.

    Raises:
        BadInput: something else, or nothing in it.
    """
    first, _, last = words.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise BadInput(f"--seeds: expected FROM:TO with FROM < TO, such as 0:8, got {words!r}")
    return range(int(first), int(last))


def pictures_of(sample: Sample) -> list[list[np.ndarray]]:
    """Rows of (H, W, 3) uint8 pictures of all views: colour, depth, instances."""
    assert sample.depth is not None and sample.instance_ids is not None
    colour = (sample.images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    ids = sample.instance_ids.numpy()
    table = colour_table(range(int(ids.max()) + 1))
    return [list(colour), [_depth_picture(each) for each in sample.depth.numpy()], list(table[ids])]


def _depth_picture(depth: np.ndarray) -> np.ndarray:
    """Near is bright; the scale is that of the nearest and farthest pixel."""
    inverse = 1 / np.maximum(depth, 1e-6)
    grey = (inverse - inverse.min()) / max(float(np.ptp(inverse)), 1e-9)
    return cv2.cvtColor(cv2.applyColorMap((grey * 255).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
