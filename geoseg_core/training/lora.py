"""Low-rank adaptation: chosen linear layers stay as they are, and something small beside them learns.

    W x + b  becomes  W x + b + (alpha / rank) B A x,   A (rank, inputs) random, B (outputs, rank) zero at first

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2022), through peft (extra [train]). What is learned
can be added to W afterwards, so that the released weights are those of the plain model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from geoseg_core.config import setting
from geoseg_core.errors import BadConfig, MissingExtra

# peft's names: of what it keeps of an adapted layer, and of what it adds.
BASE, ADDED, ADAPTER = ".base_layer.", ".lora_", "default"


@dataclass(frozen=True)
class LoraConfig:
    """Which layers are adapted, and how much."""

    rank: int = setting(32, "rank of what is learned beside each adapted layer; 0 = nothing is adapted", low=0)
    alpha: int = setting(32, "what is learned counts this much over the rank", low=0)
    layers: tuple = setting(("attn.qkv", "attn.proj"), "linear layers of each block that are adapted")


def adapt(model: nn.Module, blocks: Sequence[str], config: LoraConfig) -> list[str]:
    """Adapt linear layers in place, and leave all else of their blocks as it is.

    Args:
        blocks: names of the lists of blocks in the model, such as "aggregator.frame_blocks".

    Returns:
        The names of the layers; none with rank 0, which changes nothing.

    Raises:
        BadConfig: a layer that no block has.
        MissingExtra: peft is not installed.
    """
    if not config.rank:
        return []
    names = [name for layer in config.layers for name in _layers(model, blocks, layer)]
    _inject(model, names, config)
    for name, value in model.named_parameters():
        if name.startswith(tuple(f"{block}." for block in blocks)):
            value.requires_grad_(ADDED in name)
    return names


def own_names(model: nn.Module) -> dict[str, str]:
    """The names that the tensors of the model without adaptation have, and those that they have in this one."""
    return {name.replace(BASE, "."): name for name in model.state_dict() if ADDED not in name}


def with_own_names(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the model without adaptation, named as in this one, and what is added beside them as it is now."""
    own = own_names(model)
    added = {name: value for name, value in model.state_dict().items() if ADDED in name}
    return added | {own.get(name, name): value for name, value in tensors.items()}


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the model without adaptation that computes the same."""
    state = model.state_dict()
    merged = {plain: state[name].detach() for plain, name in own_names(model).items()}
    for name in state:
        if name.endswith(f"{BASE}weight"):
            layer = model.get_submodule(name.removesuffix(f"{BASE}weight"))
            merged[name.replace(BASE, ".")] = state[name].detach() + layer.get_delta_weight(ADAPTER).detach()  # type: ignore[operator]
    return merged


def _layers(model: nn.Module, blocks: Sequence[str], layer: str) -> list[str]:
    """The names of a layer in all blocks."""
    wanted = re.compile(rf"(?:{'|'.join(map(re.escape, blocks))})\.\d+\.{re.escape(layer)}")
    names = [name for name, module in model.named_modules() if wanted.fullmatch(name) and isinstance(module, nn.Linear)]
    if not names:
        raise BadConfig(f"lora.layers: expected linear layers of the blocks {list(blocks)}, got {layer!r}")
    return names


def _inject(model: nn.Module, names: Sequence[str], config: LoraConfig) -> None:
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("low-rank adaptation (lora.rank above 0)", "train") from error
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules="|".join(map(re.escape, names)), lora_dropout=0.0
    )
    peft.inject_adapter_in_model(settings, model)
    # peft leaves nothing but its own to be trained.
    for value in trained.values():
        value.requires_grad_(True)
