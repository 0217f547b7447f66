"""Losses and matching of object queries against values worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.instances.queries.model import DrawnCells, QueryOutput
from geoseg_core.training.losses.instance_truth import InstanceTruth, instance_truth
from geoseg_core.training.losses.instances import (
    InstanceLossConfig,
    instance_losses,
    js_divergence,
    matched,
    matching_costs,
)

ONES = InstanceLossConfig(classes=1.0, no_object=0.1, bce=1.0, dice=1.0, attention=1.0)
# Of (0.5, 0.5) and (1, 0): with the middle (0.75, 0.25).
HALF_APART = 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) + 0.5 * math.log(1 / 0.75)


def truth_of(*scenes):
    """Each scene: the cells (of the four of 2 views x 1 x 2) of each thing."""
    most = max(map(len, scenes))
    masks = torch.zeros(len(scenes), most, 4)
    for scene, things in enumerate(scenes):
        for thing, cells in enumerate(things):
            masks[scene, thing, cells] = 1
    masks = masks.view(len(scenes), most, 2, 1, 2)
    pixels = masks.sum(dim=(3, 4))
    known = pixels.sum(dim=2) > 0
    ids = known * torch.arange(1, most + 1)
    return InstanceTruth(
        known, ids, torch.zeros_like(ids), masks, pixels / pixels.sum(dim=2, keepdim=True).clamp(min=1)
    )


def undecided(scenes=1, queries=2, layers=1):
    """Queries that know nothing and look at both views alike."""
    shares = torch.full((layers, scenes, queries, 2), 0.5)
    return QueryOutput(torch.zeros(scenes, queries, 2), torch.zeros(scenes, queries, 2, 1, 2), shares)


def sure_of(truth, queries, order):
    """One scene's queries, of which `order` have the things in turn."""
    masks = torch.full((1, queries, 2, 1, 2), -20.0)
    classes = torch.tensor([-20.0, 0.0]).repeat(1, queries, 1)
    shares = torch.full((1, 1, queries, 2), 0.5)
    for thing, query in enumerate(order):
        masks[0, query] = 40 * truth.masks[0, thing] - 20
        classes[0, query] = torch.tensor([20.0, 0.0])
        shares[0, 0, query] = truth.view_shares[0, thing]
    return QueryOutput(classes, masks, shares)


def test_the_divergence_by_hand():
    found = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.3, 0.7], [1.0, 0.0]])
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, 0.7], [1.0, 0.0]])
    expected = [HALF_APART, math.log(2), 0.0, 0.0]
    assert js_divergence(found, truth).tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.allclose(js_divergence(found, truth), js_divergence(truth, found), atol=1e-6)


def test_a_view_that_gets_no_attention_has_a_finite_gradient():
    logits = torch.tensor([200.0, 0.0], requires_grad=True)
    js_divergence(logits.softmax(dim=-1), torch.tensor([0.0, 1.0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_costs_by_hand():
    truth = truth_of([[0]])
    output = undecided(layers=3)
    output.mask_logits[0, 1] = torch.tensor([[[100.0, -100.0]], [[-100.0, -100.0]]])
    output.class_logits[0, 1] = torch.tensor([math.log(3.0), 0.0])
    output.view_shares[:, 0, 1] = torch.tensor([1.0, 0.0])
    # Half the pixels of four are its: 2 * 0.5 of 2 + 1, with 1 added above and below.
    unknowing = math.log(2) + (1 - (2 * 0.5 + 1) / (2 + 1 + 1)) - 0.5 + HALF_APART / 2
    costs = matching_costs(output, truth, ONES)
    assert costs.shape == (1, 2, 1)
    assert costs.flatten().tolist() == pytest.approx([unknowing, -0.75], abs=1e-5)
    double = InstanceLossConfig(classes=2.0, bce=0.0, dice=0.0, attention=0.0)
    assert matching_costs(output, truth, double).flatten().tolist() == pytest.approx([-1.0, -1.5])


def test_losses_by_hand():
    parts = instance_losses(undecided(), truth_of([[0]]), ONES)
    values = {name: float(value) for name, value in parts.items()}
    expected = {"classes": math.log(2), "bce": math.log(2), "dice": 0.5, "attention": HALF_APART / 2}
    assert values == pytest.approx(expected | {"total": sum(expected.values())}, abs=1e-5)


def test_queries_without_a_thing_count_less():
    output = undecided()
    output.class_logits[0] = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])
    parts = instance_losses(output, truth_of([[0]]), ONES)
    assert float(parts["classes"]) == pytest.approx((math.log(4 / 3) + 0.1 * math.log(4)) / 1.1, abs=1e-5)


def test_the_divergence_is_a_mean_over_layers_and_views():
    output = undecided(layers=2)
    output.view_shares[1] = torch.tensor([1.0, 0.0])
    parts = instance_losses(output, truth_of([[0]]), ONES)
    assert float(parts["attention"]) == pytest.approx((HALF_APART + 0) / 2 / 2, abs=1e-5)


def test_each_layer_before_the_last_is_matched_anew_and_counts_as_a_mean():
    truth = truth_of([[0, 1], [3]])
    last, other, unknowing = sure_of(truth, 3, (0, 1)), sure_of(truth, 3, (2, 0)), undecided(queries=3)
    said = float(sum(instance_losses(unknowing, truth, ONES)[name] for name in ("classes", "bce", "dice")))
    assert "deep" not in instance_losses(last, truth, ONES)
    parts = instance_losses(replace(last, earlier=(other, unknowing)), truth, replace(ONES, deep=0.5))
    assert float(parts["deep"]) == pytest.approx(0.5 * (0 + said) / 2, abs=1e-5)
    assert float(parts["total"]) == pytest.approx(float(parts["deep"]), abs=1e-5)


def test_without_the_attention_in_the_cost_masks_alone_decide():
    truth = truth_of([[0]])
    output = undecided()
    output.view_shares[0, 0] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    output.mask_logits[0, 0] = torch.tensor([[[0.1, 0.0]], [[0.0, 0.0]]])
    plain = matching_costs(output, truth, replace(ONES, attention_cost=False))
    assert matched(plain, truth.known).queries.tolist() == [0]
    assert matched(matching_costs(output, truth, ONES), truth.known).queries.tolist() == [1]


def test_masks_are_compared_at_the_drawn_cells_alone():
    # The thing has cells 1 and 2 of four. The query has logit 20 at cell 0, which is wrong, and knows no more.
    truth, output = truth_of([[1, 2]]), undecided(queries=1)
    output.mask_logits[0, 0, 0, 0, 0] = 20.0

    def bce(*cells):
        drawn = DrawnCells(torch.tensor(cells), (1, 2))
        parts = instance_losses(replace(output, mask_logits=drawn.of(output.mask_logits), drawn=drawn), truth, ONES)
        return float(parts["bce"])

    assert bce(1, 2) == pytest.approx(math.log(2))
    assert bce(2, 0) == pytest.approx((math.log(2) + 20) / 2)
    assert bce(3, 2, 1, 0) == pytest.approx(float(instance_losses(output, truth, ONES)["bce"]))


def test_each_thing_gets_the_query_that_is_it():
    truth = truth_of([[0, 1], [3], [2]])
    output = sure_of(truth, 5, (4, 0, 2))
    found = matched(matching_costs(output, truth, ONES), truth.known)
    assert dict(zip(found.queries.tolist(), found.things.tolist(), strict=True)) == {4: 0, 0: 1, 2: 2}
    assert float(instance_losses(output, truth, ONES)["total"]) == pytest.approx(0, abs=1e-5)


def test_attention_decides_where_masks_do_not():
    truth = truth_of([[0]])
    output = undecided()
    output.view_shares[0, 0] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert matched(matching_costs(output, truth, ONES), truth.known).queries.tolist() == [1]


def test_scenes_with_fewer_things_are_filled_up_and_count_as_they_do_alone():
    truth = truth_of([[0], [1, 2]], [], [[3]])
    output = undecided(scenes=3, queries=4)
    found = matched(matching_costs(output, truth, ONES), truth.known)
    assert found.scenes.tolist() == [0, 0, 2] and sorted(found.things.tolist()) == [0, 0, 1]
    alone = instance_losses(undecided(queries=4), truth_of([[3]]), ONES)
    last = InstanceTruth(*(getattr(truth, name)[2:] for name in ("known", "ids", "classes", "masks", "view_shares")))
    padded = instance_losses(undecided(queries=4), last, ONES)
    assert {name: float(value) for name, value in padded.items()} == pytest.approx(
        {name: float(value) for name, value in alone.items()}
    )


def test_a_scene_without_a_thing_teaches_that_there_is_none():
    output = undecided()
    output.class_logits.requires_grad_()
    parts = instance_losses(output, truth_of([]), ONES)
    parts["total"].backward()
    assert float(parts["total"].detach()) == pytest.approx(math.log(2))
    assert parts["bce"] == parts["dice"] == parts["attention"] == 0
    assert (output.class_logits.grad[..., 0] > 0).all()


def test_with_more_things_than_queries_each_query_has_one():
    truth = truth_of([[0], [1], [2]])
    found = matched(matching_costs(undecided(), truth, ONES), truth.known)
    assert sorted(found.queries.tolist()) == [0, 1] and len(set(found.things.tolist())) == 2


def test_what_is_no_number_is_matched_too():
    output, truth = undecided(), truth_of([[0]])
    output.mask_logits[0, 0] = math.nan
    assert matched(matching_costs(output, truth, ONES), truth.known).queries.tolist() == [1]
    output.mask_logits[:] = math.nan
    assert not torch.isfinite(instance_losses(output, truth, ONES)["total"])


def labelled(ids, poses=None):
    known = torch.tensor(ids)
    images = torch.zeros(*known.shape[:2], 3, *known.shape[2:])
    moved = None if poses is None else torch.eye(4).expand(*known.shape[:2], poses, 4, 4)
    return Sample(images, instance_ids=known, object_to_world=moved)


FIRST = [[[5, 5, 0, 0], [5, 0, 0, 0], [0, 0, 9, 9], [0, 0, 9, 9]], [[0, 0, 0, 5], [0, 0, 5, 0], [9, 0, 0, 0], [0] * 4]]
EMPTY = [[[0] * 4] * 4] * 2


def test_truth_by_hand():
    truth = instance_truth(labelled([FIRST, EMPTY]), (2, 2))
    assert truth.known.tolist() == [[True, True], [False, False]] and truth.ids.tolist() == [[5, 9], [0, 0]]
    assert truth.masks[0, 0].tolist() == [[[1, 0], [0, 0]], [[0, 1], [0, 0]]], "half of a cell is enough"
    assert truth.masks[0, 1].tolist() == [[[0, 0], [0, 1]], [[0, 0], [0, 0]]], "a quarter is not"
    assert torch.allclose(truth.view_shares[0], torch.tensor([[3 / 5, 2 / 5], [4 / 5, 1 / 5]]))
    assert (truth.masks[1] == 0).all() and (truth.view_shares[1] == 0).all()


def test_what_is_too_small_or_has_no_pose_is_no_thing():
    assert instance_truth(labelled([FIRST]), (1, 1)).ids.shape == (1, 0), "it covers no cell"
    assert instance_truth(labelled([FIRST]), (4, 4), least_px=5).ids.tolist() == [[5, 9]]
    assert instance_truth(labelled([FIRST]), (4, 4), least_px=6).ids.tolist() == [[]]
    assert instance_truth(labelled([FIRST], poses=8), (2, 2)).ids.tolist() == [[5]]


def test_a_thing_is_of_the_class_that_most_of_its_pixels_have():
    batch = labelled([FIRST, FIRST])
    kinds = torch.where(batch.instance_ids == 5, 3, torch.where(batch.instance_ids == 9, 1, 7))
    kinds[0, 0, 0, :2] = 2  # two of the five pixels of thing 5
    kinds[1, 0, 2:, 2:] = 0  # four of the five of thing 9
    named = replace(batch, class_ids=kinds)
    truth = instance_truth(named, (2, 2), classes=3)
    assert truth.ids.tolist() == [[5, 9], [5, 0]] and truth.classes.tolist() == [[2, 0], [2, 0]]
    assert truth.known.tolist() == [[True, True], [True, False]], "a thing of no class is none"
    assert instance_truth(named, (2, 2), classes=2).ids.tolist() == [[9], [0]]
    alike = instance_truth(named, (2, 2))
    assert alike.ids.tolist() == [[5, 9]] * 2 and (alike.classes == 0).all(), "one class needs no class ids"
    with pytest.raises(BadInput, match="class ids to learn 2 classes, got none"):
        instance_truth(batch, (2, 2), classes=2)


def test_one_view_has_the_whole_of_each_thing():
    truth = instance_truth(labelled([FIRST[:1]]), (2, 2))
    assert truth.view_shares.tolist() == [[[1.0], [1.0]]]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(BadInput, match="instance ids"):
        instance_truth(Sample(torch.zeros(1, 2, 3, 4, 4)), (2, 2))
    with pytest.raises(BadInput, match=r"divides \(4, 4\), got \(3, 2\)"):
        instance_truth(labelled([FIRST]), (3, 2))
    silent = QueryOutput(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, 1, 2))
    with pytest.raises(BadInput, match="shares=True"):
        instance_losses(silent, truth_of([[0]]), ONES)
    with pytest.raises(BadInput, match=r"\(1, 2\) as the true ones, got \(2, 2\)"):
        instance_losses(QueryOutput(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, 2, 2)), truth_of([[0]]), ONES)
