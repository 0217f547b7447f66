"""Settings of the ways to carry masks between views and to follow them; torch-free."""

from dataclasses import dataclass, field

from geoseg_core.config import setting
from geoseg_core.cross_view.point_prompt_config import PointPromptSamConfig
from geoseg_core.cross_view.union_head.config import EgoExoConfig, UnionTransferConfig
from geoseg_core.memory.config import BankConfig

METHODS = ("auto", "union_head", "point_prompt_sam", "reprojection")
# The union head that was made for an encoder's features.
HEADS = {"tiny": "tiny-union-head", "vggt": "vggt-s"}
# The memory that was made for an encoder's features and that head.
MEMORIES = {"tiny": "tiny-memory"}
NO_MEMORY = "none"
# How the small network's head is used: as it was trained. Its least part was chosen on worlds 100 to 149.
TINY_LOOK = UnionTransferConfig("whole", EgoExoConfig(coarse_points=5, dropped=0, prompts="projected"), least_part=0.3)


@dataclass(frozen=True)
class ReprojectionConfig:
    """How masks are carried through depth."""

    whole_share: float = setting(0.85, "a thing that a mask covers to this part belongs to it wholly", "", 0.5, 1.0)
    none_share: float = setting(0.1, "a thing that a mask covers to less than this part does not", "", 0.0, 0.5)
    colour_weight: float = setting(0.15, "cost of a colour step of 1 (CIE Lab) where a mask divides a thing",
                                   "voxels", 0.0, 10.0)  # fmt: skip
    flat_share: float = setting(0.4, "a mask with more than this part on support planes is carried with them",
                                "", 0.0, 1.0)  # fmt: skip
    sunk_share: float = setting(0.25, "a mask with more than this part on support planes in another view is carried so "
                                "into that view", "", 0.0, 1.0)  # fmt: skip
    tolerance_m: float = setting(0.008, "how far a surface may lie off another view's and be the same", "m", 0.0, 0.2)
    tolerance_slope: float = setting(0.004, "the same, growing with depth", "m/m", 0.0, 1.0)


@dataclass(frozen=True)
class MaskFollowerConfig:
    """How masks are followed."""

    least_score: float = setting(0.35, "a mask whose expected overlap with the truth is less is not kept", "", 0.0, 1.0)
    sure_score: float = setting(0.7, "an object that is found with such a score as it was seen best is not looked "
                                "for as it was seen last", "", 0.0, 1.0)  # fmt: skip
    replayed_sets: int = setting(8, "newest sets through which a correction goes back; a set of two views takes some "
                                 "MiB", "", 0, 1000)  # fmt: skip
    cloud_points: int = setting(20000, "about so many points at most in the cloud of a prompt's answer", "", 100)


@dataclass(frozen=True)
class CrossViewConfig:
    """How masks are carried into other views."""

    method: str = setting("auto", "how masks are carried between views: by the union head, by points that prompt "
                          "SAM 2.1, by depth (reprojection), or auto: the union head where its weights for the encoder "
                          "are here and the encoder has its usual weights, else depth", choices=METHODS)  # fmt: skip
    weights: str = setting("", "weights of the union head by name (`geoseg weights list`) or file; empty for the "
                           "usual ones of the encoder")  # fmt: skip
    memory: str = setting("", "weights of the union head's memory by name or file, or none; empty for the usual ones "
                          "of the encoder and its usual head, where they are here")  # fmt: skip
    bank: BankConfig = field(default_factory=BankConfig)
    vggt: UnionTransferConfig = field(default_factory=UnionTransferConfig)
    tiny: UnionTransferConfig = field(default_factory=lambda: TINY_LOOK)
    sam: PointPromptSamConfig = field(default_factory=PointPromptSamConfig)
    follow: MaskFollowerConfig = field(default_factory=MaskFollowerConfig)
    reprojection: ReprojectionConfig = field(default_factory=ReprojectionConfig)
