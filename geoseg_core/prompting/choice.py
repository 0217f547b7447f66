"""Which network answers prompts, if any. It, and torch with it, is imported only when it is chosen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoseg_core.errors import BadConfig
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, device_named
from geoseg_core.prompting.regions import PromptConfig
from geoseg_core.weights.chosen import ChosenWeights, choose_weights

if TYPE_CHECKING:
    from geoseg_core.prompting.mv_sam.prompter import TinyPrompter

# The encoder whose features MV-SAM reads.
ENCODER = "tiny"


@dataclass(frozen=True)
class ChosenPrompter:
    """What answers prompts in all views at once, and its weights; None where prompts become regions."""

    prompter: "TinyPrompter | None" = None
    weights: ChosenWeights | None = None


def choose_prompter(config: PromptConfig, geometry: GeometryConfig, follows_masks: bool) -> ChosenPrompter:
    """What answers prompts by the configured method.

    Args:
        follows_masks: whether objects are followed by their masks, not by their depth.

    Raises:
        BadInput: weights that are not here or do not fit.
        BadConfig: MV-SAM without the features that it reads, or where objects are followed by their depth.
    """
    method = config.method
    if method == "auto":
        usual = geometry.encoder == ENCODER and geometry.weights in ("", CHOICES[ENCODER].weights[0])
        method = "mv_sam" if usual and follows_masks else "regions"
    if method == "regions":
        return ChosenPrompter()
    if geometry.encoder != ENCODER:
        raise BadConfig(f"prompts.method: for mv_sam, expected the encoder {ENCODER}, whose features it reads, got "
                        f"{geometry.encoder!r}; choose that encoder, or the method regions")  # fmt: skip
    if not follows_masks:
        raise BadConfig("prompts.method: for mv_sam, expected a network that carries masks (cross_view.method "
                        "union_head or point_prompt_sam), got reprojection; choose one, or regions")  # fmt: skip
    from geoseg_core.prompting.mv_sam.prompter import TinyPrompter

    weights = choose_weights(config.weights)
    return ChosenPrompter(TinyPrompter.from_weights(weights.path, device_named(geometry.device)), weights)
