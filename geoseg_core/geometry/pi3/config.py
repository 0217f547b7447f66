"""Sizes of Pi3 and Pi3X; the defaults are those of the released checkpoints."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.layers.vit import VitConfig


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder: blocks within frames and over all frames in turn."""

    depth: int = setting(36, "blocks", low=2)
    heads: int = setting(16, "attention heads", low=1)
    mlp_ratio: float = setting(4.0, "hidden width of the MLPs over the width", low=0.5)
    registers: int = setting(5, "register tokens of a frame", low=0)
    rotary_base: float = setting(100.0, "base of the rotary angles", low=1.0)


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the three head decoders."""

    depth: int = setting(5, "blocks", low=1)
    width: int = setting(1024, "channels", low=8)
    heads: int = setting(16, "attention heads", low=1)
    dense_out: int = setting(1024, "channels that the point and confidence decoders give", low=8)
    camera_out: int = setting(512, "channels that the camera decoder gives", low=8)


@dataclass(frozen=True)
class ConvHeadConfig:
    """Sizes of the convolutional heads of Pi3X."""

    channels: tuple = setting((256, 128, 64), "channels of each stage", low=1)
    residuals: int = setting(2, "residual blocks of a stage", low=0)
    hidden_ratio: int = setting(2, "hidden channels of a residual block over its channels", low=1)
    last: int = setting(32, "channels before the last convolution", low=1)


@dataclass(frozen=True)
class MetricConfig:
    """Sizes of the metric scale decoder of Pi3X."""

    depth: int = setting(5, "blocks", low=1)
    width: int = setting(512, "channels", low=8)
    heads: int = setting(8, "attention heads", low=1)


@dataclass(frozen=True)
class Pi3Config:
    """Sizes of Pi3."""

    image_size: int = setting(518, "nominal side that fixes the grid of position embeddings", unit="px", low=14)
    patch: int = setting(14, "side of a patch", unit="px", low=1)
    width: int = setting(1024, "channels of a token", low=8)
    encoder: VitConfig = field(default_factory=VitConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)


@dataclass(frozen=True)
class Pi3XConfig(Pi3Config):
    """Sizes of Pi3X."""

    conv_head: ConvHeadConfig = field(default_factory=ConvHeadConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    pose_after: tuple = setting((1, 9, 17, 25, 33), "decoder blocks after which poses are injected, from 0", low=0)
    conditions: bool = setting(True, "whether depth, rays and poses can be given")
