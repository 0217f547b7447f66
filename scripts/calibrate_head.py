"""Correct the overlap that a union head expects of its masks, by what it reaches on held-out views.

    python scripts/calibrate_head.py weights/tiny-union-head.safetensors --data worlds:100-199

The correction is written into the file's metadata. `geoseg evaluate-masks` on other data shows how good it is.
"""

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geoseg_core.commands import measuring
from geoseg_core.commands.evaluate_masks import matching
from geoseg_core.cross_view.calibration import fitted
from geoseg_core.cross_view.config import TINY_LOOK
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.evaluation.masks_evaluator import evaluate_masks


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
    made = fitted(*zip(*score.scores, strict=True))
    with safe_open(arguments.head, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(arguments.head), arguments.head, metadata | made.metadata)
    print(f"{arguments.head}: {len(score.scores)} masks, {made}")


if __name__ == "__main__":
    main()
