"""The instance network from a file of weights, ready to find things."""

from pathlib import Path

import torch

from geoseg_core.errors import BadConfig
from geoseg_core.instances.field.clustering import FieldClusterConfig
from geoseg_core.instances.finder import InstanceFinder
from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.finders import TinyField, TinyQueries
from geoseg_core.instances.tiny.model import TinyInstances
from geoseg_core.weights.chosen import stored_config
from geoseg_core.weights.loading import load_checkpoint

METHODS = ("queries", "field")


def load_finder(
    method: str,
    weights: Path,
    queries: QueryDecodingConfig,
    clusters: FieldClusterConfig,
    device: torch.device | str = "cpu",
) -> InstanceFinder:
    """The network of a file, read by its queries or by its field.

    Raises:
        BadInput: no weights of an instance network; BadConfig: no such method.
    """
    if method not in METHODS:
        raise BadConfig(f"expected a method of {METHODS}, got {method!r}")
    model = TinyInstances(stored_config(weights, TinyInstancesConfig()))
    load_checkpoint(model, weights, torch.float32)
    model = model.to(device)
    return TinyQueries(model, queries) if method == "queries" else TinyField(model, clusters)
