"""Scenes of VGGT whose weights also say something of instances."""

from typing import TypeVar

from geoseg_core.errors import BadInput
from geoseg_core.geometry.alignment.aligner import as_encoded
from geoseg_core.geometry.encoder import EncodedScene
from geoseg_core.geometry.vggt.encoder import VggtScene
from geoseg_core.geometry.vggt.model import Vggt

Model = TypeVar("Model", bound=Vggt)


def vggt_scene(scene: EncodedScene, kind: type[Model], weights: str) -> tuple[VggtScene, Model]:
    """VGGT's scene behind a scene, and its model.

    Args:
        kind: what the model must be; weights: whose these are, for the message.

    Raises:
        BadInput: a scene of another encoder, or of VGGT with other weights.
    """
    inner = as_encoded(scene)
    if not isinstance(inner, VggtScene) or not isinstance(model := inner.encoder.model, kind):
        raise BadInput(
            f"expected a scene of the encoder vggt with weights of {weights}, got {type(inner).__name__}; take "
            f"geometry.encoder=vggt and such weights in geometry.weights"
        )
    return inner, model
