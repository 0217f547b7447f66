"""Guides: what each place has in common with the prompted points, as maps, and the mask that convolutions draw by them.

The decoder has to learn what a point means before its masks are of use; that a place which looks like a point on the
object, and lies near it in space, is likely of the object too can be computed. So each place is told, for the points on
the object and for those beside it, the most alike look, the nearest distance in space, both at once, and how near a
point of its own image is; and a few convolutions, which see the features of the place too, add to the mask.

Not of MV-SAM (2026); maps of clicks as input of convolutions: Sofiiuk et al., "Reviving Iterative Training with Mask
Guidance for Interactive Segmentation" (2021).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# Pixels from one place to the next, and channels of looks, of the features of a place and of the layers.
PLACE = 4
LOOK, CONTEXT, WIDTH = 32, 24, 32
# Of distances in space, in deviations of the points of a scene, and of those in an image, in places.
REACHES = (0.05, 0.15, 0.5)
PIXEL_REACHES = (2.0, 6.0)
# Maps for the points of one kind, and beside those of both kinds: the mask so far, a given mask, a given box, and the
# masks of other views as descriptors match them.
MAPS = 2 + len(REACHES) + len(PIXEL_REACHES)
OTHER_MAPS = 4
GROUPS = 4


@dataclass(frozen=True, eq=False)
class GuidePlaces:
    """The places of B scenes of V views: looks (B, V, E, h, w) of length one, points (B, V, h, w, 3) in the frame of
    the scene, NaN where unknown, and what the first layer has of the features (B, V, C, h, w)."""

    looks: Tensor
    points: Tensor
    context: Tensor

    def of_views(self, views: list[int]) -> "GuidePlaces":
        """Some views alone."""
        return GuidePlaces(*(each[:, views] for each in vars(self).values()))


@dataclass(frozen=True, eq=False)
class GuidePoints:
    """Points of K prompts to each of B scenes.

    Attributes:
        of_kind: (2, B, K, P) bool: the points beside the object, and those on it.
        looks: (B, K, P, E) of length one; points: (B, K, P, 3), NaN where unknown.
        views: (B, K, P) int64; places: (B, K, P, 2) row and column of the place.
    """

    of_kind: Tensor
    looks: Tensor
    points: Tensor
    views: Tensor
    places: Tensor


class Guides(nn.Module):
    """Places and prompted points -> what is added to the logits of masks (B, K, V, h, w)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.look, self.context = nn.Conv2d(features, LOOK, 1), nn.Conv2d(features, CONTEXT, 1)
        self.from_context = nn.Conv2d(CONTEXT, WIDTH, 3, padding=1)
        # How much looks and places count, together, at first.
        self.alike, self.near = nn.Parameter(torch.tensor(4.0)), nn.Parameter(torch.tensor(4.0))
        self.from_maps = nn.Conv2d(2 * MAPS + OTHER_MAPS, WIDTH, 3, padding=1, bias=False)
        self.layers = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=far, dilation=far) for far in (1, 2, 4))
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, WIDTH) for _ in range(3))
        self.out = nn.Conv2d(WIDTH, 1, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def places(self, features: Tensor, points: Tensor) -> GuidePlaces:
        """Of features (B, V, D, h, w) and points (B, V, h, w, 3)."""
        flat = features.flatten(0, 1)
        looks = F.normalize(self.look(flat).float(), dim=1)
        context = self.from_context(F.gelu(self.context(flat)))
        views = features.shape[:2]
        return GuidePlaces(looks.unflatten(0, views), points, context.unflatten(0, views))

    def forward(self, places: GuidePlaces, told: GuidePoints, others: Tensor) -> Tensor:
        """Args:
            others: (B, K, V, OTHER_MAPS, h, w)
        """
        maps = torch.cat((self.maps(places, told), others), dim=3)
        state = self.from_maps(maps.flatten(0, 2)).unflatten(0, maps.shape[:3]) + places.context[:, None]
        state = F.gelu(state.flatten(0, 2))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            state = state + F.gelu(norm(layer(state)))
        added: Tensor = self.out(state)[:, 0].unflatten(0, maps.shape[:3])
        return added

    def maps(self, places: GuidePlaces, told: GuidePoints) -> Tensor:
        """(B, K, V, 2 * MAPS, h, w)"""
        _, views, _, height, width = places.looks.shape
        looks = torch.einsum("bkpe,bvehw->bkvphw", told.looks, places.looks)  # (B, K, V, P, h, w)
        away = distances(places.points.flatten(1, 3), told.points).unflatten(-1, (views, height, width)).movedim(2, 3)
        beside = pixel_distances(told, views, (height, width))
        both = self.alike * (looks - 1) - self.near * away
        found = []
        for kind in told.of_kind.unbind():
            there = kind[:, :, None, :, None, None]
            most = [torch.where(there, each, low).amax(dim=3) for each, low in ((looks, -1.0), (both, -torch.inf))]
            nearest = torch.where(there, away, torch.inf).amin(dim=3)
            close = torch.where(there, beside, torch.inf).amin(dim=3)
            found += [most[0], most[1].exp(), *((-(nearest / reach).square()).exp() for reach in REACHES)]
            found += [(-(close / reach).square()).exp() for reach in PIXEL_REACHES]
        return torch.stack(found, dim=3)


def distances(places: Tensor, points: Tensor) -> Tensor:
    """(B, K, P, N) from points (B, K, P, 3) to places (B, N, 3); infinite where one of them is unknown."""
    batch, prompts, count = points.shape[:3]
    exact = "donot_use_mm_for_euclid_dist"  # the quicker way depends on how many points are asked for at once
    found = torch.cdist(torch.nan_to_num(points).flatten(1, 2), torch.nan_to_num(places), compute_mode=exact)
    known = torch.isfinite(points).all(dim=-1).flatten(1)[..., None] & torch.isfinite(places).all(dim=-1)[:, None]
    return torch.where(known, found, torch.inf).unflatten(1, (prompts, count))


def pixel_distances(told: GuidePoints, views: int, size: tuple[int, int]) -> Tensor:
    """(B, K, V, P, h, w) in places, from a point to the places of its own view; infinite in other views."""
    device = told.places.device
    rows = (torch.arange(size[0], device=device) - told.places[..., :1]).square()  # (B, K, P, h)
    columns = (torch.arange(size[1], device=device) - told.places[..., 1:]).square()
    found = (rows[..., None] + columns[..., None, :]).float().sqrt()[:, :, None]
    own = told.views[:, :, None] == torch.arange(views, device=device)[:, None]  # (B, K, V, P)
    return torch.where(own[..., None, None], found, torch.inf)
