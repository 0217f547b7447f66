"""The small network as recipes use it that train something on its features: whole, and as it is."""

import torch

from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.tiny.model import TinyGeometry
from geoseg_core.weights.chosen import choose_weights, stored_config
from geoseg_core.weights.loading import load_checkpoint


def frozen_encoder(weights: str) -> TinyGeometry:
    """The network of some weights (a name of `geoseg weights list`, or a file), in float32, without gradients.

    Raises:
        BadInput: no such weights, or those of another network.
    """
    path = choose_weights(weights).path
    encoder = TinyGeometry(stored_config(path, TinyConfig())).eval().requires_grad_(False)
    load_checkpoint(encoder, path, torch.float32)
    return encoder
