"""Losses of object queries: each thing gets the query that fits it best, and only that one learns to be it.

SegVGGT (2026), equations 4 to 9; Carion et al., "End-to-End Object Detection with Transformers" (2020). The masks of
all views of a scene are one mask. A query that is given to a thing shall look at the views as much as they show of it
(frame-level attention distribution alignment), which is also a part of what decides who is given what.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geoseg_core.config import setting
from geoseg_core.errors import BadInput
from geoseg_core.instances.queries.model import QueryOutput
from geoseg_core.training.losses.instance_truth import InstanceTruth
from geoseg_core.training.losses.masks import dice_loss

# Attention below this counts as this, so that gradients stay finite; the cost of what is no number.
LEAST_SHARE, WORST_COST = 1e-8, 1e6


@dataclass(frozen=True)
class InstanceLossConfig:
    """Weights of the losses, which are those of the costs of matching, too, and which things are learned. The defaults
    are not tuned, and not the paper's."""

    classes: float = setting(0.5, "share of the cross-entropy of the classes", low=0.0)
    no_object: float = setting(0.1, "weight of queries without a thing in it", low=0.0)
    bce: float = setting(1.0, "share of the binary cross-entropy of the masks", low=0.0)
    dice: float = setting(1.0, "share of the dice loss of the masks", low=0.0)
    attention: float = setting(1.0, "share of the divergence between the views that a query looks at and those that "
                               "show its thing", low=0.0)  # fmt: skip
    attention_cost: bool = setting(True, "whether that divergence is a part of the cost of matching, too")
    deep: float = setting(1.0, "share of the same losses after each layer before the last, together", low=0.0)
    points: int = setting(8192, "cells of all views, drawn anew for each batch, at which masks are compared; 0: all")
    least_px: int = setting(24, "pixels of a thing in all views together, at least", "px", 1)


@dataclass(frozen=True, eq=False)
class Matches:
    """M things and the queries that they are given.

    Attributes:
        scenes, queries, things: (M,) int64.
    """

    scenes: Tensor
    queries: Tensor
    things: Tensor


def js_divergence(found: Tensor, truth: Tensor) -> Tensor:
    """(...): Jensen-Shannon divergence of distributions (..., V), in nats: 0 where they are the same, at most log 2."""
    found = found.clamp(min=LEAST_SHARE)
    middle = (found + truth) / 2
    apart = [torch.xlogy(each, each) - torch.xlogy(each, middle) for each in (found, truth)]
    return (apart[0] + apart[1]).sum(dim=-1) / 2


@torch.no_grad()
def matching_costs(output: QueryOutput, truth: InstanceTruth, weights: InstanceLossConfig) -> Tensor:
    """(B, Q, K) what it costs to give each thing to each query (equation 5)."""
    logits, masks = output.mask_logits.float().flatten(2), truth.masks.flatten(2).mT  # (B, Q, N), (B, N, K)
    chance = logits.sigmoid()
    bce = (F.softplus(logits).sum(dim=-1, keepdim=True) - logits @ masks) / logits.shape[-1]
    areas = chance.sum(dim=-1, keepdim=True) + masks.sum(dim=1, keepdim=True)
    dice = 1 - (2 * chance @ masks + 1) / (areas + 1)
    named = output.class_logits.float().softmax(dim=-1)
    classes = -named.gather(2, truth.classes[:, None].expand(-1, named.shape[1], -1))
    costs = weights.classes * classes + weights.bce * bce + weights.dice * dice
    if not weights.attention_cost:
        return costs
    spread = js_divergence(_shares(output)[:, :, :, None], truth.view_shares[:, None]).mean(dim=0)
    return costs + weights.attention * spread / truth.view_shares.shape[-1]


def matched(costs: Tensor, known: Tensor) -> Matches:
    """The cheapest assignment of costs (B, Q, K), of the things that are known (B, K) alone; one query for a thing."""
    # What is no number is no reason to fail: the training counts such steps.
    finite = torch.nan_to_num(costs, nan=WORST_COST, posinf=WORST_COST, neginf=WORST_COST).cpu()
    found = []
    for scene, (cost, there) in enumerate(zip(finite, known.cpu(), strict=True)):
        things = there.nonzero()[:, 0]
        rows, columns = linear_sum_assignment(cost[:, things].numpy())
        queries = torch.from_numpy(rows)
        found.append(torch.stack((torch.full_like(queries, scene), queries, things[torch.from_numpy(columns)])))
    return Matches(*torch.cat(found, dim=1).to(costs.device))


def instance_losses(output: QueryOutput, truth: InstanceTruth, weights: InstanceLossConfig) -> dict[str, Tensor]:
    """All losses, each with its share, and their sum "total"; masks and attention are means over the things.

    "deep" is the mean over the earlier layers of their classes and masks; each layer's queries are matched anew.

    Raises:
        BadInput: an output without the attention's shares of the views, or masks of another size than the truth's.
    """
    if output.size != truth.masks.shape[3:]:
        raise BadInput(
            f"expected masks of queries (h, w) = {tuple(truth.masks.shape[3:])} as the true ones, got {output.size}; "
            "make the truth of their size"
        )
    if output.drawn:
        truth = replace(truth, masks=output.drawn.of(truth.masks))
    matches = matched(matching_costs(output, truth, weights), truth.known)
    parts = _said(output, truth, weights, matches)
    parts["attention"] = parts["classes"].new_zeros(())
    if len(matches.queries):
        things = (matches.scenes, matches.things)
        looked = js_divergence(_shares(output)[:, matches.scenes, matches.queries], truth.view_shares[things])
        parts["attention"] = weights.attention * looked.mean() / truth.view_shares.shape[-1]
    if weights.deep and output.earlier:
        steps = [(each, matched(matching_costs(each, truth, weights), truth.known)) for each in output.earlier]
        summed = [torch.stack(list(_said(each, truth, weights, pairs).values())).sum() for each, pairs in steps]
        parts["deep"] = weights.deep * torch.stack(summed).mean()
    return {"total": torch.stack(list(parts.values())).sum(), **parts}


def _said(
    output: QueryOutput, truth: InstanceTruth, weights: InstanceLossConfig, matches: Matches
) -> dict[str, Tensor]:
    """The losses of classes and masks."""
    given, things = (matches.scenes, matches.queries), (matches.scenes, matches.things)
    named = _class_loss(output.class_logits.float(), truth, matches, weights.no_object)
    parts = {"classes": weights.classes * named, **dict.fromkeys(("bce", "dice"), named.new_zeros(()))}
    if len(matches.queries):
        logits, masks = (each.flatten(1, 2) for each in (output.mask_logits[given].float(), truth.masks[things]))
        parts["bce"] = weights.bce * F.binary_cross_entropy_with_logits(logits, masks)
        parts["dice"] = weights.dice * dice_loss(logits, masks)
    return parts


def _class_loss(logits: Tensor, truth: InstanceTruth, matches: Matches, no_object: float) -> Tensor:
    """Cross-entropy of all queries; those without a thing are of the last class."""
    last = logits.shape[-1] - 1
    target = torch.full(logits.shape[:2], last, device=logits.device)
    target[matches.scenes, matches.queries] = truth.classes[matches.scenes, matches.things]
    weight = F.pad(logits.new_ones(last), (0, 1), value=no_object)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)


def _shares(output: QueryOutput) -> Tensor:
    """(L, B, Q, V)"""
    if output.view_shares is None:
        raise BadInput("expected queries that say how they look at the views, got none; run them with shares=True")
    return output.view_shares.float()
