"""`geoseg evaluate-geometry ENCODER... --data DATA`: cameras, depth and point tracks from images alone, measured.

The encoder is shown neither depth nor calibration nor poses. geoseg_core/evaluation/geometry.py defines the figures.
"""

import argparse
from functools import partial
from typing import Any

from geoseg_core.commands import measuring
from geoseg_core.commands.measuring import Gallery
from geoseg_core.evaluation.geometry_evaluator import GeometryEvaluationConfig, evaluate_geometry
from geoseg_core.evaluation.geometry_pictures import scene_sheet
from geoseg_core.geometry.choice import CHOICES
from geoseg_core.geometry.classical.config import AFFINE, ClassicalConfig
from geoseg_core.geometry.classical.encoder import ClassicalEncoder
from geoseg_core.geometry.encoder import GeometryEncoder

CLASSICAL = {"classical": ClassicalConfig(), "classical-affine": AFFINE}
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare encoders, data and where the results go."""
    known = ", ".join([*CLASSICAL, *CHOICES])
    parser.add_argument("encoders", nargs="+", metavar="ENCODER", help=f"{known}; NAME=FILE gives its weights")
    measuring.add_arguments(parser, "out/geometry")


def run(arguments: argparse.Namespace) -> int:
    """Measure every encoder on the same pairs, write all, print the table.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown encoder, or seeds that are none.
    """
    data = measuring.open_data(arguments.data, arguments.pairs)
    encoders = {word: open_encoder(word, arguments.device) for word in arguments.encoders}
    figures: dict[str, dict[str, Any]] = {}
    for word, encoder in encoders.items():
        draw = partial(Gallery(arguments.out, word, data.count, arguments.pictures).add, scene_sheet)
        score = evaluate_geometry(encoder, data.shown(word), GeometryEvaluationConfig(), draw)
        figures[word] = score.report()
        print("\n".join(score.refusals[:5]), end="\n" if score.refusals else "")
    measuring.finish(arguments, data.name, data.measured, "geometry", COLUMNS, figures)
    return 0


def open_encoder(word: str, device: str) -> GeometryEncoder:
    """The encoder of a word such as "classical" or "vggt=weights.safetensors".

    Raises:
        BadConfig: an unknown name; BadInput: weights that are missing or do not fit.
    """
    name, _, weights = word.partition("=")
    if name in CLASSICAL and not weights:
        return ClassicalEncoder(CLASSICAL[name])
    return measuring.open_encoder(word, device, CLASSICAL)
