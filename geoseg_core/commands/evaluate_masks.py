"""`geoseg evaluate-masks METHOD... --data DATA`: masks carried between an ego and an exo view, measured.

Methods and encoder see images alone: neither depth nor calibration nor poses. geoseg_core/evaluation/masks.py defines
the figures.
"""

import argparse
from collections.abc import Callable
from typing import Any

from geoseg_core.commands import measuring
from geoseg_core.commands.measuring import Gallery
from geoseg_core.config import build
from geoseg_core.cross_view.classical import ClassicalTransfer, ClassicalTransferConfig, Unencoded
from geoseg_core.cross_view.config import TINY_LOOK
from geoseg_core.cross_view.matched import MatchedTransfer
from geoseg_core.cross_view.reprojected_transfer import ReprojectedTransfer
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.cross_view.union_head.looks import MatchedScene
from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadConfig
from geoseg_core.evaluation.masks import Carried, MaskScore
from geoseg_core.evaluation.masks_evaluator import MaskEvaluationConfig, Transfer, evaluate_masks
from geoseg_core.evaluation.masks_pictures import masks_sheet
from geoseg_core.evaluation.plots import write_reliability
from geoseg_core.geometry.choice import device_named
from geoseg_core.geometry.classical.config import AFFINE, ClassicalConfig
from geoseg_core.geometry.encoder import GeometryEncoder
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import choose_weights

CLASSICAL = {
    "classical": ClassicalConfig(),
    "classical-affine": AFFINE,
    "classical-orb": ClassicalConfig(detector="orb"),
}
MATCHED, REPROJECTED, UNION_HEAD = "matched", "reprojected", "union-head"
COLUMNS = {
    "ego_to_exo.iou": "ego>exo IoU",
    "ego_to_exo.location_error": "LE",
    "ego_to_exo.contour_accuracy": "CA",
    "ego_to_exo.visibility_accuracy": "VA",
    "exo_to_ego.iou": "exo>ego IoU",
    "exo_to_ego.location_error": "LE",
    "exo_to_ego.contour_accuracy": "CA",
    "exo_to_ego.visibility_accuracy": "VA",
    "calibration_error": "ECE",
    "seconds_median": "seconds",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare methods, encoder, data and where the results go."""
    known = ", ".join([*CLASSICAL, MATCHED, REPROJECTED])
    parser.add_argument("methods", nargs="+", metavar="METHOD", help=f"{known}, or {UNION_HEAD}=FILE with its weights")
    parser.add_argument("--encoder", default="tiny", help="what other than classical methods see: NAME or NAME=FILE")
    parser.add_argument("--refinements", type=int, metavar="N", help="calls of the union head after the first one")
    parser.add_argument("--anchors", type=int, metavar="N", help="points that prompt the union head")
    parser.add_argument("--least-px", type=int, default=64, metavar="N", help="pixels of an object that counts")
    measuring.add_arguments(parser, "out/masks")


def run(arguments: argparse.Namespace) -> int:
    """Measure every method on the same pairs, write all, print the table.

    Raises:
        BadInput: the data or weights cannot be read; BadConfig: an unknown method or encoder, or a bad number.
    """
    config = build(MaskEvaluationConfig, {"least_px": arguments.least_px})
    data = measuring.open_data(arguments.data, arguments.pairs)
    transfers = {word: open_transfer(word, arguments) for word in arguments.methods}
    galleries = {word: Gallery(arguments.out, word, data.count, arguments.pictures) for word in transfers}

    def draw(word: str, sample: Sample, carried: list[Carried]) -> None:
        galleries[word].add(masks_sheet, sample, carried)

    scores: dict[str, MaskScore] = {}
    for encode, words in groups(arguments):
        chosen = {word: transfers[word] for word in words}
        scores |= evaluate_masks(encode, chosen, data.shown(", ".join(words)), config, draw)
    for word, score in scores.items():
        print("\n".join(f"{word}: {each}" for each in score.refusals[:5]), end="\n" if score.refusals else "")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_reliability(arguments.out / "reliability.png", {word: scores[word].reliability() for word in transfers})
    reports = {word: scores[word].report() for word in transfers}
    measuring.finish(arguments, data.name, data.measured, "masks", COLUMNS, reports)
    return 0


def open_transfer(word: str, arguments: argparse.Namespace) -> Transfer:
    """The method of a word such as "classical" or "union-head=weights.safetensors".

    Raises:
        BadConfig: an unknown name or a bad number; BadInput: weights that are missing or do not fit.
    """
    name, _, weights = word.partition("=")
    if name in CLASSICAL and not weights:
        return ClassicalTransfer(ClassicalTransferConfig(CLASSICAL[name]))
    if word == MATCHED:
        return MatchedTransfer()
    if word == REPROJECTED:
        return ReprojectedTransfer()
    if name != UNION_HEAD or not weights:
        known = [*CLASSICAL, MATCHED, REPROJECTED]
        raise BadConfig(f"expected one of the methods {known} or {UNION_HEAD}=FILE, got {word!r}")
    changes = {} if arguments.anchors is None else {"views.points": arguments.anchors}
    look = build(TINY_LOOK, changes)
    return load_union_head(choose_weights(weights).path, look, device_named(arguments.device), arguments.refinements)


def groups(arguments: argparse.Namespace) -> list[tuple[Callable[[FrameSet], Any], list[str]]]:
    """The methods by what makes their scenes; the encoder is loaded if a method needs it."""
    bare = [word for word in arguments.methods if word in CLASSICAL]
    others = [word for word in arguments.methods if word not in CLASSICAL]
    made: list[tuple[Callable[[FrameSet], Any], list[str]]] = [(Unencoded, bare)] if bare else []
    if others:
        made.append((matching(measuring.open_encoder(arguments.encoder, arguments.device)), others))
    return made


def matching(encoder: GeometryEncoder) -> Callable[[FrameSet], MatchedScene]:
    """What encodes a set for methods that read the encoder's features.

    Raises:
        BadConfig: when called, with an encoder that has none to match views by.
    """

    def encode(frames: FrameSet) -> MatchedScene:
        scene: Any = encoder.encode(frames)
        if not hasattr(scene, "matching_maps"):
            raise BadConfig(f"--encoder: expected one that matches views, such as tiny, got {encoder.name}")
        return scene

    return encode
