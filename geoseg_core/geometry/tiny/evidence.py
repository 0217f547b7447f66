"""How well a pose of two views suits all that their descriptors hold possible.

A match names the likeliest place alone. Where descriptors are unsure (a table's edge, a plain wall), that is often
wrong while the right place is among the likely ones; so poses are compared by the chances of the places to which they
move every cell of both views, by its depth.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from geoseg_core.geometry.tiny.matching import cell_centres, coarse_logits, neighbourhood
from geoseg_core.geometry.tiny.model import COARSE, TinyOutput

# Of the places that lie inside the other view, so many are not hidden there.
OPEN = 0.8
# Of all places, descriptors know nothing of so many.
UNKNOWN = 0.02
AHEAD = 1e-3


@dataclass(frozen=True, eq=False)
class Places:
    """Every other coarse cell of one view, as on a chessboard, and where the other view may show it.

    Attributes:
        offsets: (N, 2) from the image's centre, in widths of the image.
        depth: (N,) in the view's own unit.
        chances: (N, h, w) of each cell of the other view, each the mean of the 3x3 cells around.
        hidden: (N,) chance that the other view does not show the place.
    """

    offsets: Tensor
    depth: Tensor
    chances: Tensor
    hidden: Tensor

    @classmethod
    def of(cls, output: TinyOutput, view: int, found: Tensor) -> "Places":
        """Those of a view of one scene (B = 1), from the chances of all its cells, `coarse_chances`."""
        height, width = output.log_depth.shape[-2:]
        grid = (height // COARSE, width // COARSE)
        rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
        kept = ((rows + columns) % 2 == 0).flatten()
        centres = cell_centres(height, width)[kept]
        centre = centres.new_tensor(((width - 1) / 2, (height - 1) / 2))
        column, row = centres.round().long().unbind(dim=-1)
        depth = output.log_depth[0, view].cpu()[row, column].exp()
        found = found[kept]
        return cls(
            (centres - centre) / width, depth.float(), neighbourhood(found[:, :-1].unflatten(-1, grid)), found[:, -1]
        )

    def lifted(self, focals: Tensor) -> Tensor:
        """Points (G, N, 3) in the view's camera frame, for focal lengths (G,) in widths of the image."""
        slopes = self.offsets / focals[:, None, None]
        return torch.cat((slopes, torch.ones_like(slopes[..., :1])), dim=-1) * self.depth[:, None]

    def log_likelihood(self, points: Tensor, focals: Tensor) -> Tensor:
        """(G,) of the places' points (G, N, 3) in the other camera's frame, whose focal lengths are (G,)."""
        height, width = self.chances.shape[-2:]
        depth = points[..., 2:].clamp(min=AHEAD)
        cells = focals[:, None, None] * points[..., :2] / depth * width + points.new_tensor((width - 1, height - 1)) / 2
        column, row = cells.round().unbind(dim=-1)
        inside = (points[..., 2] > AHEAD) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        flat = torch.where(inside, row * width + column, 0).long()
        chance = self.chances.flatten(1).gather(1, flat.mT).mT
        anywhere = 1 / (height * width)
        seen = OPEN * chance + (1 - OPEN) * self.hidden * anywhere
        likely = torch.where(inside, seen, self.hidden * anywhere)
        return ((1 - UNKNOWN) * likely + UNKNOWN * anywhere).log().sum(dim=1)


class Evidence:
    """What two views of one scene (B = 1) say of their relative pose.

    Attributes:
        hidden: (h*w,) chance of each coarse cell of the first view that the second does not show it.
    """

    def __init__(self, output: TinyOutput, first: int, second: int) -> None:
        there, back = coarse_chances(output, first, second), coarse_chances(output, second, first)
        self.hidden = there[:, -1]
        self.first, self.second = Places.of(output, first, there), Places.of(output, second, back)

    def log_likelihood(self, parameters: np.ndarray) -> np.ndarray:
        """(G,) of poses (G, 9), the parameters of `relative.py`."""
        found = torch.from_numpy(parameters).float()
        turns = torch.from_numpy(Rotation.from_rotvec(parameters[:, :3]).as_matrix()).float()  # second to first
        shifts, scales, (first, second) = found[:, None, 3:6], found[:, 6].exp(), found[:, 7:].exp().unbind(dim=1)
        forward = (self.first.lifted(first) - shifts) @ turns
        backward = scales[:, None, None] * self.second.lifted(second) @ turns.mT + shifts
        total = self.first.log_likelihood(forward, second) + self.second.log_likelihood(backward, first)
        return total.double().numpy()


def coarse_chances(output: TinyOutput, view: int, other: int) -> Tensor:
    """(h*w, h*w + 1) chances of each coarse cell of a view to be in each cell of the other, and in none, on the CPU."""
    described = output.coarse[0, view].flatten(1).mT[None]
    return coarse_logits(described, output.coarse[:, other], output.nowhere)[0].softmax(dim=-1).cpu()
