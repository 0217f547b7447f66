"""What a training step of the union head computes: half of the samples are refined, as published.

Refined samples get their first calls without gradients; only the last call of each sample is learned from.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor

from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead


def training_logits(head: UnionHead, pairs: HeadInput, plain_share: float = 0.5, refinements: int = 1) -> Tensor:
    """(B, H, W) logits: of the first int(B * plain_share) samples as first called, of the others refined."""
    batch = len(pairs.masks)
    plain = int(batch * plain_share)
    parts = []
    if plain:
        first = part_of(pairs, slice(0, plain))
        parts.append(head.call(first, feedback=first.prior).logits)
    if plain < batch:
        parts.append(refined_logits(head, part_of(pairs, slice(plain, batch)), refinements))
    return torch.cat(parts)


def refined_logits(head: UnionHead, pairs: HeadInput, refinements: int) -> Tensor:
    """(B, H, W) logits of the last of 1 + `refinements` calls; the ones before leave no gradients."""
    feedback = pairs.prior
    with torch.no_grad():
        for number in range(refinements):
            feedback = head.resized_feedback(head.call(pairs, number, feedback).raw)
    return head.call(pairs, refinements, feedback).logits


def part_of(pairs: HeadInput, rows: slice) -> HeadInput:
    """Some of the samples."""
    given = ((each.name, getattr(pairs, each.name)) for each in fields(pairs))
    return replace(pairs, **{name: value[rows] for name, value in given if value is not None})
