"""What each part of the union head is worth: variants trained alike on the small network's features, then measured.

    python benchmarks/ablation.py RUNS --steps 1000 [--set KEY=VALUE ...] [--variants plain fusion ...]
        [--complete FILE] [--data worlds:0-49 bags/tabletop]

The rows are those of table 3 of VGGT-S ("VGGT-Segmentor", 2026), each with all that the ones before have: `plain` has
no fusion and no points, then come the bottleneck fusion, the points, the prior, which is the mask that the descriptors
match, and the detail, which is drawn by the features as they are given; the last two are not in the paper. `stride_1`
and `stride_4` are complete heads with other bottlenecks; one whose stride does not divide the feature map is left out.
Settings, data, seed and steps are the same for all, and other work on the machine changes nothing. Complete heads, the
one of another training (`--complete`) among them, are also measured with more refinements and with other numbers of
points.

RUNS holds the trainings, RUNS/VARIANT. What was interrupted goes on when the same command is given again, and what is
finished is not trained again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records import add_out, write_record
from trainings import trained, training_facts

from geoseg_core.commands import measuring
from geoseg_core.commands.evaluate_masks import matching
from geoseg_core.commands.measuring import Data
from geoseg_core.commands.train import configured
from geoseg_core.config import build
from geoseg_core.cross_view.config import TINY_LOOK
from geoseg_core.cross_view.union_head.loading import load_union_head
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.evaluation.masks_evaluator import evaluate_masks
from geoseg_core.geometry.choice import device_named
from geoseg_core.training.recipes.union_head import UnionHeadRecipe
from geoseg_core.weights.chosen import choose_weights

COMPLETE, GIVEN = "complete", "given"
NO_DETAIL = "model.detail=false"
NO_PRIOR = ("model.prior=false", NO_DETAIL)
VARIANTS = {
    "plain": ("model.fusion=none", "model.guided=false", *NO_PRIOR),
    "fusion": ("model.guided=false", *NO_PRIOR),
    "points": NO_PRIOR,
    COMPLETE: (NO_DETAIL,),
    "detail": (),
    "stride_1": ("model.fusion_stride=1", NO_DETAIL),
    "stride_4": ("model.fusion_stride=4", NO_DETAIL),
}
TITLES = {
    "plain": "Plain head",
    "fusion": "+ bottleneck fusion",
    "points": "+ point guidance",
    COMPLETE: "+ matched prior: complete",
    "detail": "+ detail of the given features",
    "stride_1": "complete, bottleneck of stride 1",
    "stride_4": "complete, bottleneck of stride 4",
    GIVEN: "given",
}
POINTS = 5
REFINEMENTS = (0, 1, 2, 3)
# With as many refinements as heads are trained with.
ANCHORS, REFINED = (1, 3, 8), 1


def variant(name: str, runs: Path, changes: list[str]) -> Path | None:
    """The weights of a variant, trained if they are not yet; None if its bottleneck does not fit the data.

    Raises:
        BadInput: its folder holds a finished training with other settings.
    """
    changes = [*changes, *VARIANTS[name]]
    config, run = configured(UnionHeadRecipe(), {}, changes), runs / name
    worlds, cells = config.data.worlds, config.model.map_stride * config.model.fusion_stride
    if config.model.fusion != "none" and (worlds.width % cells or worlds.height % cells):
        print(f"{name}: left out, {worlds.width}x{worlds.height} is no multiple of {cells} pixels", flush=True)
        return None
    return trained("union-head", UnionHeadRecipe(), run, changes)


def measurements(heads: dict[str, Path], device: str) -> Iterator[tuple[dict[str, Any], UnionHeadTransfer]]:
    """What is measured of each head: how it is used, and it."""
    for name, path in heads.items():
        uses = [(0, POINTS)]
        if name in (COMPLETE, GIVEN):
            uses = [(refinements, POINTS) for refinements in REFINEMENTS]
            uses += [(REFINED, points) for points in ANCHORS]
        for refinements, points in uses:
            look = build(TINY_LOOK, {"views.points": points})
            head = load_union_head(path, look, device_named(device), refinements)
            yield {"head": name, "refinements": refinements, "points": points}, head


def measured(heads: dict[str, Path], all_data: list[Data], encoder: str, device: str) -> list[dict[str, Any]]:
    """A row for each use of each head on each of the data."""
    encode = matching(measuring.open_encoder(f"tiny={encoder}", device))
    uses = list(measurements(heads, device))
    rows = []
    for data in all_data:
        transfers = {str(number): head for number, (_, head) in enumerate(uses)}
        scores = evaluate_masks(encode, transfers, data.shown(data.name))
        for number, (use, _) in enumerate(uses):
            report = scores[str(number)].report()
            ways = {f"{way}_iou": report[way]["iou"] for way in ("ego_to_exo", "exo_to_ego")}
            rows.append(use | {"data": data.name} | ways | {"ms": 1e3 * report["seconds_median"]})
    return rows


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown for each of the data: the parts as in the paper's table, the refinements, the points."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        here = [row for row in rows if row["data"] == data]
        lines += ["", f"## {data}"]
        parts = [row for row in here if not row["refinements"]]
        lines += table("without refinement", [(TITLES[row["head"]], row) for row in parts])
        for name in dict.fromkeys(row["head"] for row in here if row["refinements"]):
            more = [row for row in here if row["head"] == name]
            refined = [row for row in more if row["points"] == POINTS]
            chosen = sorted((row for row in more if row["refinements"] == REFINED), key=lambda row: row["points"])
            lines += table(f"{TITLES[name]}: refinements", [(str(row["refinements"]), row) for row in refined])
            lines += table(f"{TITLES[name]}: K-means points", [(str(row["points"]), row) for row in chosen])
    return lines


def table(title: str, rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """IoU in percent, and milliseconds of a set with its encoding."""
    lines = ["", f"| {title} | Ego→Exo | Exo→Ego | ms |", "|---|---|---|---|"]
    for name, row in rows:
        overlaps = (row["ego_to_exo_iou"], row["exo_to_ego_iou"])
        figures = ("none" if each is None else f"{100 * each:.1f}" for each in overlaps)
        lines.append(f"| {name} | {' | '.join(figures)} | {row['ms']:.0f} |")
    return lines


def open_data(words: str, pairs: int) -> Data:
    """All worlds that are named, or so many pairs of a bag."""
    return measuring.open_data(words, 0 if words.startswith(measuring.WORLDS) else pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description="What each part of the union head is worth.")
    parser.add_argument("runs", type=Path, help="folder of the trainings")
    parser.add_argument("--steps", type=int, required=True, help="training of each variant")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="repeatable")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--complete", metavar="FILE", help="weights of a complete head that is there already")
    parser.add_argument("--data", nargs="+", default=["worlds:0-49", "bags/tabletop"])
    parser.add_argument("--pairs", type=int, default=16, help="of a bag")
    parser.add_argument("--device", default="auto", help="where heads are measured")
    add_out(parser)
    arguments = parser.parse_args()
    if not arguments.variants and not arguments.complete:
        parser.error("expected a variant to train or --complete FILE, got neither")
    changes = [*arguments.changes, f"schedule.steps={arguments.steps}"]
    # What cannot be read is refused before hours of training.
    encoder = choose_weights(configured(UnionHeadRecipe(), {}, changes).encoder)
    given = {GIVEN: choose_weights(arguments.complete).path} if arguments.complete else {}
    all_data = [open_data(words, arguments.pairs) for words in arguments.data]
    made = {name: variant(name, arguments.runs, changes) for name in arguments.variants}
    heads = {name: path for name, path in made.items() if path}
    trainings = {name: training_facts(path.parent) for name, path in heads.items()}
    rows = measured(heads | given, all_data, str(encoder.path), arguments.device)
    print("\n".join(tables(rows)))
    facts = {name: getattr(arguments, name) for name in ("steps", "changes", "pairs")} | {"trainings": trainings}
    print(f"\nwritten: {write_record(arguments.out, 'ablation', rows, facts)}")


if __name__ == "__main__":
    main()
