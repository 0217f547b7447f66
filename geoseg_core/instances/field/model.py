"""IGGT: VGGT with a feature for each pixel that tells instances apart, the same in every view.

Li et al., "IGGT: Instance-Grounded Geometry Transformer for Semantic 3D Reconstruction" (2026); parameters are named as
in the released model. Departures from it, without a change of results: what it computes and throws away is left out,
frames are taken a few at a time with any number of them (the release fails beyond 12), and image sides need only be
multiples of the patch, not of two patches.
"""

import torch
from torch import Tensor

from geoseg_core.errors import BadConfig
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.geometry.vggt.model import FRAME_CHUNK, Vggt
from geoseg_core.instances.field.adaptor import Adaptor
from geoseg_core.instances.field.config import IggtConfig
from geoseg_core.instances.field.part_head import PartHead


class Iggt(Vggt):
    """A Vggt whose token layers also give instance features.

    Raises:
        BadConfig: a configuration without the point head, whose maps the part head reads, or with maps whose channels
            the heads or windows of the part head do not divide.
    """

    config: IggtConfig

    def __init__(self, config: IggtConfig | None = None) -> None:
        config = config or IggtConfig()
        if "points" not in config.heads:
            raise BadConfig(f"heads: expected 'points' among them, which the part head reads, got {config.heads}")
        check_divisible(config)
        super().__init__(config)
        width, features = 2 * config.width, config.point_head.features
        self.part_adaptor = Adaptor(config.adaptor, width)
        self.part_head = PartHead(config.part_head, width, features, config.adaptor.channels, patch=config.patch)

    def layers_of_field(self) -> set[int]:
        """The token layers that `field` reads."""
        return {*self.config.point_head.layers, *self.config.adaptor.layers}

    def field(self, tokens: TokenLayers, frame_chunk: int = FRAME_CHUNK) -> Tensor:
        """Instance features (B, S, outputs, H, W), not normalised, `frame_chunk` frames at a time."""
        config, dtype = self.config, self.part_adaptor.norm.weight.dtype
        instance, geometry = tokens.patches(config.adaptor.layers), tokens.patches(config.point_head.layers)
        chunks = []
        with torch.autocast(instance[0].device.type, enabled=False):
            for start in range(0, instance[0].shape[0], frame_chunk):
                part = slice(start, start + frame_chunk)
                maps = self.part_adaptor([each[part].to(dtype) for each in instance], tokens.grid)
                fused = self._geometry_maps([each[part].to(dtype) for each in geometry], tokens.grid)
                chunks.append(self.part_head(maps, fused, tokens.grid))
        batch = tokens.layers[config.adaptor.layers[0]].shape[0]
        return torch.cat(chunks).unflatten(0, (batch, -1))

    def _geometry_maps(self, layers: list[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """The fused maps of the point head at 4, 2 and 1 times the patch grid."""
        head = self.point_head
        return head.scratch(head.scales(layers, grid))[1:]


def check_divisible(config: IggtConfig) -> None:
    """Refuse channels of the fused maps that cannot be divided as the part head does.

    Raises:
        BadConfig: see above.
    """
    head, features = config.part_head, config.point_head.features
    parts = {"cross_heads": head.cross_heads, "window_heads": 2 * head.window_heads}
    if head.scrambled:
        parts["window"] = head.window
    for name, part in parts.items():
        if features % part:
            wanted = f"a multiple of {part} (of part_head.{name})"
            raise BadConfig(f"point_head.features: expected {wanted}, got {features}; change either")
