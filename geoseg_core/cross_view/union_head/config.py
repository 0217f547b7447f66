"""Sizes of the union segmentation head and how it is used; the defaults are those of the released VGGT-S.

Where the paper and the released code differ, both can be had; the defaults are the code's. The paper's values are
`mask_encoder=single`, `fusion=before` (`fusion_stages` 1, in the supplement's table 2), `hyper_layers=1` and
`refinements=2`. The order in which the tokens stand is no setting: tokens carry no order, so nothing depends on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.errors import BadInput


@dataclass(frozen=True)
class UnionHeadConfig:
    """Widths, strides, depths and counts."""

    width: int = setting(128, "channels of the feature map and of a token", low=4)
    input_width: int = setting(0, "channels of the features that are given, if a convolution brings them to the width; "
                               "0: they have it")  # fmt: skip
    input_shrink: int = setting(1, "cells of the features that are given for one of the map, where there is that "
                                "convolution", low=1)  # fmt: skip
    heads: int = setting(8, "attention heads", low=1)
    blocks: int = setting(2, "decoder blocks", low=1)
    map_stride: int = setting(2, "pixels of the image for one cell of the feature map", "px", 1)
    mask_encoder: str = setting("deep", "deep: a strided convolution, norm, GELU and a 1x1 convolution; "
                                "single: the strided convolution alone", choices=("deep", "single"))  # fmt: skip
    mask_channels: int = setting(16, "channels inside the deep mask encoder", low=1)
    fusion: str = setting("blocks", "where the views are fused: in every block, before all blocks, or nowhere",
                          choices=("blocks", "before", "none"))  # fmt: skip
    fusion_stages: int = setting(1, "fusions before the blocks, where they stand there", low=1)
    fusion_stride: int = setting(7, "cells of the feature map for one of the bottleneck", low=1)
    fusion_width: int = setting(896, "channels of the bottleneck", low=4)
    fusion_inner: int = setting(256, "channels inside the bottleneck's attention", low=4)
    fusion_hidden: int = setting(3584, "hidden width of the bottleneck's MLP", low=1)
    token_inner: int = setting(128, "channels inside the attention between tokens and image", low=4)
    token_hidden: int = setting(512, "hidden width of the tokens' MLP", low=1)
    upscale_channels: tuple = setting((32, 16), "channels after each of the two enlargements", low=1)
    upscale_stride: int = setting(2, "factor of each of the two enlargements", low=1)
    hyper_layers: int = setting(3, "layers of the MLP from the mask token to the weights of the mask", low=1)
    detail: bool = setting(False, "whether the features that are given help to draw the mask at their size, which must "
                           "be that of the first enlargement")  # fmt: skip
    presence: bool = setting(False, "whether the mask token also says if the target shows the object at all")
    mask_logit: float = setting(30.0, "logit of a pixel of the source mask", low=0.0)
    feedback_limit: float = setting(32.0, "a mask that is fed back is clamped to this logit", low=0.0)
    accumulate: bool = setting(True, "each call adds the source-point vector to the sampled features once more, as the "
                               "released checkpoint was trained")  # fmt: skip
    refinements: int = setting(1, "calls with the mask of the call before", low=0)
    guided: bool = setting(True, "whether points that stand for a mask, and where they are in the target, guide the "
                           "head; one made without them looks at none")  # fmt: skip
    prior: bool = setting(True, "whether the first call sees the mask that the encoder itself matches, if it does "
                          "match masks")  # fmt: skip

    @property
    def given_width(self) -> int:
        """Channels of the features that are given."""
        return self.input_width or self.width

    @property
    def given_stride(self) -> int:
        """Pixels of the image for one cell of the features that are given."""
        return self.map_stride // self.input_shrink if self.input_width else self.map_stride


@dataclass(frozen=True)
class EgoExoConfig:
    """How views are cut out. The defaults are those of the released code.

    The paper's are `context` 1 (the window is as wide as the frame's shorter side), `coarse_points` 5, `dropped` 0 and
    `prompts` "projected".
    """

    side: int = setting(518, "side of the square that the network sees", "px", 14)
    source_share: float = setting(2.0, "a source is cut out to at least its side over this", "", 1.0)
    coarse_points: int = setting(50, "points that look for the object in an exo view", "", 1)
    dropped: int = setting(10, "of these the farthest from the median are dropped", "", 0)
    points: int = setting(5, "points that prompt the network", "", 1)
    prompts: str = setting("clusters", "target points: clusters of the coarse points, which are of no source points, "
                           "or the source points followed in what is shown",
                           choices=("clusters", "projected"))  # fmt: skip
    context: float = setting(3.0, "how much more than the object an exo window shows", choices=(3.0, 2.0, 1.5, 1.0))


@dataclass(frozen=True)
class UnionTransferConfig:
    """How the union head is used. The defaults are those of the released code for its checkpoint."""

    look: str = setting("encode", "what the head sees: the views as encoded, windows of their maps, or windows of the "
                        "images, encoded anew for each object", choices=("whole", "zoom", "encode"))  # fmt: skip
    views: EgoExoConfig = field(default_factory=EgoExoConfig)
    precision: str = setting("autocast", "type of the numbers: fp32, or autocast: products in bf16, as the released "
                             "checkpoint was trained", choices=("fp32", "autocast"))  # fmt: skip
    least_part: float = setting(0.0, "a part of a mask, apart from the rest, with less than so much of its largest "
                                "part's pixels is dropped", "", 0.0, 1.0)  # fmt: skip
    pairs_at_once: int = setting(8, "pairs of views decoded at a time; fewer take less memory", "", 1)


def config_of(shapes: Mapping[str, tuple[int, ...]]) -> UnionHeadConfig:
    """The sizes of a released head, read from the names and shapes of its tensors; heads are not to be seen there.

    Raises:
        BadInput: a tensor is missing that a head has.
    """
    first = "mask_decoder.transformer.layers.0."
    upscaling = "mask_decoder.output_upscaling.{}.weight"
    try:
        fused, width, stride, _ = shapes[f"{first}downsampling.weight"]
        mask_channels, _, map_stride, _ = shapes["prompt_encoder.mask_downscaling.0.weight"]
        return UnionHeadConfig(
            width=width,
            blocks=counted(shapes, "mask_decoder.transformer.layers.{}.norm1.weight"),
            map_stride=map_stride,
            mask_channels=mask_channels,
            fusion_stride=stride,
            fusion_width=fused,
            fusion_inner=shapes[f"{first}self_attn_img.q_proj.weight"][0],
            fusion_hidden=shapes[f"{first}img_mlp.layers.0.weight"][0],
            token_inner=shapes[f"{first}cross_attn_token_to_image.q_proj.weight"][0],
            token_hidden=shapes[f"{first}token_mlp.layers.0.weight"][0],
            upscale_channels=(shapes[upscaling.format(0)][1], shapes[upscaling.format(3)][1]),
            upscale_stride=shapes[upscaling.format(0)][2],
            hyper_layers=counted(shapes, "mask_decoder.output_hypernetworks_mlps.0.layers.{}.weight"),
        )
    except (KeyError, ValueError) as error:
        raise BadInput(f"expected the tensors of a union head, got {len(shapes)} others: {error}") from error


def counted(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """How many tensors there are whose names differ in a number alone, counted from 0."""
    return next(number for number in range(len(shapes) + 1) if name.format(number) not in shapes)
