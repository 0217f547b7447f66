"""What each part of the object queries is worth: variants trained alike on the small network's features, then measured.

    python benchmarks/instances_ablation.py RUNS --steps 1000 [--set KEY=VALUE ...] [--variants complete no_fada ...]
        [--data worlds:0-49 bags/tabletop]

The rows are those of tables 3 and 4 of SegVGGT (2026): the attention that is aligned with the views (FADA) as a loss
and in the cost of matching, the layers that the queries look at; then the geometry network as it is against one whose
attention is adapted by LoRA (recipe `tiny-joint`), with the depth of both. Settings, data, seed and steps are the same
for all but the last two, which learn from new scenes in each step, both from the same.

RUNS holds the trainings, RUNS/VARIANT. What was interrupted goes on when the same command is given again, and what is
finished is not trained again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import add_out, write_record
from safetensors.torch import load_file, save_file
from trainings import trained, training_facts

from geoseg_core.commands import evaluate_instances as command
from geoseg_core.commands import measuring
from geoseg_core.evaluation.instances_evaluator import Group, evaluate_instances
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.recipes.tiny_instances import TinyInstancesRecipe
from geoseg_core.training.recipes.tiny_joint import JointConfig, TinyJointRecipe
from geoseg_core.weights.chosen import choose_weights, config_metadata, stored_config


@dataclass(frozen=True)
class Variant:
    """A row: its title, its recipe, and how its settings differ."""

    title: str
    recipe: str = "tiny-instances"
    changes: tuple[str, ...] = ()

    @property
    def default(self) -> TrainingConfig:
        """The recipe's settings."""
        return TinyJointRecipe() if self.recipe == "tiny-joint" else TinyInstancesRecipe()


VARIANTS = {
    "no_fada": Variant("without FADA, all layers", changes=("loss.attention=0",)),
    "fada_loss": Variant("FADA as a loss alone, all layers", changes=("loss.attention_cost=false",)),
    "early": Variant("FADA, early layers", changes=("model.queries.insertion=early",)),
    "late": Variant("FADA, late layers", changes=("model.queries.insertion=late",)),
    "interleaved": Variant("FADA, every second layer", changes=("model.queries.insertion=interleaved",)),
    "complete": Variant("FADA, all layers: complete"),
    "frozen": Variant("complete, new scenes in each step", "tiny-joint", ("lora.rank=0",)),
    "lora": Variant("the same, attention adapted by LoRA of rank 32", "tiny-joint", ("lora.rank=32",)),
}


def networks(variant: Variant, weights: Path, encoder: Path) -> tuple[Path, Path]:
    """The files of the geometry network and of the instance network of a finished training."""
    if variant.recipe != "tiny-joint":
        return encoder, weights
    tensors, sizes = load_file(weights), stored_config(weights, JointConfig())
    files = []
    for part in ("encoder", "instances"):
        files.append(weights.with_name(f"{part}.safetensors"))
        own = {name.removeprefix(f"{part}."): each for name, each in tensors.items() if name.startswith(f"{part}.")}
        save_file(own, files[-1], config_metadata(getattr(sizes, part)))
    return files[0], files[1]


def measured(runs: dict[str, Path], encoder: Path, data: Sequence[str], device: str, sets: int) -> list[dict[str, Any]]:
    """A row for each variant on each of the data."""
    groups = {}
    for name, weights in runs.items():
        geometry, instances = networks(VARIANTS[name], weights, encoder)
        encode = command.seeing(measuring.open_encoder(f"tiny={geometry}", device))
        finders = {
            f"{name} {method}": command.open_finder(f"{method}={instances}", command.ReadingConfig(), device)
            for method in ("queries", "field")
        }
        groups[name] = Group(encode, finders)
    rows = []
    for words in data:
        scenes = command.open_scenes(command_arguments(words, sets))
        scores, depths = evaluate_instances(
            list(groups.values()), scenes.shown(scenes.name), no_things=scenes.no_things
        )
        for (name, _), depth in zip(groups.items(), depths, strict=True):
            queries, field = (scores[f"{name} {method}"].report() for method in ("queries", "field"))
            figures = {"t_miou": field["t_miou"], "t_sr": field["t_sr"], "abs_rel": depth.report()["abs_rel"]}
            rows.append({"variant": name, "data": scenes.name} | queries["points"] | figures)
    return rows


def command_arguments(words: str, sets: int) -> argparse.Namespace:
    """The arguments of `geoseg evaluate-instances` for some data."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["rgbd", "--data", words, "--sets", str(sets)])


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown for each of the data."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        lines += ["", f"| {data} | AP | AP50 | AP25 | field: T-mIoU | T-SR | AbsRel |", "|---|---|---|---|---|---|---|"]
        for row in (row for row in rows if row["data"] == data):
            figures = [row[each] for each in ("ap", "ap50", "ap25", "t_miou", "t_sr", "abs_rel")]
            cells = ["none" if each is None else f"{each:.3f}" for each in figures]
            lines.append(f"| {VARIANTS[row['variant']].title} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="What each part of the object queries is worth.")
    parser.add_argument("runs", type=Path, help="folder of the trainings")
    parser.add_argument("--steps", type=int, required=True, help="training of each variant")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="repeatable")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--data", nargs="+", default=["worlds:0-49", "bags/tabletop"])
    parser.add_argument("--sets", type=int, default=20, help="of a bag")
    parser.add_argument("--device", default="auto", help="where they are measured")
    add_out(parser)
    arguments = parser.parse_args()
    changes = [*arguments.changes, f"schedule.steps={arguments.steps}"]
    encoder = choose_weights(TinyInstancesRecipe().encoder).path
    runs = {}
    for name in arguments.variants:
        variant = VARIANTS[name]
        run = arguments.runs / name
        runs[name] = trained(variant.recipe, variant.default, run, [*changes, *variant.changes])
    trainings = {name: training_facts(path.parent) for name, path in runs.items()}
    rows = measured(runs, encoder, arguments.data, arguments.device, arguments.sets)
    print("\n".join(tables(rows)))
    facts = {name: getattr(arguments, name) for name in ("steps", "changes", "sets")} | {"trainings": trainings}
    print(f"\nwritten: {write_record(arguments.out, 'instances_ablation', rows, facts)}")


if __name__ == "__main__":
    main()
