"""What a training step of the union head computes: half of the samples are refined, as published.

Refined samples get their first calls without gradients; only the last call of each sample is learned from.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor

from geoseg_core.cross_view.union_head.model import HeadInput, HeadOutput, UnionHead


def training_output(head: UnionHead, pairs: HeadInput, plain_share: float = 0.5, refinements: int = 1) -> HeadOutput:
    """The first int(B * plain_share) samples as first called, the others refined."""
    batch = len(pairs.masks)
    plain = int(batch * plain_share)
    parts = []
    if plain:
        parts.append(head.call(part_of(pairs, slice(0, plain))))
    if plain < batch:
        parts.append(refined(head, part_of(pairs, slice(plain, batch)), refinements))
    return joined(parts)


def refined(head: UnionHead, pairs: HeadInput, refinements: int) -> HeadOutput:
    """What is said in the last of 1 + `refinements` calls; the ones before leave no gradients."""
    feedback: Tensor | None = None
    with torch.no_grad():
        for number in range(refinements):
            feedback = head.resized_feedback(head.call(pairs, number, feedback).raw)
    return head.call(pairs, refinements, feedback)


def joined(parts: list[HeadOutput]) -> HeadOutput:
    """All samples of outputs of one head."""
    given = {each.name: [getattr(part, each.name) for part in parts] for each in fields(HeadOutput)}
    return HeadOutput(**{name: torch.cat(values) for name, values in given.items() if values[0] is not None})


def part_of(pairs: HeadInput, rows: slice) -> HeadInput:
    """Some of the samples."""
    given = ((each.name, getattr(pairs, each.name)) for each in fields(pairs))
    return replace(pairs, **{name: value[rows] for name, value in given if value is not None})
