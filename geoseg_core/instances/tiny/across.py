"""What places of one view take from those of the others: first where the descriptors match them, then where they
learned to look."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from geoseg_core.layers.attention import Block, LayerNorm, LayerScale
from geoseg_core.layers.products import attend

# Scale of what is added to the features at first; with the 0.01 of deep models nothing is learned in a short time.
FIRST_SCALE = 0.1


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

    Chances are the softmax over products of descriptors with `nowhere` beside, so this is attention with one more key.

    Args:
        described: (B, N, D) descriptors of the places of all views, view after view; D is C at most.
        nowhere: (B,) logit that no place shows it.
    """
    batch, count, width = values.shape
    said = F.pad(described.detach(), (0, width - described.shape[-1]))  # keys as wide as values are quick
    queries = said.unflatten(1, (views, -1))  # (B, V, n, C)
    keys, given = (F.pad(each, (0, 0, 0, 1))[:, None].expand(-1, views, -1, -1) for each in (said, values))
    beside = said.new_zeros(batch, views, 1, count + 1)
    beside[..., -1] = nowhere.detach()[:, None, None]
    own = torch.eye(views, dtype=torch.bool, device=said.device).repeat_interleave(count // views, dim=1)
    beside[..., :-1].masked_fill_(own[:, None], -torch.inf)
    return F.scaled_dot_product_attention(queries, keys, given, beside, scale=1.0).flatten(1, 2)
