"""Trainings of variants of a recipe, alike but for some settings; one that is finished is not run again."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geoseg_core.commands.train import configured
from geoseg_core.config import settings
from geoseg_core.errors import BadInput
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.loop import FINISHED


def trained(recipe: str, default: TrainingConfig, run: Path, changes: Iterable[str]) -> Path:
    """The weights of a training in the folder `run`; it is done, or gone on with, unless it is finished already.

    Args:
        recipe: its name, and `default` its settings; changes: KEY=VALUE.

    Raises:
        BadInput: the folder holds a finished training with other settings.
    """
    changes = list(changes)
    if not is_finished(run, configured(default, {}, changes)):
        print(f"training in {run}", flush=True)
        words = ["--out", str(run), "--resume", *(word for change in changes for word in ("--set", change))]
        command = [sys.executable, "-m", "geoseg_core.cli", "train", recipe, *words]
        if status := subprocess.run(command, check=False).returncode:
            sys.exit(status)
    return run / "weights.safetensors"


def is_finished(run: Path, config: TrainingConfig) -> bool:
    """Whether a training is done.

    Raises:
        BadInput: it is, with other settings.
    """
    path = run / "metrics.json"
    if not path.is_file() or (found := json.loads(path.read_text()))["ended"] != FINISHED:
        return False
    wanted = json.loads(json.dumps({each.name: each.default for each in settings(config)}))
    other = {name: found["config"].get(name) for name in wanted if found["config"].get(name) != wanted[name]}
    if other:
        asked = {name: wanted[name] for name in other}
        raise BadInput(f"{run}: expected a training with {asked}, got {other}; name another folder, or remove this one")
    return True


def training_facts(run: Path) -> dict[str, Any]:
    """How far a training came."""
    found = json.loads((run / "metrics.json").read_text())
    return {name: found[name] for name in ("step", "samples", "seconds", "parameters")}
