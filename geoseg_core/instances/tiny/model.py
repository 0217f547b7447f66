"""Instances of all views from what the small geometry network says of them, in two ways on one trunk.

The trunk joins the token layers (1/16 of the size), the coarse descriptors (1/8) and the fused maps (1/4) from the
deepest to the finest, as DPT does. Object queries (SegVGGT, 2026) take its features for their masks; the instance field
(IGGT, 2026) gives each place a few numbers that are alike within an instance, in all views, and apart between
instances.

Departures: both papers have a DPT head of their own for their features, at 1/2 and at full size; one at 1/4 serves both
here. Beside its numbers the field says whether a place is on a thing at all, so that what is no thing (walls, supports,
the robot's arm) need not be clustered. Places are told from where they are in the image and how deep, so that equal
things can be told apart.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.errors import BadInput
from geoseg_core.geometry.tiny.backbone import Residual
from geoseg_core.geometry.tiny.model import FINE, TinyOutput
from geoseg_core.instances.queries.model import QueryDecoder, QueryOutput
from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.layers.attention import LayerNorm

PLACE = 3  # column, row, log depth


@dataclass(frozen=True, eq=False)
class InstanceInput:
    """What is taken of the geometry network's output, B scenes of V views.

    Attributes:
        tokens: (B, V, L, P, C) all token layers after their global attention, camera and register tokens first.
        coarse: (B, V, D, H/8, W/8) descriptors.
        fused: (B, V, E, H/4, W/4)
        log_depth: (B, V, H/4, W/4)
    """

    tokens: Tensor
    coarse: Tensor
    fused: Tensor
    log_depth: Tensor

    @staticmethod
    def of(output: TinyOutput) -> "InstanceInput":
        """The network must have kept all its token layers."""
        layers = [output.tokens.layers[number].chunk(2, dim=-1)[1] for number in sorted(output.tokens.layers)]
        depth = F.avg_pool2d(output.log_depth, FINE)
        return InstanceInput(torch.stack(layers, dim=2), output.coarse, output.fused, depth)


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
    """InstanceInput -> (B, V, C, H/4, W/4)."""

    def __init__(self, config: TinyInstancesConfig) -> None:
        super().__init__()
        deep, middle, fine = config.trunk
        width, layers = config.queries.token_width, config.queries.token_layers
        self.norms = nn.ModuleList(LayerNorm(width) for _ in range(layers))
        self.from_tokens = nn.ModuleList(nn.Linear(width, deep) for _ in range(layers))
        self.deep = Residual(deep)
        self.from_deep, self.from_coarse = nn.Conv2d(deep, middle, 1), nn.Conv2d(config.coarse, middle, 1)
        self.middle = nn.Sequential(Residual(middle), Residual(middle))
        self.from_middle, self.from_fused = nn.Conv2d(middle, fine, 1), nn.Conv2d(config.fused + PLACE, fine, 1)
        self.fine = Residual(fine)

    def forward(self, given: InstanceInput) -> Tensor:
        batch, views, _, height, width = given.fused.shape
        grid = (height // FINE, width // FINE)
        patches = given.tokens.flatten(0, 1)[:, :, -grid[0] * grid[1] :]  # (N, L, h*w, C)
        layers = zip(self.from_tokens, self.norms, patches.unbind(1), strict=True)
        summed = torch.stack([project(norm(layer)) for project, norm, layer in layers]).sum(dim=0)
        deep = self.deep(summed.mT.unflatten(2, grid))
        middle = self.middle(_double(self.from_deep(deep)) + self.from_coarse(given.coarse.flatten(0, 1)))
        fine = self.fine(_double(self.from_middle(middle)) + self.from_fused(places(given)))
        return fine.unflatten(0, (batch, views))


class TinyInstances(nn.Module):
    """InstanceInput -> what the queries say, what the field says, or both."""

    def __init__(self, config: TinyInstancesConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyInstancesConfig()
        self.trunk = Trunk(config)
        self.feature_head = nn.Conv2d(config.trunk[-1], config.queries.features, 1)
        self.field_head = nn.Conv2d(config.trunk[-1], config.field_width + 1, 1)
        self.decoder = QueryDecoder(config.queries)

    def forward(self, given: InstanceInput, shares: bool = False) -> tuple[QueryOutput, InstanceField]:
        """Both; `shares` as in `QueryDecoder`."""
        maps = self._maps(given)
        return self._queries(given, maps, shares), self._field(maps)

    def queries(self, given: InstanceInput) -> QueryOutput:
        """The queries alone."""
        return self._queries(given, self._maps(given), False)

    def field(self, given: InstanceInput) -> InstanceField:
        """The field alone."""
        return self._field(self._maps(given))

    def _maps(self, given: InstanceInput) -> Tensor:
        """The trunk's (B, V, C, h, w).

        Raises:
            BadInput: the output of a network of other sizes.
        """
        queries = self.config.queries
        wanted = (queries.token_layers, queries.token_width, self.config.coarse, self.config.fused)
        got = (given.tokens.shape[2], given.tokens.shape[4], given.coarse.shape[2], given.fused.shape[2])
        if wanted != got:
            raise BadInput(
                f"expected token layers, their width, coarse and fused channels {wanted}, got {got}; take the network "
                "that these weights were made for"
            )
        maps: Tensor = self.trunk(given)
        return maps

    def _queries(self, given: InstanceInput, maps: Tensor, shares: bool) -> QueryOutput:
        features = self.feature_head(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        output: QueryOutput = self.decoder(dict(enumerate(given.tokens.unbind(2))), features, shares)
        return output

    def _field(self, maps: Tensor) -> InstanceField:
        made = self.field_head(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]).float()
        return InstanceField(F.normalize(made[:, :, :-1], dim=2), made[:, :, -1])


def places(given: InstanceInput) -> Tensor:
    """The fused maps with where each place is (N, E + 3, h, w): column and row from -1 to 1, log depth."""
    height, width = given.log_depth.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, size, device=given.fused.device) for size in (height, width))
    where = torch.stack((columns.expand(height, width), rows[:, None].expand(height, width)))
    depth = given.log_depth.flatten(0, 1)[:, None]
    return torch.cat((given.fused.flatten(0, 1), where.expand(len(depth), -1, -1, -1).to(depth), depth), dim=1)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
