"""Sizes of the decoder of MV-SAM, and what of it can be left out."""

from dataclasses import dataclass

from geoseg_core.config import setting

POSITIONS = ("3d", "2d", "none")
ATTENTION = ("single", "full")


@dataclass(frozen=True)
class MvSamConfig:
    """One decoder. `positions`, `standardised`, `low_share`, `attention`, `looks` and `guides` are the ablations."""

    image: int = setting(256, "channels of the image embedding", low=1)
    stride: int = setting(8, "pixels from one cell of the image embedding to the next", "px", 4)
    fine: int = setting(64, "channels of the finer features that masks are drawn by", low=1)
    fine_stride: int = setting(2, "pixels from one of these to the next", "px", 1)
    width: int = setting(128, "channels of tokens and cells", low=8)
    inner: int = setting(64, "channels inside the attention between tokens and cells", low=8)
    hidden: int = setting(512, "channels inside the MLP of the tokens", low=1)
    heads: int = setting(4, "attention heads", low=1)
    blocks: int = setting(2, "times that tokens and cells look at each other", low=1)
    dense: int = setting(16, "channels inside the encoder of masks and boxes", low=1)
    positions: str = setting("3d", "where cells and points are: in space, in each image, or nowhere", choices=POSITIONS)
    frequency: float = setting(1.0, "deviation of the frequencies of positions, in turns for one deviation of the "
                               "points", low=0.0)  # fmt: skip
    standardised: bool = setting(True, "whether points are brought to mean 0 and deviation 1 first")
    low_share: float = setting(0.15, "share of all points that are told as of low confidence; 0: none is told",
                               low=0.0, high=1.0)  # fmt: skip
    attention: str = setting("single", "whether prompts look at one view at a time or at all together",
                             choices=ATTENTION)  # fmt: skip
    looks: bool = setting(True, "whether a point also tells what the image embedding is there")
    guides: bool = setting(False, "whether convolutions add to masks what is alike and near to prompted points")
    threshold: float = setting(0.0, "logit above which a place is on the object")
    sharpened: bool = setting(False, "whether the edges of masks are drawn to those of the image")
    twice: bool = setting(False, "whether the masks that the prompted views have alone are prompts to all views")


def sam2_decoder() -> MvSamConfig:
    """The published size, that of SAM 2's own mask decoder, on the image embeddings of SAM 2 or EdgeTAM.

    The paper writes codes of 128 channels, but adds them to embeddings of 256, and its 4.1 million trained parameters
    are those of a decoder of 256.
    """
    return MvSamConfig(image=256, stride=16, fine=32, fine_stride=4, width=256, inner=128, hidden=2048, heads=8)
