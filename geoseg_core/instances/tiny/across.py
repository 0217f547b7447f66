"""What places of one view take from those of the others: first where the descriptors match them, then where they
learned to look."""

import torch
from torch import Tensor, nn

from geoseg_core.layers.attention import Block, LayerNorm, LayerScale

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
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        for module in self.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, FIRST_SCALE)

    def forward(self, features: Tensor, descriptors: Tensor, places: Tensor, nowhere: Tensor) -> Tensor:
        """Args:
        features: (B, V, C, h, w)
        descriptors: (B, V, D, h, w) whose products, with `nowhere` (B,) beside, tell matches.
        places: (B, V, E, h, w)
        """
        batch, views, _, height, width = features.shape
        flat, described, where = (each.movedim(2, -1).flatten(1, 3) for each in (features, descriptors, places))
        chances = match_chances(described, nowhere, views)  # (B, N, N)
        taken = chances.to(features.dtype) @ self.matched(self.norm(flat)).to(features.dtype)
        flat = flat + self.scale(taken) + self.place(torch.cat((described.to(where.dtype), where), dim=-1))
        for block in self.blocks:
            flat = block(flat)
        return flat.unflatten(1, (views, height, width)).movedim(-1, 2)


@torch.no_grad()
def match_chances(described: Tensor, nowhere: Tensor, views: int) -> Tensor:
    """Chances (B, N, N) that the places (columns) of the other views show what the places (rows) of a view show; a row
    sums to less than 1, the rest being that no view shows it.

    Args:
        described: (B, N, D) descriptors of the places of all views, view after view.
        nowhere: (B,) logit that no place shows it.
    """
    count = described.shape[1] // views
    logits = (described @ described.mT).float().unflatten(2, (views, count)).unflatten(1, (views, count))
    own = torch.eye(views, dtype=torch.bool, device=described.device)[:, None, :, None]
    logits = logits.masked_fill(own, -torch.inf).flatten(3, 4).flatten(1, 2)
    beside = nowhere.float()[:, None, None].expand(-1, logits.shape[1], 1)
    return torch.cat((logits, beside), dim=-1).softmax(dim=-1)[..., :-1]
