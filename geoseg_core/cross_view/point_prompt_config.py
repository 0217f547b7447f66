"""Settings of the transfer by SAM 2.1. They stand apart, for reading them needs no torch."""

from dataclasses import dataclass

from geoseg_core.config import setting


@dataclass(frozen=True)
class PointPromptSamConfig:
    """How SAM 2.1 is prompted."""

    weights: str = setting("facebook/sam2.1-hiera-large", "SAM 2.1: a folder in the layout of Hugging Face, or a model "
                           "id that its cache holds; nothing is downloaded")  # fmt: skip
    anchors: int = setting(5, "points of an object that are followed", "", 1, 100)
    least_confidence: float = setting(0.2, "a followed point that is trusted less is no prompt", "", 0.0, 1.0)
    mask_prompt: bool = setting(True, "whether the mask, reprojected through the depth, is a prompt too")
    tolerance: float = setting(0.05, "how far a surface may lie off another view's and be the same, as a part of its "
                               "depth", "", 0.0, 1.0)  # fmt: skip
    precision: str = setting("fp32", "type of the numbers: fp32, or autocast: products in bf16",
                             choices=("fp32", "autocast"))  # fmt: skip
    device: str = setting("auto", "where SAM runs: auto (a GPU if there is one), cpu, cuda, cuda:1 ...")
