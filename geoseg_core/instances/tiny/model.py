"""Instances of all views from what the small geometry network says of them, in two ways on one trunk.

The trunk joins the token layers (1/16 of the size), the coarse descriptors (1/8) and the fused maps (1/4) from the
deepest to the finest, as DPT does; at 1/8 the places of all views look at each other once more, and the features at 1/4
are drawn finer, at 1/2, by the images themselves. Object queries (SegVGGT, 2026) read the token layers and then the
trunk at 1/8, and take its features for their masks; the instance field (IGGT, 2026) gives each place a few numbers that
are alike within an instance, in all views, and apart between instances.

Departures: both papers have a DPT head of their own for their features, at 1/2 and at full size; one at 1/2 serves both
here. The geometry network stays as it is; what it learned too little of, which places of the views are the same, is
learned by the trunk. Beside its numbers the field says whether a place is on a thing at all, so that what is no thing
(walls, supports, the robot's arm) need not be clustered. Places are told from where they are in the image and how deep,
so that equal things can be told apart.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.backbone import Residual
from geoseg_core.geometry.tiny.model import FINE, TinyOutput
from geoseg_core.instances.queries.model import QueryDecoder, QueryOutput
from geoseg_core.instances.tiny.across import Across
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.layers.attention import LayerNorm
from geoseg_core.layers.images import normalised

PLACE = 3  # column, row, log depth


@dataclass(frozen=True, eq=False)
class InstanceInput:
    """What is taken of the geometry network's output, B scenes of V views.

    Attributes:
        images: (B, V, 3, H, W) in [0, 1].
        tokens: (B, V, L, P, C) all token layers after their global attention, camera and register tokens first.
        coarse: (B, V, D, H/8, W/8) descriptors.
        fused: (B, V, E, H/4, W/4)
        log_depth: (B, V, H/4, W/4)
        nowhere: (B,) logit of a place that no other view shows, beside the products of descriptors.
    """

    images: Tensor
    tokens: Tensor
    coarse: Tensor
    fused: Tensor
    log_depth: Tensor
    nowhere: Tensor

    @staticmethod
    def of(images: Tensor, output: TinyOutput) -> "InstanceInput":
        """Of images (B, V, 3, H, W) and what the network says of them; it must have kept all its token layers."""
        layers = [output.tokens.layers[number].chunk(2, dim=-1)[1] for number in sorted(output.tokens.layers)]
        depth = F.avg_pool2d(output.log_depth, FINE)
        nowhere = output.nowhere.detach().expand(len(depth))
        return InstanceInput(images, torch.stack(layers, dim=2), output.coarse, output.fused, depth, nowhere)


@dataclass(frozen=True, eq=False)
class InstanceField:
    """What the field says of B scenes of V views.

    Attributes:
        features: (B, V, C, h, w) of length one.
        things: (B, V, h, w) logits that a place is on a thing.
    """

    features: Tensor
    things: Tensor


class Trunk(nn.Module):
    """InstanceInput -> features (B, V, C, H/4, W/4), and tokens (B, V, P, C) as wide as the geometry network's, of the
    places at 1/8."""

    def __init__(self, config: TinyInstancesConfig) -> None:
        super().__init__()
        deep, middle, fine = config.trunk
        width, layers = config.queries.token_width, config.layers
        self.norms = nn.ModuleList(LayerNorm(width) for _ in range(layers))
        self.from_tokens = nn.ModuleList(nn.Linear(width, deep) for _ in range(layers))
        self.deep = Residual(deep)
        self.from_deep, self.from_coarse = nn.Conv2d(deep, middle, 1), nn.Conv2d(config.coarse, middle, 1)
        self.middle = nn.Sequential(Residual(middle), Residual(middle))
        self.across = Across(middle, config.coarse, PLACE, config.heads, config.across)
        self.to_tokens = nn.Linear(middle, width)
        self.from_middle, self.from_fused = nn.Conv2d(middle, fine, 1), nn.Conv2d(config.fused + PLACE, fine, 1)
        self.fine = Residual(fine)

    def forward(self, given: InstanceInput) -> tuple[Tensor, Tensor]:
        batch, views, _, height, width = given.fused.shape
        grid = (height // FINE, width // FINE)
        patches = given.tokens.flatten(0, 1)[:, :, -grid[0] * grid[1] :]  # (N, L, h*w, C)
        layers = zip(self.from_tokens, self.norms, patches.unbind(1), strict=True)
        summed = torch.stack([project(norm(layer)) for project, norm, layer in layers]).sum(dim=0)
        deep = self.deep(summed.mT.unflatten(2, grid))
        middle = self.middle(_double(self.from_deep(deep)) + self.from_coarse(given.coarse.flatten(0, 1)))
        where = places(given.log_depth)  # (B, V, 3, h, w)
        eighth = F.avg_pool2d(where.flatten(0, 1), 2).unflatten(0, (batch, views))
        joined = self.across(middle.unflatten(0, (batch, views)), given.coarse, eighth, given.nowhere)
        fused = torch.cat((given.fused, where.to(given.fused.dtype)), dim=2).flatten(0, 1)
        fine = self.fine(_double(self.from_middle(joined.flatten(0, 1))) + self.from_fused(fused))
        tokens = self.to_tokens(joined.flatten(3).mT)
        return fine.unflatten(0, (batch, views)), tokens


class Detail(nn.Module):
    """Features (N, C, h, w) and the images (N, 3, 2h, 2w) to what features of twice their size have beside them."""

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.from_images = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.from_features = nn.Conv2d(channels, width, 1)
        self.block = Residual(width)
        self.out = nn.Conv2d(width, outputs, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        flat = normalised(images).contiguous(memory_format=torch.channels_last)
        drawn = self.from_images(flat) + _double(self.from_features(features))
        found: Tensor = self.out(self.block(drawn))
        return found


@dataclass(frozen=True, eq=False)
class InstanceFeatures:
    """What all readouts of B scenes of V views stand on.

    Attributes:
        drawn: (B, V, D + C + 1, H/2, W/2) all that is known of each place.
        tokens: (B, V, P, E) of the places at 1/8, as wide as the geometry network's.
        parts: D, C and 1, the channels of each kind.
    """

    drawn: Tensor
    tokens: Tensor
    parts: tuple[int, int, int]

    @property
    def queries(self) -> Tensor:
        """(B, V, D, H/2, W/2) for the masks of object queries."""
        return self.drawn.split(self.parts, dim=2)[0]

    @property
    def field(self) -> Tensor:
        """(B, V, C, H/2, W/2) float32, as they come, of any length."""
        return self.drawn.split(self.parts, dim=2)[1].float()

    @property
    def things(self) -> Tensor:
        """(B, V, H/2, W/2) float32 logits that a place is on a thing."""
        return self.drawn[:, :, -1].float()


class FeatureNetwork(nn.Module):
    """InstanceInput -> InstanceFeatures."""

    def __init__(self, config: TinyInstancesConfig) -> None:
        super().__init__()
        self.sizes = (config.layers, config.queries.token_width, config.coarse, config.fused)
        self.trunk = Trunk(config)
        fine, self.parts = config.trunk[-1], (config.queries.features, config.field_width, 1)
        self.head = nn.Conv2d(fine, sum(self.parts), 1)
        self.detail = Detail(fine, config.detail, sum(self.parts))

    def features(self, given: InstanceInput) -> InstanceFeatures:
        """What readouts stand on.

        Raises:
            BadInput: the output of a network of other sizes.
        """
        got = (given.tokens.shape[2], given.tokens.shape[4], given.coarse.shape[2], given.fused.shape[2])
        if self.sizes != got:
            raise BadInput(
                f"expected token layers, their width, coarse and fused channels {self.sizes}, got {got}; take the "
                "network that these weights were made for"
            )
        maps, tokens = self.trunk(given)
        flat = maps.flatten(0, 1)
        drawn = _double(self.head(flat)) + self.detail(flat, given.images.flatten(0, 1))
        return InstanceFeatures(drawn.unflatten(0, maps.shape[:2]), tokens, self.parts)


class TinyInstances(FeatureNetwork):
    """InstanceInput -> what the queries say, what the field says, or both."""

    def __init__(self, config: TinyInstancesConfig | None = None) -> None:
        config = config or TinyInstancesConfig()
        super().__init__(config)
        self.config = config
        self.decoder = QueryDecoder(config.queries)

    def forward(
        self, given: InstanceInput, shares: bool = False, cells: int = 0
    ) -> tuple[QueryOutput, InstanceField]:
        """Both; `shares` and `cells` as in `QueryDecoder`."""
        features = self.features(given)
        return self._queries(given, features, shares, cells), _field(features)

    def queries(self, given: InstanceInput) -> QueryOutput:
        """The queries alone."""
        return self._queries(given, self.features(given))

    def field(self, given: InstanceInput) -> InstanceField:
        """The field alone."""
        return _field(self.features(given))

    def _queries(
        self, given: InstanceInput, features: InstanceFeatures, shares: bool = False, cells: int = 0
    ) -> QueryOutput:
        layers = dict(enumerate((*given.tokens.unbind(2), features.tokens)))
        output: QueryOutput = self.decoder(layers, features.queries, shares, cells=cells)
        return output


def _field(features: InstanceFeatures) -> InstanceField:
    return InstanceField(F.normalize(features.field, dim=2), features.things)


def places(log_depth: Tensor) -> Tensor:
    """Where each place of maps (B, V, h, w) is, (B, V, 3, h, w): column and row from -1 to 1, log depth."""
    rows, columns = (torch.linspace(-1, 1, size, device=log_depth.device) for size in log_depth.shape[-2:])
    columns, rows = columns.expand_as(log_depth), rows[:, None].expand_as(log_depth)
    return torch.stack((columns, rows, log_depth), dim=2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
