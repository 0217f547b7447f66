"""What places of one view take from those of the others: first where the descriptors match them, then where they
learned to look."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.layers.attention import Block, LayerNorm, LayerScale
from geoseg_core.layers.products import attend

# Scale of what is added to the features at first; with the 0.01 of deep models nothing is learned in a short time.
FIRST_SCALE = 0.1
# Numbers below exp of this are slow to compute with, and no chance.
LEAST_LOG = -60.0


class Across(nn.Module):
    """Features (B, V, C, h, w) -> the same with what the other views show of each place."""

    def __init__(self, width: int, described: int, places: int, heads: int, blocks: int) -> None:
        """described: channels of the descriptors; places: numbers that tell where a place is."""
        super().__init__()
        self.norm = LayerNorm(width)
        self.matched = nn.Linear(width, width)
        self.scale = LayerScale(width)
        self.place = nn.Linear(described + places, width)
        self.blocks = nn.ModuleList(PooledBlock(width, heads) for _ in range(blocks))
        for module in self.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, FIRST_SCALE)

    def forward(self, features: Tensor, descriptors: Tensor, places: Tensor, nowhere: Tensor) -> Tensor:
        """The features with what the other views add.

        Args:
            features: (B, V, C, h, w)
            descriptors: (B, V, D, h, w) whose products, with `nowhere` (B,) beside, tell matches.
            places: (B, V, E, h, w)
        """
        views, height, width = features.shape[1], *features.shape[3:]
        flat, described, where = (each.movedim(2, -1).flatten(1, 3) for each in (features, descriptors, places))
        flat = flat + self.scale(shown_elsewhere(self.matched(self.norm(flat)), described, nowhere, views))
        flat = flat + self.place(torch.cat((described.to(where.dtype), where), dim=-1))
        for block in self.blocks:
            flat = block(flat, (views, height, width))
        return flat.unflatten(1, (views, height, width)).movedim(-1, 2)


class PooledBlock(Block):
    """A block in which places look at means over squares of 2 x 2 places, a quarter as many (Wang et al., "Pyramid
    Vision Transformer", 2021)."""

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:  # type: ignore[override]
        """x: (B, V*h*w, C) of a grid (V, h, w)."""
        normed = self.norm1(x)
        squares = F.avg_pool2d(normed.unflatten(1, grid).flatten(0, 1).movedim(-1, 1), 2, ceil_mode=True)
        pooled = squares.flatten(2).mT.unflatten(0, (-1, grid[0])).flatten(1, 2)
        query = self.attn.split(normed)[0]
        _, key, value = self.attn.split(pooled)
        x = self.add(x, self.attn.join(attend(query, key, value)), self.ls1)
        return self.add(x, self.mlp(self.norm2(x)), self.ls2)


def shown_elsewhere(values: Tensor, described: Tensor, nowhere: Tensor, views: int) -> Tensor:
    """For each place the mean (B, N, C) of the values (B, N, C) of the places in other views that show the same, by the
    chances that they do; 0 for the chance that none does.

    Args:
        described: (B, N, D) descriptors of the places of all views, view after view.
        nowhere: (B,) logit that no place shows it.
    """
    if views == 1:
        return torch.zeros_like(values)
    given, said = values.chunk(views, dim=1), described.chunk(views, dim=1)
    taken = []
    for view in range(views):
        others = [other for other in range(views) if other != view]
        chances = match_chances(said[view], torch.cat([said[other] for other in others], dim=1), nowhere)
        taken.append(chances.to(values.dtype) @ torch.cat([given[other] for other in others], dim=1))
    return torch.cat(taken, dim=1)


@torch.no_grad()
def match_chances(own: Tensor, others: Tensor, nowhere: Tensor) -> Tensor:
    """Chances (B, N, M) that places with descriptors (B, M, D) show what those with descriptors (B, N, D) show; a row
    sums to less than 1, the rest being the chance of `nowhere` (B,)."""
    logits = (own @ others.mT).float()
    beside = nowhere.float()[:, None, None]
    highest = torch.maximum(logits.amax(dim=-1, keepdim=True), beside)
    parts = (logits - highest).clamp_(min=LEAST_LOG).exp_()
    return parts / (parts.sum(dim=-1, keepdim=True) + (beside - highest).exp())
