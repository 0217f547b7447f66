"""AdamW over the trained parameters, and the learning rate at any point of the training."""

import math

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadConfig
from geoseg_core.training.config import OptimiserConfig, ScheduleConfig

# Devices whose AdamW updates all in one pass.
FUSED = ("cpu", "cuda")
MOMENTS = {"mean": "exp_avg", "square": "exp_avg_sq", "count": "step"}


def freeze(model: nn.Module, beginnings: tuple[str, ...]) -> None:
    """Leave parameters whose names begin so as they are.

    Raises:
        BadConfig: a beginning that no parameter has, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise BadConfig(f"optimiser.frozen: expected beginnings of parameter names, got {beginning!r}")
    for name, value in model.named_parameters():
        value.requires_grad_(not name.startswith(beginnings) if beginnings else True)
    if not any(value.requires_grad for value in model.parameters()):
        raise BadConfig(f"optimiser.frozen: expected something left to train, {list(beginnings)} are all parameters")


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW whose decay spares norms, biases and all else that is no matrix."""
    trained = [value for value in model.parameters() if value.requires_grad]
    matrices = [value for value in trained if _is_matrix(value)]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": [value for value in trained if not _is_matrix(value)], "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=device.type in FUSED)


def _is_matrix(value: Tensor) -> bool:
    """More than one axis longer than 1; tokens (1, 1, C) are vectors."""
    return sum(size > 1 for size in value.shape) > 1


def rate_factor(done: float, schedule: ScheduleConfig) -> float:
    """Learning rate over the highest after a part `done` (0 to 1) of the training."""
    if done < schedule.warmup:
        return done / schedule.warmup
    along = min((done - schedule.warmup) / max(1 - schedule.warmup, 1e-9), 1.0)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * along))


def moments_of(optimiser: torch.optim.AdamW, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's memory as named tensors; parameters that never had a gradient have none."""
    return {
        f"{short}.{name}": optimiser.state[value][long]
        for name, value in model.named_parameters()
        if value in optimiser.state
        for short, long in MOMENTS.items()
    }


def give_moments(optimiser: torch.optim.AdamW, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """The inverse of `moments_of`."""
    for name, value in model.named_parameters():
        if f"count.{name}" in tensors:
            state = {
                long: tensors[f"{short}.{name}"].to(value.device if short != "count" or _fused(optimiser) else "cpu")
                for short, long in MOMENTS.items()
            }
            optimiser.state[value] = {key: each.float().clone() for key, each in state.items()}


def _fused(optimiser: torch.optim.AdamW) -> bool:
    return bool(optimiser.defaults["fused"])
