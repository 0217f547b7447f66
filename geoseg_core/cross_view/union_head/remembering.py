"""Masks of objects as what is remembered of them, for the union head.

The head's mask token of an object is read from a view that is its own source and target: it depends on the view and the
mask alone, so the networks learn from the same tokens that they are given later, whoever found the mask.
"""

import numpy as np
import torch
from torch import Tensor

from geoseg_core.cross_view.union_head.anchors import mask_anchors
from geoseg_core.cross_view.union_head.config import UnionHeadConfig
from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead
from geoseg_core.errors import BadConfig
from geoseg_core.memory.config import MemoryConfig
from geoseg_core.memory.encoder import EncodedMemory, MemoryEncoder


def check_memory(head: UnionHeadConfig, memory: MemoryConfig) -> None:
    """Whether memory networks are made for a head's features.

    Raises:
        BadConfig: they are not.
    """
    wanted = (head.given_width, head.width, head.given_stride)
    if (got := (memory.map_width, memory.token_width, memory.map_stride)) != wanted:
        raise BadConfig(
            f"expected memory networks with map_width, token_width and map_stride {wanted}, got {got}; take those that "
            "were made for the head"
        )


def anchors_of(masks: Tensor, count: int) -> Tensor:
    """(N, count, 2) points in pixels that stand for masks (N, H, W) bool, on the masks' device."""
    points = [mask_anchors(mask, count).points_px for mask in masks.cpu().numpy()]
    return torch.from_numpy(np.stack(points)).to(masks.device)


@torch.no_grad()
def object_tokens(head: UnionHead, maps: Tensor, masks: Tensor, anchors: int) -> Tensor:
    """(N, C) what the head says of masks (N, H, W) bool in views with features (N, D, h, w)."""
    points = anchors_of(masks, anchors).to(maps)
    return head.call(HeadInput(maps, maps, masks, points, points)).token.float()


def encoded_masks(head: UnionHead, encoder: MemoryEncoder, maps: Tensor, masks: Tensor, anchors: int) -> EncodedMemory:
    """Memories of N objects by their masks (N, H, W) bool in views with features (N, D, h, w); an empty mask says that
    the object is absent."""
    limit = head.config.mask_logit
    tokens = object_tokens(head, maps, masks, anchors)
    return encoder(maps, torch.where(masks, limit, -limit), tokens, masks.flatten(1).any(dim=1))
