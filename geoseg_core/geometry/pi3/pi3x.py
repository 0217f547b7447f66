"""Pi3X: Pi3 with a metric scale, convolutional heads, and depth, rays and poses as optional conditions.

After Wang et al., "Pi3" (2025) and its released successor; parameters are named as in the released checkpoint. Known
depth and rays are added to the encoder's tokens, known poses between decoder blocks. Departures from the release: the
caller's masks are never changed; heads run only where asked for.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.geometry.pi3.conditions import Conditions, PreparedConditions, prepare
from geoseg_core.geometry.pi3.config import Pi3XConfig
from geoseg_core.geometry.pi3.conv_head import ConvHead
from geoseg_core.geometry.pi3.decoders import to_world
from geoseg_core.geometry.pi3.metric import MetricDecoder
from geoseg_core.geometry.pi3.model import FRAME_CHUNK, HEADS, Pi3Output, Pi3Trunk, along_rays
from geoseg_core.geometry.pi3.pose_injection import PoseInjection
from geoseg_core.layers.vit import PatchEmbed, VisionTransformer

# exp of more than this is no distance any more.
LARGEST_LOG_Z = 15.0
CONDITION_MODULES = ("depth_encoder.", "depth_emb", "ray_embed.", "pose_inject_blk.")


class Pi3X(Pi3Trunk):
    """Images (B, S, 3, H, W), RGB float in [0, 1], and Conditions -> Pi3Output in metres."""

    def __init__(self, config: Pi3XConfig | None = None) -> None:
        config = config or Pi3XConfig()
        super().__init__(config)
        self.sizes = config
        width, dense = config.width, config.heads.dense_out
        self.point_head = ConvHead(config.conv_head, dense, (2, 1), config.patch)
        self.conf_head = ConvHead(config.conv_head, dense, (1,), config.patch)
        self.metric_token = nn.Parameter(0.02 * torch.randn(1, 1, 2 * width))
        self.metric_decoder = MetricDecoder(config.metric, 2 * width)
        self.metric_head = nn.Linear(config.metric.width, 1)
        if config.conditions:
            self.depth_encoder = VisionTransformer(
                config.encoder, width, image_size=config.image_size, patch=config.patch, channels=2
            )
            self.depth_emb = nn.Parameter(torch.zeros(1, 1, width))
            self.ray_embed = PatchEmbed(2, width, config.patch)
            self.pose_inject_blk = nn.ModuleList(PoseInjection(config.decoder, width) for _ in config.pose_after)

    def left_out(self) -> tuple[str, ...]:
        return () if self.sizes.conditions else CONDITION_MODULES

    def forward(
        self,
        images: Tensor,
        conditions: Conditions | None = None,
        heads: Sequence[str] = HEADS,
        frame_chunk: int = FRAME_CHUNK,
    ) -> Pi3Output:
        """Run the trunk and the heads asked for: some of "points", "confidence", "camera".

        Raises:
            BadInput: images or conditions of another shape, an unknown head, or conditions given to a model that was
                built without them.
        """
        batch, grid = self.prepare(images, heads)
        if conditions is not None and not self.sizes.conditions:
            raise BadInput("expected no conditions, for the model was built without; set `conditions` in its config")
        known = None if conditions is None else prepare(conditions, images)
        patches = self.encode(images)
        if known is None:
            features = self.decode(patches, batch, grid)
        else:
            patches = patches + self.embed_conditions(known).to(patches.dtype)
            features = self.decode(patches, batch, grid, lambda n, tokens: self.inject(n, tokens, known, grid))
        return self.read(features, batch, grid, heads, frame_chunk)

    def embed_conditions(self, known: PreparedConditions) -> Tensor:
        """What depth and rays add to the encoder's tokens, (B*S, h*w, C)."""
        dtype = self.depth_emb.dtype
        added = torch.zeros((), device=self.depth_emb.device, dtype=dtype)
        if known.rays is not None:
            tokens = self.ray_embed(known.rays.flatten(0, 1).to(dtype))
            added = added + tokens * known.ray_mask.flatten()[:, None, None]
        if known.depth is not None:
            tokens = self.depth_encoder(known.depth.flatten(0, 1).to(dtype)) + self.depth_emb
            added = added + tokens * known.depth_mask.flatten()[:, None, None]
        return added

    def inject(self, number: int, tokens: Tensor, known: PreparedConditions, grid: tuple[int, int]) -> Tensor:
        """Tokens (B*S, P, C) after block `number`, told of the known poses."""
        if known.camera_to_world is None or number not in self.sizes.pose_after:
            return tokens
        specials = self.config.decoder.registers
        block = self.pose_inject_blk[self.sizes.pose_after.index(number)]
        patches = tokens[:, specials:].unflatten(0, known.pose_mask.shape)
        change = block(patches, known.camera_to_world, known.pose_mask, grid).flatten(0, 1)
        return torch.cat((tokens[:, :specials], tokens[:, specials:] + change), dim=1)

    def read(
        self, features: Tensor, batch: int, grid: tuple[int, int], heads: Sequence[str], frame_chunk: int
    ) -> Pi3Output:
        """Run heads on decoder features."""
        scale = self.metric_scale(features, batch, grid)
        found: dict = {}
        if "points" in heads:
            raw = self.dense(self.point_decoder, self.point_head, features, grid, frame_chunk)
            z = raw[:, 2:].clamp(max=LARGEST_LOG_Z).exp()
            local = along_rays(raw, z).unflatten(0, (batch, -1))
            found["local_points"] = local * scale[:, None, None, None, None]
            rays = F.normalize(along_rays(raw, torch.ones_like(z)), dim=-1)
            found["rays"] = rays.unflatten(0, (batch, -1))
        if "confidence" in heads:
            logits = self.dense(self.conf_decoder, self.conf_head, features, grid, frame_chunk)
            found["confidence"] = logits[:, 0].unflatten(0, (batch, -1))
        if "camera" in heads:
            pose = self.cameras(features, batch, grid)
            pose[..., :3, 3] *= scale[:, None, None]
            found["camera_to_world"] = pose
        if "points" in heads and "camera" in heads:
            found["points"] = to_world(found["local_points"], found["camera_to_world"])
        return Pi3Output(features, metric_scale=scale, **found)

    def metric_scale(self, features: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
        """(B,) metres for one unit of the network."""
        sizes = self.sizes.metric
        context = features.unflatten(0, (batch, -1)).flatten(1, 2)
        token = self.metric_token.expand(batch, -1, -1)
        rotary = self.rotary(grid, features, sizes.heads, sizes.width)
        decoded = self.metric_decoder(token, context, rotary)
        with torch.autocast(features.device.type, enabled=False):
            return self.metric_head(decoded.to(self.metric_head.weight.dtype)).flatten().float().exp()
