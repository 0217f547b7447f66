"""Sizes of IGGT, and where its paper and its release differ; the defaults are those of the released model."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.geometry.vggt.config import VggtConfig


@dataclass(frozen=True)
class AdaptorConfig:
    """Sizes of the adaptor, which makes maps at four scales of the token layers."""

    channels: tuple = setting((256, 256, 256, 256), "channels of the four maps", low=1)
    layers: tuple = setting((4, 11, 17, 23), "token layers that are read, from 0", low=0)


FUSIONS = ("released", "paper")


@dataclass(frozen=True)
class PartHeadConfig:
    """Sizes of the part head; its fused maps have as many channels as those of the point head.

    Li et al. (2026), section 3.2, is had by `fusion` "paper", `scrambled` False and `normalised` True.
    """

    outputs: int = setting(8, "channels of a pixel's instance feature", low=1)
    cross_heads: int = setting(8, "heads of the attention to the coarsest geometry map", low=1)
    window_heads: int = setting(4, "heads of the attention in windows", low=1)
    window: int = setting(8, "side of a window; those of keys are half as large again", choices=(4, 8, 16, 32))
    mlp_ratio: float = setting(4.0, "hidden width of the MLPs over the width", low=0.5)
    neck: int = setting(3, "the convolutions beside the attention in windows have so many times fewer channels", low=1)
    squeeze: int = setting(30, "and the gate of these convolutions so many times fewer", low=1)
    branch: float = setting(0.01, "weight of these convolutions beside the attention", low=0.0)
    closing: int = setting(64, "channels before the last convolution of a window module", low=1)
    hidden: int = setting(32, "channels before the last convolution of the head", low=1)
    unused_channels: tuple = setting(
        (256, 512, 1024, 1024), "channels of projections that a released checkpoint holds unused; () for none", low=1
    )
    fusion: str = setting(
        "released",
        "how geometry joins: as released, or as in the paper (at every scale, in shifted windows, added)",
        choices=FUSIONS,
    )
    scrambled: bool = setting(True, "queries of windows in the released order, in which an axis permutation is missing")
    normalised: bool = setting(False, "features of length one, as in the paper")


@dataclass(frozen=True)
class IggtConfig(VggtConfig):
    """Sizes of the whole model."""

    adaptor: AdaptorConfig = field(default_factory=AdaptorConfig)
    part_head: PartHeadConfig = field(default_factory=PartHeadConfig)
