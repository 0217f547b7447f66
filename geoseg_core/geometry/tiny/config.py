"""Sizes of the small geometry network."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.geometry.vggt.config import AggregatorConfig


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the network; images are scaled by 1/2, 1/4, 1/8 and 1/16 on their way to tokens."""

    channels: tuple = setting((32, 48, 96), "channels of the convolutions at 1/2, 1/4 and 1/8 of the size", low=8)
    width: int = setting(256, "channels of a token, at 1/16 of the size", low=32)
    aggregator: AggregatorConfig = field(
        default_factory=lambda: AggregatorConfig(depth=4, heads=4, mlp_ratio=4.0, registers=3)
    )
    fused: tuple = setting((48, 96), "channels of the decoder at 1/4 and 1/8 of the size", low=8)
    coarse: int = setting(64, "numbers that describe a place at 1/8 of the size", low=8)
    fine: int = setting(32, "numbers that describe a place at 1/4 of the size", low=8)
