"""Which method finds instances, and with what weights. The networks, and torch with them, are imported only when one
is chosen."""

from dataclasses import dataclass

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, device_named
from geoseg_core.instances.field.cluster_config import SMALL_CLUSTERS, FieldClusterConfig
from geoseg_core.instances.finder import InstanceFinder
from geoseg_core.instances.found_segmenter import FoundSegmenter
from geoseg_core.instances.segmenter import InstanceConfig, InstanceSegmenter, Segmenter
from geoseg_core.weights.chosen import ChosenWeights, choose_weights

# The instance network that was made for an encoder's features.
NETWORKS = {"tiny": "tiny-instances"}
MEASURED = "rgbd"


@dataclass(frozen=True)
class ChosenSegmenter:
    """What finds instances, and its weights if it has any."""

    segmenter: Segmenter
    weights: ChosenWeights | None = None


def choose_segmenter(config: InstanceConfig, geometry: GeometryConfig) -> ChosenSegmenter:
    """What finds instances by the configured method.

    Raises:
        BadInput: weights that are not here or do not fit.
        BadConfig: a method that needs other features than the encoder gives.
    """
    if config.method in ("queries", "field") and geometry.encoder == "vggt":
        finder = queries_of_segvggt(config) if config.method == "queries" else field_of_iggt(config)
        return ChosenSegmenter(FoundSegmenter(config, finder))
    weights = None if config.method == MEASURED else network_weights(config, geometry)
    if weights is None:
        return ChosenSegmenter(InstanceSegmenter(config))
    from geoseg_core.instances.tiny.loading import load_finder

    method = "queries" if config.method == "auto" else config.method
    finder = load_finder(method, weights.path, config.queries, config.field, device_named(geometry.device))
    return ChosenSegmenter(FoundSegmenter(config, finder), weights)


def field_of_iggt(config: InstanceConfig) -> InstanceFinder:
    """The instance field that VGGT has with weights of IGGT; settings that nobody changed are those of its authors."""
    from geoseg_core.instances.field.finder import IggtField

    clusters = FieldClusterConfig() if config.field == SMALL_CLUSTERS else config.field
    return IggtField(clusters, config.support)


def queries_of_segvggt(config: InstanceConfig) -> InstanceFinder:
    """The object queries that VGGT has with weights of SegVGGT."""
    from geoseg_core.instances.queries.finder import SegVggtQueries

    return SegVggtQueries(config.queries)


def network_weights(config: InstanceConfig, geometry: GeometryConfig) -> ChosenWeights | None:
    """The weights of the instance network; None where there are none and nobody insists. The usual ones read the
    features of the encoder's usual weights: with others they are not taken unless they are asked for.

    Raises:
        BadInput, BadConfig: as `choose_segmenter`.
    """
    encoder = geometry.encoder
    usual = encoder in NETWORKS and geometry.weights in ("", CHOICES[encoder].weights[0])
    named = encoder in NETWORKS and config.weights
    if config.method == "auto" and not (usual or named):
        return None
    if encoder not in NETWORKS:
        raise BadConfig(
            f"instances.method: for {config.method}, expected an encoder whose features the instance network reads "
            f"({', '.join(NETWORKS)}), got {encoder!r}; choose one of those, vggt with weights of SegVGGT for "
            "queries or of IGGT for a field, or the method rgbd"
        )
    try:
        return choose_weights(config.weights or NETWORKS[encoder])
    except BadInput:
        if config.method == "auto" and not config.weights:
            return None
        raise
