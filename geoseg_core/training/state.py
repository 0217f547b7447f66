"""All of a training that a checkpoint holds, as named tensors, and the way back."""

import torch
from torch import Tensor

from geoseg_core.training.optimiser import give_moments, moments_of
from geoseg_core.training.stepper import Stepper
from geoseg_core.weights.loading import check_tensors

MODEL, AVERAGE, OPTIMISER = "model.", "average.", "optimiser."


def state_tensors(stepper: Stepper, compact: bool = False) -> dict[str, Tensor]:
    """Weights, averages and moments. Frozen weights that came from a file are left out: they are read from it again.

    Args:
        compact: averages and moments in bfloat16.
    """
    own = _own_weights(stepper)
    averages = stepper.averages.values
    moments = moments_of(stepper.optimiser, stepper.model)
    memory = {f"{AVERAGE}{name}": value for name, value in averages.items()}
    memory |= {f"{OPTIMISER}{name}": value for name, value in moments.items()}
    if compact:
        memory = {name: value.to(torch.bfloat16) if value.ndim else value for name, value in memory.items()}
    return {f"{MODEL}{name}": value for name, value in own.items()} | memory


def give_state(stepper: Stepper, tensors: dict[str, Tensor], where: str) -> None:
    """The inverse of `state_tensors`.

    Raises:
        BadInput: the tensors are not those of this model.
    """
    own = _own_weights(stepper)
    weights = _named(tensors, MODEL)
    wanted = {name: tuple(value.shape) for name, value in own.items()}
    check_tensors({name: tuple(value.shape) for name, value in weights.items()}, wanted, where)
    stepper.model.load_state_dict(weights, strict=False)
    averages = _named(tensors, AVERAGE)
    for name, value in stepper.averages.values.items():
        value.copy_(averages[name])
    give_moments(stepper.optimiser, stepper.model, _named(tensors, OPTIMISER))


def _own_weights(stepper: Stepper) -> dict[str, Tensor]:
    frozen = {name for name, value in stepper.model.named_parameters() if not value.requires_grad}
    left_out = frozen if stepper.task.config.loop.weights else set()
    return {name: value for name, value in stepper.model.state_dict().items() if name not in left_out}


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
