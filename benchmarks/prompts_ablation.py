"""What each part of MV-SAM's decoder is worth: variants trained alike on the small network's features, then measured.

    python benchmarks/prompts_ablation.py RUNS --steps 1000 [--set KEY=VALUE ...] [--variants complete full ...]
        [--data worlds:0-49 bags/tabletop] [--views 2 4 8 16]

The rows are those of tables 3, 12 and 14 of MV-SAM (2026): confidence embeddings, where cells and points are, points
brought to deviation 1, attention to one view or to all; then, which are not in the paper, whether a point also tells
what the image is there, and guides. Settings, data, seed and steps are the same for all, and all begin with the
features of the recipe. The complete decoder and that with full-view attention are also measured by the number of views
of worlds, which are the first ones of the same scenes.

RUNS holds the trainings, RUNS/VARIANT. What was interrupted goes on when the same command is given again, and what is
finished is not trained again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from records import add_out, write_record
from trainings import trained, training_facts

from geoseg_core.commands import evaluate_prompts as command
from geoseg_core.commands import measuring
from geoseg_core.commands.evaluate_instances import seeing
from geoseg_core.config import build
from geoseg_core.evaluation.prompts_evaluator import Group, PromptsEvaluationConfig, evaluate_prompts
from geoseg_core.evaluation.prompts_variation import VIEWS, Variation
from geoseg_core.training.recipes.tiny_mv_sam import TinyMvSamRecipe
from geoseg_core.weights.chosen import choose_weights

COMPLETE, FULL = "complete", "full"
# Guides are not in the paper, and tell by themselves some of what its parts do.
PLAIN = "model.decoder.guides=false"
VARIANTS: dict[str, tuple[str, ...]] = {
    COMPLETE: (),
    "no_confidence": ("model.decoder.low_share=0",),
    "two_d": ("model.decoder.positions=2d",),
    "nowhere": ("model.decoder.positions=none",),
    "not_standardised": ("model.decoder.standardised=false",),
    FULL: ("model.decoder.attention=full",),
    "no_looks": ("model.decoder.looks=false",),
    "guided": ("model.decoder.guides=true",),
}
TITLES = {
    COMPLETE: "complete: 3-D positions, single-view attention",
    "no_confidence": "without confidence embeddings",
    "two_d": "2-D positions",
    "nowhere": "no positions",
    "not_standardised": "points not standardised",
    FULL: "full-view attention",
    "no_looks": "points tell their place alone",
    "guided": "complete, with guides",
}
FIGURES = {
    "points_miou": ("points_10_2", "miou"),
    "points_macc": ("points_10_2", "macc"),
    "click_miou": ("one_click", "miou"),
    "click_others_miou": ("one_click", "others_miou"),
}


def measured(
    runs: dict[str, Path], encoder: Path, words: str, counts: Sequence[int], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each variant on some data with each number of views, or with all there are."""
    variation = Variation({VIEWS: tuple(map(str, counts))} if counts else {})
    data = command.open_data(command_arguments(words, arguments.sets), variation)
    encode = seeing(measuring.open_encoder(f"tiny={encoder}", arguments.device))
    methods = {name: command.open_method(f"{command.MV_SAM}={path}", arguments.device) for name, path in runs.items()}
    asked = {"things": arguments.things, "kinds": tuple(dict.fromkeys(kind for kind, _ in FIGURES.values()))}
    config, rows = build(PromptsEvaluationConfig, asked), []
    for count in counts or (0,):
        shown = command.seen_by(data, variation, count).shown(data.name)
        scores = evaluate_prompts([Group(encode, methods)], shown, config, data.no_things)
        for name, score in scores.items():
            report = score.report()
            figures = {title: report.get(kind, {}).get(figure) for title, (kind, figure) in FIGURES.items()}
            rows.append({"variant": name, "data": data.name, "views": count} | figures)
    return rows


def command_arguments(words: str, sets: int) -> argparse.Namespace:
    """The arguments of `geoseg evaluate-prompts` for some data."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([command.GROWN, "--data", words, "--sets", str(sets)])


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: each of the data with all its views, then by the number of views."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows if not row["views"]):
        here = [row for row in rows if row["data"] == data and not row["views"]]
        lines += ["", f"| {data} | 10+2 points: mIoU | mAcc | one click: mIoU | other views |", "|---|---|---|---|---|"]
        lines += [f"| {TITLES[row['variant']]} | {' | '.join(cell(row[name]) for name in FIGURES)} |" for row in here]
    counted = [row for row in rows if row["views"]]
    for data in dict.fromkeys(row["data"] for row in counted):
        here = [row for row in counted if row["data"] == data]
        counts = sorted({row["views"] for row in here})
        lines += ["", f"| {data}, 10+2 points: mIoU by views | {' | '.join(map(str, counts))} |"]
        lines.append("|---" * (1 + len(counts)) + "|")
        for name in dict.fromkeys(row["variant"] for row in here):
            found = {row["views"]: row["points_miou"] for row in here if row["variant"] == name}
            lines.append(f"| {TITLES[name]} | {' | '.join(cell(found[count]) for count in counts)} |")
    return lines


def cell(value: float | None) -> str:
    """A figure, or that there is none."""
    return "none" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What each part of MV-SAM's decoder is worth.")
    parser.add_argument("runs", type=Path, help="folder of the trainings")
    parser.add_argument("--steps", type=int, required=True, help="training of each variant")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="repeatable")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--data", nargs="+", default=["worlds:0-49", "bags/tabletop"])
    parser.add_argument("--views", nargs="*", type=int, default=[2, 4, 8, 16], help="of worlds")
    parser.add_argument("--sets", type=int, default=20, help="of a bag")
    parser.add_argument("--things", type=int, default=0, help="prompt the N largest things of a set (all)")
    parser.add_argument("--device", default="auto", help="where they are measured")
    add_out(parser)
    arguments = parser.parse_args()
    changes = [*arguments.changes, f"schedule.steps={arguments.steps}"]
    encoder = choose_weights(TinyMvSamRecipe().encoder).path
    runs = {
        name: trained("tiny-mv-sam", TinyMvSamRecipe(), arguments.runs / name, [*changes, PLAIN, *VARIANTS[name]])
        for name in arguments.variants
    }
    trainings = {name: training_facts(path.parent) for name, path in runs.items()}
    rows = [row for words in arguments.data for row in measured(runs, encoder, words, (), arguments)]
    scopes = {name: path for name, path in runs.items() if name in (COMPLETE, FULL)}
    if scopes and arguments.views:
        worlds = [words for words in arguments.data if words.startswith(measuring.WORLDS)]
        rows += [row for words in worlds for row in measured(scopes, encoder, words, arguments.views, arguments)]
    print("\n".join(tables(rows)))
    facts = {name: getattr(arguments, name) for name in ("steps", "changes", "sets", "things", "views")}
    print(f"\nwritten: {write_record(arguments.out, 'prompts_ablation', rows, facts | {'trainings': trainings})}")


if __name__ == "__main__":
    main()
