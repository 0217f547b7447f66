"""The weights that somebody chose: which file, under which licence, and of what size the network is.

A file that is not of a published size says so itself: its metadata hold the network's configuration as JSON under
`config`, with the names of the configuration's fields; what it leaves out has the published size.
"""

import json
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from geoseg_core.config import Setting
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.weights.header import read_metadata
from geoseg_core.weights.registry import CHECKPOINTS, checkpoint_named
from geoseg_core.weights.store import shipped_files, stored_files, weights_file

CONFIG, LICENCE, SOURCE = "config", "licence", "source_sha256"
UNKNOWN_LICENCE = "not known: ask whoever made the file"
# No size of a network comes near; a larger one in a file would only take time before its tensors are looked at.
LARGEST = 100_000
Config = TypeVar("Config")


@dataclass(frozen=True)
class ChosenWeights:
    """A safetensors file with the name that it was chosen by and its licence in one line."""

    name: str
    path: Path
    licence: str

    def __str__(self) -> str:
        return f"weights {self.name} ({self.path}), licence: {self.licence}"


def choose_weights(words: str) -> ChosenWeights:
    """The file of a checkpoint that is shipped or registered, by its name, or a file by its path.

    Raises:
        BadInput: no such checkpoint or file, or a checkpoint that is not here; the message says how to get it.
    """
    path = Path(words).expanduser()
    if path.suffix != ".safetensors" and not path.is_file():
        if words in (here := shipped_files()):
            return ChosenWeights(words, here[words], licence_of(here[words]))
        checkpoint = checkpoint_named(words)
        return ChosenWeights(checkpoint.name, weights_file(words), checkpoint.licence)
    return ChosenWeights(path.stem, path, licence_of(path))


def licence_of(path: Path) -> str:
    """The licence of a file: as the registry says of what is in the store or made of it, else as the file says.

    Raises:
        BadInput: not a safetensors file.
    """
    metadata = read_metadata(path)
    for checkpoint in CHECKPOINTS:
        made_of_it = checkpoint.sha256 is not None and metadata.get(SOURCE) == checkpoint.sha256
        if made_of_it or path in stored_files(checkpoint):
            return checkpoint.licence
    return metadata.get(LICENCE, UNKNOWN_LICENCE)


def config_metadata(config: Any) -> dict[str, str]:
    """What to write into a safetensors file's metadata, so that its network can be built again."""
    return {CONFIG: json.dumps(asdict(config))}


def stored_config(path: Path, default: Config) -> Config:
    """The configuration in a file's metadata, laid over `default`; `default` where there is none.

    Raises:
        BadInput: not a safetensors file, or a configuration that is none of this network's.
    """
    text = read_metadata(path).get(CONFIG)
    if text is None:
        return default
    try:
        return _overlaid(default, json.loads(text), "")
    except (ValueError, RecursionError, BadConfig) as error:
        raise BadInput(
            f"{path}: expected in its metadata the configuration of a {type(default).__name__}, got {error}; "
            "choose the encoder that it was made for"
        ) from error


def _overlaid(default: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise BadConfig(f"{prefix or CONFIG}: expected an object, got {values!r:.80}")
    unknown = sorted(set(values) - {each.name for each in fields(default)})
    if unknown:
        raise BadConfig(f"unknown {[prefix + name for name in unknown]}")
    changed = {}
    for each in fields(default):
        if each.name not in values:
            continue
        old, name = getattr(default, each.name), f"{prefix}{each.name}"
        if is_dataclass(old):
            changed[each.name] = _overlaid(old, values[each.name], f"{name}.")
            continue
        value = Setting(name, old, **each.metadata).check(values[each.name])
        numbers = [number for number in (value if isinstance(value, tuple) else (value,)) if type(number) is int]
        if any(number > LARGEST for number in numbers):
            raise BadConfig(f"{name}: expected at most {LARGEST}, got {value!r}")
        changed[each.name] = value
    return replace(default, **changed)
