"""Configurations of parity fixtures: the published names of sizes, and what a fixture's file says beyond them.

A size that a fixture leaves out is that of the released model. A section (a module) or a size of a module that nobody
here knows is reported as a miss, since the numbers may depend on it; single entries outside the sections describe the
fixture (`seed`, for example) and are free.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row
from geoseg_core.layers.vit import VitConfig
from geoseg_core.weights.loading import load_strict

Config = TypeVar("Config")
Names = Mapping[str, str]

MODEL = {"img_size": "image_size", "patch_size": "patch", "embed_dim": "width"}
VIT = {
    "depth": "depth",
    "num_heads": "heads",
    "mlp_ratio": "mlp_ratio",
    "num_register_tokens": "registers",
}
TRUNK = VIT | {"rope_freq": "rotary_base"}


def sized(config_type: type[Config], names: Names, stored: Mapping[str, Any]) -> Config:
    """The sizes that a section gives, by their published names."""
    return config_type(**named(names, stored))


def named(names: Names, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The same as arguments."""
    return {
        ours: tuple(stored[theirs]) if isinstance(stored[theirs], list) else stored[theirs]
        for theirs, ours in names.items()
        if theirs in stored
    }


def model_sizes(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes that stand outside the sections.

    Raises:
        BadInput: a nominal size that is not square.
    """
    sizes = named(MODEL, stored)
    for name in ("image_size", "patch"):
        sides = sizes.get(name, 0)
        if isinstance(sides, tuple):
            if len(set(sides)) != 1:
                raise BadInput(f"expected a square {name}, got {sides}; input images may have any size")
            sizes[name] = sides[0]
    return sizes


def vit_config(stored: Mapping[str, Any]) -> VitConfig:
    """Sizes of a ViT."""
    return sized(VitConfig, VIT, stored)


def unknown_rows(config: Mapping[str, Any], sections: Mapping[str, Collection[str]]) -> list[Row]:
    """A miss for each section, and for each entry of a section, that is not known."""
    names = []
    for name, value in config.items():
        if isinstance(value, dict):
            names += [name] if name not in sections else [f"{name}.{key}" for key in value if key not in sections[name]]
    return [Row("", f"config {name}", None, 0.0, "UNKNOWN KEY") for name in names]


def batched(images: Tensor) -> Tensor:
    """Images (B, S, 3, H, W), whether the batch was written or not."""
    return images if images.ndim == 5 else images[None]


def has_module(fixture: Fixture, *modules: str) -> bool:
    """Whether the weights hold all these modules."""
    weights = fixture.tensors("weights")
    return all(any(name.startswith(f"{module}.") for name in weights) for module in modules)


def filled(model: Any, fixture: Fixture) -> Any:
    """The model with the weights of the fixture, without the modules that it omits, in evaluation mode.

    Raises:
        BadInput: the weights are not those of the model.
    """
    for path in fixture.config.get("omitted_modules", ()):
        parent, _, name = path.rpartition(".")
        holder = module_at(model, parent)
        if holder is not None and hasattr(holder, name):
            delattr(holder, name)
    load_strict(model, fixture.tensors("weights"))
    return model.eval()


def module_at(model: nn.Module, path: str) -> nn.Module | None:
    """The module of that name, or None."""
    return dict(model.named_modules()).get(path)


@contextmanager
def watched(model: nn.Module, stages: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """What modules give while the block runs: `stages` maps the name of a module to that of its output."""
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        return lambda module, inputs, output: seen.update({name: output})

    modules = dict(model.named_modules())
    handles = [modules[path].register_forward_hook(watch(name)) for path, name in stages.items() if path in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
