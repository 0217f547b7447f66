"""Points that stand for a mask: some on it, and some just outside of it, which are not on the object."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

MASK_POINTS, RIM_POINTS = 16, 8
# Pixels from the mask to where its rim begins and ends, since the edge of a mask may be wrong by some.
RIM = (3, 8)


def rim(mask: Tensor) -> Tensor:
    """(..., H, W) bool: what surrounds a mask (..., H, W) bool."""
    flat = mask.float().reshape(-1, 1, *mask.shape[-2:])
    inner, outer = (grown(flat, far) > 0 for far in RIM)
    return (outer & ~inner).reshape(mask.shape)


def grown(maps: Tensor, far: int) -> Tensor:
    """The highest value of maps (B, 1, H, W) within `far` pixels each way: along rows, then along columns."""
    along = F.max_pool2d(maps, (1, 2 * far + 1), stride=1, padding=(0, far))
    return F.max_pool2d(along, (2 * far + 1, 1), stride=1, padding=(far, 0))
