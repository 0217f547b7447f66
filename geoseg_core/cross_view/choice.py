"""Which method carries masks between views, follows objects and answers prompts, and with what weights.

The union head, and torch with it, is imported only when it is chosen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoseg_core.cross_view.config import HEADS, MEMORIES, NO_MEMORY, CrossViewConfig
from geoseg_core.cross_view.follower import Follower
from geoseg_core.cross_view.thing_follower import ThingFollower
from geoseg_core.cross_view.union_head.config import UnionTransferConfig
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.choice import CHOICES, GeometryConfig, device_named
from geoseg_core.instances.segmenter import Segmenter
from geoseg_core.prompting.choice import ChosenPrompter, choose_prompter
from geoseg_core.prompting.regions import PromptConfig
from geoseg_core.weights.chosen import ChosenWeights, choose_weights

if TYPE_CHECKING:
    from geoseg_core.cross_view.carrier import MaskCarrier


@dataclass(frozen=True)
class ChosenFollower:
    """What follows objects, its weights if it has any, those of its memory, and what answers prompts."""

    follower: Follower
    weights: ChosenWeights | None = None
    memory: ChosenWeights | None = None
    prompts: ChosenPrompter = ChosenPrompter()


def choose_follower(
    config: CrossViewConfig, geometry: GeometryConfig, prompts: PromptConfig, segmenter: Segmenter
) -> ChosenFollower:
    """What answers prompts and follows objects by the configured method.

    Raises:
        BadInput: weights that are not here or do not fit.
        BadConfig: a method that needs other features than the encoder gives, a memory made for another head, or MV-SAM
            where objects are not followed by masks.
        MissingExtra: the extra [sam] is not installed.
    """
    weights = head_weights(config, geometry) if config.method in ("auto", "union_head") else None
    memory = memory_weights(config, geometry.encoder) if weights is not None else None
    if config.method == "point_prompt_sam":
        check_matching(config.method, geometry.encoder)
        from geoseg_core.cross_view.point_prompt_sam import PointPromptSam

        carrier: MaskCarrier = PointPromptSam.from_config(config.sam)
    elif weights is not None:
        from geoseg_core.cross_view.union_head.loading import load_carrier

        device = device_named(geometry.device)
        remembered = memory.path if memory else None
        look: UnionTransferConfig = getattr(config, geometry.encoder)
        carrier = load_carrier(weights.path, look, remembered, config.bank, device)
    else:
        choose_prompter(prompts, geometry, follows_masks=False)
        return ChosenFollower(ThingFollower(segmenter, config.reprojection, prompts))
    from geoseg_core.cross_view.mask_follower import MaskFollower

    chosen = choose_prompter(prompts, geometry, follows_masks=True)
    follower = MaskFollower(carrier, config.follow, segmenter.keeper.new_id, chosen.prompter)
    return ChosenFollower(follower, weights, memory, chosen)


def check_matching(method: str, encoder: str) -> None:
    """Whether the encoder's features match views of different sets.

    Raises:
        BadConfig: they don't.
    """
    if encoder not in HEADS:
        raise BadConfig(
            f"cross_view.method: for {method}, expected an encoder by whose features views are matched "
            f"({', '.join(HEADS)}), got {encoder!r}; choose one of those, or the method reprojection"
        )


def head_weights(config: CrossViewConfig, geometry: GeometryConfig) -> ChosenWeights | None:
    """The weights of the union head; None where there are none and nobody insists. The usual head reads the features of
    the encoder's usual weights: with others it is not taken unless it is asked for.

    Raises:
        BadInput, BadConfig: as `choose_follower`.
    """
    encoder = geometry.encoder
    usual = encoder in HEADS and geometry.weights in ("", CHOICES[encoder].weights[0])
    named = encoder in HEADS and config.weights
    if config.method == "auto" and not (usual or named):
        return None
    check_matching(config.method, encoder)
    try:
        return choose_weights(config.weights or HEADS[encoder])
    except BadInput:
        if config.method == "auto" and not config.weights:
            return None
        raise


def memory_weights(config: CrossViewConfig, encoder: str) -> ChosenWeights | None:
    """The weights of the union head's memory. Unless they are named, there are none with another head than the usual
    one, nor where they are not here.

    Raises:
        BadInput: those that are named are not here.
    """
    if config.memory == NO_MEMORY:
        return None
    if config.memory:
        return choose_weights(config.memory)
    if encoder not in MEMORIES or config.weights not in ("", HEADS[encoder]):
        return None
    try:
        return choose_weights(MEMORIES[encoder])
    except BadInput:
        return None
