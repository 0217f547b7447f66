"""The memory's two networks as one model, which is trained, stored and loaded as a whole."""

from pathlib import Path
from typing import Self

import torch
from torch import nn

from geoseg_core.memory.attention import MemoryAttention
from geoseg_core.memory.config import MemoryConfig
from geoseg_core.memory.encoder import MemoryEncoder
from geoseg_core.weights.chosen import stored_config
from geoseg_core.weights.loading import load_checkpoint


class TemporalMemory(nn.Module):
    """Memory encoder and memory attention of one configuration.

    Raises:
        BadConfig: sizes that do not fit each other.
    """

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.attention = MemoryEncoder(config), MemoryAttention(config)

    @classmethod
    def from_checkpoint(cls, path: Path) -> Self:
        """From a file of weights, which holds the sizes; in fp32, ready to be used.

        Raises:
            BadInput: no weights of a memory.
        """
        with torch.device("meta"):
            memory = cls(stored_config(path, MemoryConfig()))
        load_checkpoint(memory, path, torch.float32)
        return memory.eval()
