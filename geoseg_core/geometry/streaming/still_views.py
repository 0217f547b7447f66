"""Patch tokens of views that have not changed are used again: they depend on nothing but the image.

How far an image has changed: both images are averaged over blocks of half a patch, channel by channel, and the largest
difference of any block counts. Averaging comes first, so the noise of single pixels (a standard deviation of 4 of 255
leaves less than 0.015 of the range in the worst of ten thousand blocks) does not count, while a hand that enters a
single block does, however still the rest is. An image is compared with the one that was embedded, not with the one
before it, so slow changes add up until they are noticed.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class StillViews:
    """The last embedded image of each view, and its patch tokens.

    Attributes:
        embedded, reused: views that were embedded, and those whose tokens were used again, since the start.
    """

    def __init__(self, block: int, change: float) -> None:
        self.block, self.change = block, change
        self.embedded = self.reused = 0
        self._images: Tensor | None = None
        self._patches: Tensor | None = None

    def embed(self, images: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """Patch tokens (V, P, C) of images (V, 3, h, w); `embed` makes those of images (1, N, 3, h, w)."""
        if self._images is None or self._patches is None:
            stale, patches = torch.arange(len(images), device=images.device), embed(images[None])
            self._images = images
        else:
            stale = (change_of(images, self._images, self.block) > self.change).nonzero()[:, 0]
            patches = self._patches
            if len(stale):
                patches = patches.index_copy(0, stale, embed(images[stale][None]))
                self._images = self._images.index_copy(0, stale, images[stale])
        self._patches = patches
        self.embedded, self.reused = self.embedded + len(stale), self.reused + len(images) - len(stale)
        return patches

    def forget(self) -> None:
        """Embed all views of the next set."""
        self._images = self._patches = None


def change_of(images: Tensor, before: Tensor, block: int) -> Tensor:
    """(V,) largest difference, in [0, 1], between images (V, 3, h, w) averaged over blocks of `block` pixels."""
    return F.avg_pool2d(images - before, block, ceil_mode=True).abs().amax(dim=(1, 2, 3))
