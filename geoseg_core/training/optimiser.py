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
    """Leave parameters whose names begin so as they are, beside those that the model itself leaves as they are.

    Raises:
        BadConfig: a beginning that no parameter has, or nothing is left to train.
    """
    _check_beginnings(model, "frozen", beginnings)
    for name, value in model.named_parameters():
        if name.startswith(beginnings):
            value.requires_grad_(False)
    if not any(value.requires_grad for value in model.parameters()):
        raise BadConfig(f"optimiser.frozen: expected something left to train, {list(beginnings)} are all parameters")


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW whose decay spares norms, biases and all else that is no matrix.

    The "share" of each group is what its learning rate is over the highest one.

    Raises:
        BadConfig: a beginning of slow parameters that no parameter has.
    """
    _check_beginnings(model, "slow", config.slow)
    trained = [(name.startswith(config.slow), value) for name, value in model.named_parameters() if value.requires_grad]
    groups = []
    for slow in (False, True) if config.slow else (False,):
        share = config.slow_rate if slow else 1.0
        for matrix in (True, False):
            values = [value for is_slow, value in trained if is_slow == slow and _is_matrix(value) == matrix]
            decay = config.weight_decay if matrix else 0.0
            rate = share * config.learning_rate
            groups.append({"params": values, "weight_decay": decay, "lr": rate, "share": share})
    device = next(model.parameters()).device
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=device.type in FUSED)


def _check_beginnings(model: nn.Module, setting: str, beginnings: tuple[str, ...]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise BadConfig(f"optimiser.{setting}: expected beginnings of parameter names, got {beginning!r}")


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
