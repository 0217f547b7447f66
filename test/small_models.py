"""Small models with random weights, for tests that need no published numbers."""

from dataclasses import replace

import torch

from geoseg_core.geometry.pi3.config import (
    ConvHeadConfig,
    DecoderConfig,
    HeadConfig,
    MetricConfig,
    Pi3Config,
    Pi3XConfig,
)
from geoseg_core.geometry.pi3.model import Pi3
from geoseg_core.geometry.pi3.pi3x import Pi3X
from geoseg_core.geometry.tiny.config import TinyConfig
from geoseg_core.geometry.vggt.config import AggregatorConfig, CameraHeadConfig, TrackHeadConfig, VggtConfig
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.instances.field.config import AdaptorConfig, IggtConfig, PartHeadConfig
from geoseg_core.instances.field.model import Iggt
from geoseg_core.instances.queries.config import QueryConfig
from geoseg_core.instances.queries.segvggt import SegVggt, SegVggtConfig
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.layers.dpt import DptConfig
from geoseg_core.layers.vit import VitConfig
from geoseg_core.prompting.mv_sam.config import MvSamConfig
from geoseg_core.prompting.mv_sam.tiny import TinyMvSam, TinyMvSamConfig

VIT = VitConfig(depth=1, heads=2)
DPT = DptConfig(features=16, channels=(8, 8, 16, 16), layers=(0, 1, 1, 2))
VGGT = VggtConfig(
    image_size=42,
    width=32,
    patch_embed=VIT,
    aggregator=AggregatorConfig(depth=3, heads=2),
    camera_head=CameraHeadConfig(depth=1, heads=2, iterations=2),
    depth_head=DPT,
    point_head=DPT,
    track_head=TrackHeadConfig(DPT, iterations=2, levels=2, radius=2, hidden=16, depth=1, heads=2, virtual_tracks=4),
)
IGGT = IggtConfig(
    **{**VGGT.__dict__, "point_head": DptConfig(features=64, channels=(8, 8, 16, 16), layers=(0, 1, 1, 2))},
    adaptor=AdaptorConfig(channels=(8, 8, 16, 16), layers=(0, 1, 2, 2)),
    part_head=PartHeadConfig(unused_channels=(4, 4, 8, 8)),
)
SEGVGGT = SegVggtConfig(
    **{**VGGT.__dict__, "heads": ("camera", "depth")},
    feature_head=DPT,
    queries=QueryConfig(token_width=32, token_layers=3, queries=6, width=24, heads=2, features=16),
)
TINY = TinyConfig(
    channels=(16, 16, 16), width=32, aggregator=AggregatorConfig(depth=2, heads=2), fused=(16, 16), coarse=8, fine=8
)
MV_SAM = TinyMvSamConfig(
    TinyInstancesConfig(2, 8, 16, (32, 32, 32), queries=QueryConfig(token_width=32, token_layers=3, features=16)),
    MvSamConfig(image=32, fine=25, width=32, inner=16, hidden=32, heads=2),
)
SHARED = {
    "image_size": 42,
    "width": 32,
    "encoder": VIT,
    "decoder": DecoderConfig(depth=4, heads=2),
    "heads": HeadConfig(depth=1, width=32, heads=2, dense_out=32, camera_out=16),
}
PI3 = Pi3Config(**SHARED)
PI3X = Pi3XConfig(
    **SHARED,
    conv_head=ConvHeadConfig(channels=(16, 16, 16)),
    metric=MetricConfig(depth=1, width=16, heads=2),
    pose_after=(1, 2),
)


def stirred(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model with weights that let every part matter: no zero tokens, no tiny layer scales."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, each in model.named_parameters():
            noise = torch.randn(each.shape, generator=generator)
            fan_in = each[0].numel() if each.ndim > 1 else 1
            spread = 0.3 if "norm" in name or each.ndim == 1 else 1.0
            each.copy_(noise * spread / fan_in**0.5 + (0.5 if "gamma" in name else 0.0) + float("norm" in name))
    return model.eval()


def small_vggt() -> Vggt:
    return stirred(Vggt(VGGT))


def small_iggt() -> Iggt:
    return stirred(Iggt(IGGT))


def small_segvggt(classes: int = 1) -> SegVggt:
    return stirred(SegVggt(replace(SEGVGGT, queries=replace(SEGVGGT.queries, classes=classes))))


def small_pi3() -> Pi3:
    return stirred(Pi3(PI3))


def small_pi3x() -> Pi3X:
    return stirred(Pi3X(PI3X))


def small_mv_sam() -> TinyMvSam:
    """It finds about a half of every view, and not the same for each prompt."""
    model = stirred(TinyMvSam(MV_SAM))
    torch.nn.init.constant_(model.decoder.first, 0.0)
    return model


def random_images(batch: int, views: int, height: int = 28, width: int = 42) -> torch.Tensor:
    return torch.rand(batch, views, 3, height, width, generator=torch.Generator().manual_seed(7))


def assert_same(ours: torch.Tensor, reference: torch.Tensor, name: str = "") -> None:
    """The same but for rounding, measured as parity is: against the largest number."""
    assert ours.shape == reference.shape, name
    assert (ours - reference).abs().max() <= 2e-5 * reference.abs().max(), name
