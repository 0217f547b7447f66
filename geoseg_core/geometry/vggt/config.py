"""Sizes of VGGT; the defaults are those of the released VGGT-1B."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.vit import VitConfig

HEADS = ("camera", "depth", "points", "tracks")


@dataclass(frozen=True)
class AggregatorConfig:
    """Sizes of the alternating attention."""

    depth: int = setting(24, "pairs of a frame block and a global block", low=1)
    heads: int = setting(16, "attention heads", low=1)
    mlp_ratio: float = setting(4.0, "hidden width of the MLPs over the width", low=0.5)
    registers: int = setting(4, "register tokens of a frame", low=0)
    rotary_base: float = setting(100.0, "base of the rotary angles", low=1.0)


@dataclass(frozen=True)
class CameraHeadConfig:
    """Sizes of the camera head."""

    depth: int = setting(4, "transformer blocks", low=1)
    heads: int = setting(16, "attention heads", low=1)
    iterations: int = setting(4, "refinements", low=1)


@dataclass(frozen=True)
class TrackHeadConfig:
    """Sizes of the track head; its feature maps are made by a DPT."""

    features: DptConfig = field(default_factory=lambda: DptConfig(features=128))
    down_ratio: int = setting(2, "pixels of the image for one of the feature map", low=1)
    stride: int = setting(2, "pixels for one unit of the tracker's coordinates", low=1)
    iterations: int = setting(4, "refinements", low=1)
    levels: int = setting(7, "levels of the correlation pyramid", low=1)
    radius: int = setting(4, "correlations reach this far around a point", low=0)
    hidden: int = setting(384, "width of the update transformer", low=8)
    depth: int = setting(6, "rounds of attention over time and over points", low=1)
    heads: int = setting(8, "attention heads", low=1)
    virtual_tracks: int = setting(64, "learned tracks through which points see each other", low=1)
    max_scale: float = setting(518.0, "flows are divided by this", unit="px", low=1.0)


@dataclass(frozen=True)
class VggtConfig:
    """Sizes of the whole model."""

    image_size: int = setting(518, "nominal side that fixes the grid of position embeddings", unit="px", low=14)
    patch: int = setting(14, "side of a patch", unit="px", low=1)
    width: int = setting(1024, "channels of a token; heads see twice as many", low=8)
    patch_embed: VitConfig = field(default_factory=VitConfig)
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    camera_head: CameraHeadConfig = field(default_factory=CameraHeadConfig)
    depth_head: DptConfig = field(default_factory=DptConfig)
    point_head: DptConfig = field(default_factory=DptConfig)
    track_head: TrackHeadConfig = field(default_factory=TrackHeadConfig)
    heads: tuple = setting(HEADS, "the heads that are built", choices=HEADS)
