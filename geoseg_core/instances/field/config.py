"""Sizes of IGGT; the defaults are those of the released model."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.geometry.vggt.config import VggtConfig


@dataclass(frozen=True)
class AdaptorConfig:
    """Sizes of the adaptor, which makes maps at four scales of the token layers."""

    channels: tuple = setting((256, 256, 256, 256), "channels of the four maps", low=1)
    layers: tuple = setting((4, 11, 17, 23), "token layers that are read, from 0", low=0)


@dataclass(frozen=True)
class PartHeadConfig:
    """Sizes of the part head; its fused maps have as many channels as those of the point head."""

    outputs: int = setting(8, "channels of a pixel's instance feature", low=1)
    cross_heads: int = setting(8, "heads of the attention to the coarsest geometry map", low=1)
    window_heads: int = setting(4, "heads of the attention in windows", low=1)
    window: int = setting(8, "side of a window; those of keys are half as large again", choices=(4, 8, 16, 32))
    unused_channels: tuple = setting(
        (256, 512, 1024, 1024), "channels of projections that a checkpoint holds without using them; () for none", low=1
    )


@dataclass(frozen=True)
class IggtConfig(VggtConfig):
    """Sizes of the whole model."""

    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    part_head: PartHeadConfig = field(default_factory=PartHeadConfig)
