"""The contract between a recipe and the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from geoseg_core.datasets.sample import Sample
from geoseg_core.training.config import TrainingConfig
from geoseg_core.training.lora import with_own_names
from geoseg_core.weights.loading import load_strict, plain_names

# Seeds below are for evaluation alone: no training ever sees them.
HELD_OUT_SEEDS = 1_000_000
SEEDS_OF_A_RUN = 10**12


class Task(ABC):
    """One thing to train: its model, its data, its loss.

    The loop seeds torch before each step with the step's number, so whatever a loss draws is drawn again when a step is
    repeated or resumed; no method may keep state from one step to the next. Losses, metrics and pictures run under
    the loop's autocast; `model` is always the bare module, on the device of the batch.

    Attributes:
        config: the recipe's settings.
        data_on_device: samples are best made on the training device, in the loop itself (a ray caster on a GPU).
    """

    data_on_device = False

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config

    @abstractmethod
    def model(self) -> nn.Module:
        """A new model on the CPU, its random weights drawn from torch's global generator."""

    def load(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        """Give a new model the weights of the file `loop.weights`, in float32; they may be those before an adaptation.

        Raises:
            BadInput: they are not those of this model.
        """
        given = {name: tensors[stored] for name, stored in plain_names(tensors, "weights").items()}
        load_strict(model, with_own_names(model, given))

    @abstractmethod
    def batch(self, step: int, seeds: Sequence[int], device: torch.device) -> Sample:
        """The samples with these seeds, as one batch. It depends on (step, seeds) alone; the number of views, say, may
        change with the step."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Sample, step: int) -> dict[str, Tensor]:
        """Scalars by name; "total" is minimised, the others are logged. Means over the batch."""

    def held_out(self, seeds: Sequence[int], device: torch.device) -> Sample:
        """Held-out samples; the same kind of data with seeds below HELD_OUT_SEEDS."""
        return self.batch(self.config.schedule.steps, seeds, device)

    @abstractmethod
    def metrics(self, model: nn.Module, batch: Sample) -> dict[str, float]:
        """Figures of held-out samples, by name; means over the batch. Called without gradients, with the averaged
        weights."""

    @abstractmethod
    def picture(self, model: nn.Module, batch: Sample) -> np.ndarray:
        """(H, W, 3) uint8 RGB: what the model says of held-out samples, beside the truth."""

    def stored(self) -> dict[str, str]:
        """What the released weights' metadata say of the network, such as its sizes."""
        return {}

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of the released weights, from the model with its averaged weights."""
        return {name: value.detach().contiguous() for name, value in model.state_dict().items()}


def step_seeds(run_seed: int, step: int, batch: int) -> list[int]:
    """The seeds of the samples of a step (steps count from 0): each sample of a run has its own, none is held out."""
    first = HELD_OUT_SEEDS + run_seed * SEEDS_OF_A_RUN + step * batch
    return list(range(first, first + batch))


def held_out_seeds(count: int, first: int = 0) -> list[int]:
    """Seeds that no training sees."""
    return list(range(first, first + count))
