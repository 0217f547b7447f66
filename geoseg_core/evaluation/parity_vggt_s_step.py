"""Parity of one training step of the union head: predictions, losses, gradients, and what the optimiser does."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geoseg_core.cross_view.union_head.model import HeadInput, UnionHead
from geoseg_core.cross_view.union_head.steps import training_output
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row
from geoseg_core.evaluation.parity_vggt_s import (
    GIVEN,
    RECIPE,
    HeadSet,
    absolute_row,
    limit_of,
    max_of,
    misfits,
    set_misfits,
    set_up,
    without,
)
from geoseg_core.training.losses.masks import dice_loss, focal_loss

RESULTS = {
    "loss", "loss_focal_weighted", "loss_dice", "per_sample_focal", "per_sample_dice", "grad_norms",
    "grad_norm_total_before_clip", "update_norms",
}  # fmt: skip
NOTES = {"adamw", "src_points_feat_after_note"}
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
# Some gradients are zero but for rounding (a bias of keys shifts all attention alike), and the optimiser's first step
# makes all gradients the same length.
UPDATE_TOLERANCE = 1e-3
FOCAL_WEIGHT = 20.0


def run_step(fixture: Fixture) -> list[Row]:
    """One step on the samples of the fixture, in evaluation of everything that is stored of it."""
    files = HeadSet(fixture.path)
    if files.recipe is None:
        raise BadInput(f"{fixture.path}: expected a recipe beside a training step, found none")
    content, stated = files.recipe.content, files.recipe.stated
    head, pairs, truth = files.head().train(), files.pairs, files.tensors["in.gt"]
    with torch.enable_grad():
        logits = training_output(head, pairs, float(stated["refine_ratio"]), int(stated["refine_time"])).logits
        losses = losses_of(logits, truth)
        losses["loss"].backward()
    gradients = {name: each.grad.clone() for name, each in head.named_parameters() if each.grad is not None}
    norms = {name: float(each.norm()) for name, each in gradients.items()}
    total = float(torch.tensor(list(norms.values()), dtype=torch.float64).norm())
    computed = set_up(files) | {f"grad.{name}": each for name, each in gradients.items()}
    computed |= {"pred_logits": logits.detach(), "src_points_feat_after": features_after(head, pairs, stated)}
    updates = update_norms(head, content["adamw"])
    gradient_limit, update_limit = GRADIENT_TOLERANCE * total, UPDATE_TOLERANCE * max(updates.values())
    others = misfits(without(content, RESULTS | NOTES | RECIPE), head.config, files.feature_map.shape, content["seed"])
    rows = set_misfits(files, fixture.config) + others
    rows += [
        absolute_row(name, computed.get(name), each, gradient_limit if name.startswith("grad.") else limit_of(name))
        for name, each in fixture.all_tensors.items()
        if name not in GIVEN
    ]
    rows += [
        absolute_row(name, each.detach(), torch.tensor(content[name]), LOSS_TOLERANCE * float(max_of(each)))
        for name, each in losses.items()
    ]
    total_name = "grad_norm_total_before_clip"
    return [
        *rows,
        numbers_row("grad_norms", norms, content["grad_norms"], gradient_limit),
        numbers_row(total_name, {total_name: total}, {total_name: content[total_name]}, gradient_limit),
        numbers_row("update_norms", updates, content["update_norms"], update_limit),
    ]


def losses_of(logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """The losses of a step, and those of each sample, by the names of the fixtures."""
    focal, dice = FOCAL_WEIGHT * focal_loss(logits, truth), dice_loss(logits, truth)
    pairs = list(zip(logits, truth, strict=True))
    return {
        "loss": focal + dice,
        "loss_focal_weighted": focal,
        "loss_dice": dice,
        "per_sample_focal": torch.stack([focal_loss(each, wanted) for each, wanted in pairs]),
        "per_sample_dice": torch.stack([dice_loss(each, wanted) for each, wanted in pairs]),
    }


def features_after(head: UnionHead, pairs: HeadInput, stated: Mapping[str, Any]) -> Tensor:
    """Sampled features as the calls of a step leave them."""
    assert pairs.sampled is not None
    plain = int(len(pairs.masks) * float(stated["refine_ratio"]))
    parts = ((pairs.sampled[:plain], 1), (pairs.sampled[plain:], 1 + int(stated["refine_time"])))
    return torch.cat([head.prompt_encoder.point_features(each, additions) for each, additions in parts]).detach()


def update_norms(head: nn.Module, adamw: Mapping[str, Any]) -> dict[str, float]:
    """How far a step of AdamW moves each parameter after the gradients were clipped to norm 1."""
    before = {name: each.detach().clone() for name, each in head.named_parameters()}
    torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
    options = dict(adamw) | {"betas": tuple(adamw["betas"])}
    torch.optim.AdamW(head.parameters(), **options).step()
    return {name: float((each.detach() - before[name]).norm()) for name, each in head.named_parameters()}


def numbers_row(name: str, ours: Mapping[str, float], theirs: Mapping[str, float], limit: float) -> Row:
    """The largest difference of numbers with names; a name on one side alone is a miss."""
    if set(ours) != set(theirs):
        return Row("", name, None, limit, f"NAMES {sorted(set(ours) ^ set(theirs))[:5]}")
    return Row("", name, max(abs(ours[each] - theirs[each]) for each in ours), limit)
