"""`geoseg train RECIPE`: train a model, or go on with a training that was interrupted."""

import argparse
import json
from pathlib import Path
from typing import Any

from geoseg_core.config import Setting, build, settings
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.training.checkpoint import checkpoints, read_facts
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.devices import find_devices
from geoseg_core.training.loop import CHECKPOINTS, Trainer
from geoseg_core.training.progress import Progress
from geoseg_core.training.registry import RECIPES, recipe_named

SIGNALLED = 128
WORDS = {"true": True, "false": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare recipe, settings, folder and limits."""
    parser.add_argument("recipe", nargs="?", help="what to train; see --list")
    parser.add_argument("--list", action="store_true", help="the recipes; with RECIPE its settings and defaults")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="repeatable")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: out/training/RECIPE")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long, to go on from there later")
    parser.add_argument("--shard-mib", type=float, metavar="MIB", help="largest file of a checkpoint (loop.shard_mib)")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; the best there is if not given")


def run(arguments: argparse.Namespace) -> int:
    """List, or train.

    Raises:
        BadConfig: an unknown recipe or setting, or a value that is refused.
        BadInput: the folder holds another training, or a broken checkpoint.
        TrainingFailed: no finite losses, or too little memory.
    """
    if arguments.list or not arguments.recipe:
        print("\n".join(listing(arguments.recipe)))
        return 0
    recipe = recipe_named(arguments.recipe)
    out = arguments.out or Path("out") / "training" / recipe.name
    checkpoint = newest_checkpoint(out, arguments.resume)
    changes = list(arguments.changes)
    if arguments.shard_mib is not None:
        changes.append(f"loop.shard_mib={arguments.shard_mib}")
    config = configured(recipe.config_type()(), read_facts(checkpoint)["config"] if checkpoint else {}, changes)
    progress = Progress()
    devices = find_devices(arguments.device, config.loop.precision, progress.say)
    progress.main = devices.main
    trainer = Trainer(recipe.name, recipe.task_type()(config), devices, out, progress)
    if checkpoint:
        trainer.restore(checkpoint)
    elif arguments.resume:
        progress.say(f"no checkpoint in {out} yet: starting from the beginning")
    signal_number = trainer.run(arguments.minutes)
    return SIGNALLED + signal_number if signal_number else 0


def listing(name: str | None) -> list[str]:
    """The recipes, or the settings of one."""
    if name is None:
        return [f"{recipe.name:<12}{recipe.summary}" for recipe in RECIPES]
    return [f"{each.name:<36}{json.dumps(each.default):<24}{each.description}" for each in settings(
        recipe_named(name).config_type()
    )]


def newest_checkpoint(out: Path, resume: bool) -> Path | None:
    """The checkpoint to go on from.

    Raises:
        BadInput: there is one, and nobody asked to go on.
    """
    found = checkpoints(out / CHECKPOINTS)
    if found and not resume:
        raise BadInput(
            f"{out}: expected a folder without a training, got checkpoints up to {found[-1].name}; "
            "add --resume to go on with it, or name another folder with --out"
        )
    return found[-1] if found else None


def configured(config: TrainingConfig, stored: dict[str, Any], changes: list[str]) -> TrainingConfig:
    """A recipe's config with what a checkpoint says, then what the user says.

    Raises:
        BadConfig: an unknown setting, or a value that is refused.
    """
    known = {each.name: each for each in settings(config)}
    values = dict(stored)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in known:
            raise BadConfig(f"expected KEY=VALUE with a setting of the recipe (see --list), got {change!r}")
        values[name] = parsed(known[name], text)
    built: TrainingConfig = build(config, values)
    return built


def parsed(setting: Setting, text: str) -> Any:
    """A value from its text, by the type of the default; members of a tuple stand between commas.

    Raises:
        BadConfig: the text is no such value.
    """
    kind = type(setting.default)
    try:
        if kind is bool:
            return WORDS[text.lower()]
        if kind is tuple:
            member = type(setting.default[0]) if setting.default else str
            return tuple(member(word) for word in text.split(",") if word)
        return kind(text)
    except (KeyError, ValueError) as error:
        raise BadConfig(f"{setting.name}: expected {kind.__name__}, got {text!r}") from error
