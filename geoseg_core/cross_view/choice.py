"""How masks are carried between views, and what follows the objects."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.cross_view.follower import Follower
from geoseg_core.cross_view.reprojection import ReprojectionConfig
from geoseg_core.cross_view.thing_follower import ThingFollower
from geoseg_core.instances.segmenter import InstanceSegmenter
from geoseg_core.prompting.regions import PromptConfig


@dataclass(frozen=True)
class CrossViewConfig:
    """How masks are carried into other views."""

    method: str = setting("reprojection", "how masks are carried between views", choices=("reprojection",))
    reprojection: ReprojectionConfig = field(default_factory=ReprojectionConfig)


def make_follower(config: CrossViewConfig, prompts: PromptConfig, segmenter: InstanceSegmenter) -> Follower:
    """What answers prompts and follows objects by the configured method."""
    return ThingFollower(segmenter, config.reprojection, prompts)
