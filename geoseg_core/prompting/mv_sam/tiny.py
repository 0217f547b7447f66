"""MV-SAM on the small geometry network: its features, joined by the trunk of the instance network, and its points."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geoseg_core.errors import BadConfig
from geoseg_core.geometry.tiny.point_map import PointMaps
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.instances.tiny.model import FeatureNetwork, InstanceInput
from geoseg_core.prompting.mv_sam.config import MvSamConfig
from geoseg_core.prompting.mv_sam.model import Matching, MvSam, SceneEmbedding, ScenePrompts

# Pixels for one token of the trunk and for one place of what is drawn, each way.
TOKEN, PLACE = 8, 2


@dataclass(frozen=True)
class TinyMvSamConfig:
    """Sizes of the features and of the decoder."""

    features: TinyInstancesConfig = field(default_factory=TinyInstancesConfig)
    decoder: MvSamConfig = field(default_factory=lambda: MvSamConfig(
        image=256, fine=73, guides=True, threshold=1.0, sharpened=True, twice=True
    ))  # fmt: skip


class TinyMvSam(nn.Module):
    """What the small network says, and ScenePrompts -> mask logits (B, K, V, H/2, W/2).

    Raises:
        BadConfig: a decoder for other features.
    """

    def __init__(self, config: TinyMvSamConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyMvSamConfig()
        features, decoder = config.features, config.decoder
        wanted = (features.queries.token_width, TOKEN, features.queries.features + features.field_width + 1, PLACE)
        got = (decoder.image, decoder.stride, decoder.fine, decoder.fine_stride)
        if got != wanted:
            raise BadConfig(f"decoder: expected image, stride, fine and fine_stride {wanted}, got {got}; set them")
        self.features = FeatureNetwork(features)
        self.decoder = MvSam(decoder)

    def forward(self, given: InstanceInput, maps: PointMaps, prompts: ScenePrompts) -> Tensor:
        """Mask logits."""
        found: Tensor = self.decoder(self.embedding(given, maps), prompts)
        return found

    def embedding(self, given: InstanceInput, maps: PointMaps) -> SceneEmbedding:
        """What is known of the scenes before anybody points, float32."""
        features = self.features.features(given)
        grid = torch.Size(each // TOKEN for each in maps.confidence.shape[2:])
        image = features.tokens.mT.unflatten(-1, grid).float()
        matching = Matching(given.coarse.float(), given.nowhere.float())
        return SceneEmbedding(image, features.drawn.float(), maps.points, maps.confidence, maps.projections, matching)
