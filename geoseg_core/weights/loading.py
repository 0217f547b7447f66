"""Checkpoints into models: tensors that fit a model exactly, or are refused with the list of what does not."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.weights.header import read_header

# Wrappers of training code put these before every name.
PREFIXES = ("module.",)
LISTED = 20


def load_state(path: Path | str) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, on the CPU, as stored.

    Raises:
        BadInput: not a whole, consistent safetensors file.
    """
    return _read(path, {name: name for name in read_header(path)}, None)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], prefixes: tuple[str, ...] = PREFIXES) -> None:
    """Give a module (also one built on the meta device) exactly its tensors; they are taken over, not copied.

    Args:
        prefixes: beginnings that are taken off the names in the state.

    Raises:
        BadInput: missing, extra or mis-shaped tensors, all named; the module is unchanged.
    """
    names = plain_names(state, "state", prefixes)
    shapes = {name: tuple(state[stored].shape) for name, stored in names.items()}
    check_tensors(shapes, expected_shapes(module), "state")
    module.load_state_dict({name: state[stored] for name, stored in names.items()}, strict=True, assign=True)


def load_checkpoint(
    model: nn.Module, path: Path | str, dtype: torch.dtype | None = None, unused: tuple[str, ...] = ()
) -> None:
    """Read a safetensors file into a model (also one built on the meta device), tensor by tensor, strictly.

    Args:
        dtype: the type that floating tensors get; as stored if None.
        unused: beginnings of names that the file may hold for modules this configuration leaves out.

    Raises:
        BadInput: no safetensors file, or missing, extra or mis-shaped tensors, all named.
    """
    header = read_header(path)
    names = plain_names(header, str(path))
    wanted = {name: stored for name, stored in names.items() if not any(map(name.startswith, unused))}
    check_tensors({name: header[stored].shape for name, stored in wanted.items()}, expected_shapes(model), str(path))
    model.load_state_dict(_read(path, wanted, dtype), strict=True, assign=True)


def expected_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of the model holds."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def plain_names(stored: Iterable[str], where: str, prefixes: tuple[str, ...] = PREFIXES) -> dict[str, str]:
    """Map each tensor's name without its training prefix to its stored name.

    Raises:
        BadInput: two stored names mean the same tensor.
    """
    names: dict[str, str] = {}
    for name in stored:
        plain = name
        for prefix in prefixes:
            plain = plain.removeprefix(prefix)
        if plain in names:
            raise BadInput(
                f"{where}: expected each tensor once, got both {names[plain]!r} and {name!r}; "
                "remove the one that is not meant"
            )
        names[plain] = name
    return names


def check_tensors(got: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Compare names and shapes.

    Raises:
        BadInput: lists what is missing, extra or mis-shaped.
    """
    missing = [name for name in wanted if name not in got]
    extra = [name for name in got if name not in wanted]
    shaped = [f"{name} {got[name]} for {shape}" for name, shape in wanted.items() if name in got and got[name] != shape]
    problems = [_listed("missing", missing), _listed("extra", extra), _listed("mis-shaped", shaped)]
    if any(problems):
        raise BadInput(
            f"{where}: expected the {len(wanted)} tensors of the model, got {len(got)}: "
            f"{'; '.join(filter(None, problems))}; take the checkpoint or the configuration that fits"
        )


def _listed(label: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)} {label} ({', '.join(names[:LISTED])}{more})"


def _read(path: Path | str, names: Mapping[str, str], dtype: torch.dtype | None) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: _cast(file.get_tensor(stored), dtype) for name, stored in names.items()}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: expected a safetensors file, got {error}; fetch or convert it again") from error


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
