"""Correct the overlap that a union head expects of its masks, by what it reaches on held-out views.

    python scripts/calibrate_head.py weights/tiny-union-head.safetensors --data worlds:100-199

The correction is written into the file's metadata, and beside it a picture for the model card, NAME_reliability.png:
what is reached of what is expected, before and after. There each half of the views is corrected by what the other half
tells, so that nothing is judged by itself. `geoseg evaluate-masks` on other data shows how good the correction is.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geoseg_core.commands import measuring
from geoseg_core.commands.evaluate_masks import matching
from geoseg_core.cross_view.calibration import fitted
from geoseg_core.cross_view.config import TINY_LOOK
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.evaluation.masks import reliability
from geoseg_core.evaluation.masks_evaluator import evaluate_masks
from geoseg_core.evaluation.plots import write_reliability


def crossed(expected: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """(N,) overlaps that were expected, each half corrected by what the other half reached (N,)."""
    middle = len(expected) // 2
    first, second = (fitted(expected[half], reached[half]) for half in (slice(middle), slice(middle, None)))
    return np.concatenate((second(expected[:middle]), first(expected[middle:])))


def main() -> None:
    parser = argparse.ArgumentParser(description="Correct the overlap that a union head expects of its masks.")
    parser.add_argument("head", type=Path, metavar="FILE")
    parser.add_argument("--data", required=True, help="worlds:SEEDS or a bag, other than what it is evaluated on")
    parser.add_argument("--encoder", default="tiny", help="NAME or NAME=FILE")
    arguments = parser.parse_args()
    # Without an earlier correction.
    transfer = UnionHeadTransfer(load_union_head(arguments.head, TINY_LOOK).head, TINY_LOOK)
    encode = matching(measuring.open_encoder(arguments.encoder, "auto"))
    data = measuring.open_data(arguments.data, 0)
    score = evaluate_masks(encode, {"head": transfer}, data.shown("calibrate"))["head"]
    expected, reached = np.reshape(score.scores, (-1, 2)).T
    made = fitted(expected, reached)
    corrected = reliability(crossed(expected, reached), reached)
    curves = {"as learned": score.reliability(), "corrected by the other half": corrected}
    picture = write_reliability(arguments.head.with_name(f"{arguments.head.stem}_reliability.png"), curves)
    with safe_open(arguments.head, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(arguments.head), arguments.head, metadata | made.metadata)
    print(f"{arguments.head}: {len(score.scores)} masks, {made}\nwritten: {picture}")


if __name__ == "__main__":
    main()
