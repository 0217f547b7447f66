"""Losses against values worked out by hand."""

import math

import pytest
import torch

from geoseg_core.errors import BadInput
from geoseg_core.training.losses.camera import camera_loss
from geoseg_core.training.losses.contrast import contrastive_loss
from geoseg_core.training.losses.dense import confident_loss, gradient_loss
from geoseg_core.training.losses.masks import dice_loss, focal_loss
from geoseg_core.training.losses.tracks import confidence_loss, track_loss, visibility_loss


def encoding(translation: float = 0.0, quaternion: float = 0.0, field: float = 0.0) -> torch.Tensor:
    """(1, 1, 9) with one number for each part."""
    return torch.tensor([translation] * 3 + [quaternion] * 4 + [field] * 2)[None, None]


def test_the_camera_loss_is_squared_near_and_linear_far() -> None:
    truth = encoding()
    near = camera_loss([encoding(translation=0.5)], truth, delta=1.0)
    assert float(near) == pytest.approx(0.5 * 0.5**2)
    far = camera_loss([encoding(translation=3.0)], truth, delta=1.0)
    assert float(far) == pytest.approx(1.0 * (3.0 - 0.5))
    parts = camera_loss([encoding(1.0, 2.0, 2.0)], truth, delta=10.0, shares=(1.0, 1.0, 0.5))
    assert float(parts) == pytest.approx(0.5 + 2.0 + 0.5 * 2.0)


def test_later_refinements_of_the_camera_count_more() -> None:
    truth = encoding()
    wrong, right = encoding(translation=1.0), encoding()
    assert float(camera_loss([wrong, right], truth, discount=0.6)) == pytest.approx(0.5 * 0.6 / 1.6)
    assert float(camera_loss([right, wrong], truth, discount=0.6)) == pytest.approx(0.5 / 1.6)


def test_an_error_costs_as_much_as_its_confidence_and_confidence_costs_too() -> None:
    truth = torch.zeros(1, 1, 2, 2, 3)
    found = torch.zeros(1, 1, 2, 2, 3)
    found[0, 0, 0, 0] = torch.tensor([3.0, 4.0, 0.0])  # length 5
    found[0, 0, 1, 1] = 100.0  # not known
    confidence = torch.full((1, 1, 2, 2), math.e)
    known = torch.tensor([[[[True, True], [True, False]]]])
    value = confident_loss(found, truth, confidence, known, alpha=0.2)
    assert float(value) == pytest.approx((math.e * 5 - 3 * 0.2) / 3)


def test_the_best_confidence_is_alpha_over_the_error() -> None:
    confidence = torch.full((1, 1, 1, 1), 0.4, requires_grad=True)
    error = torch.full((1, 1, 1, 1, 1), 0.5)
    everywhere = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    confident_loss(error, torch.zeros_like(error), confidence, everywhere, alpha=0.2).backward()
    assert confidence.grad is not None
    assert float(confidence.grad) == pytest.approx(0.0, abs=1e-6)


def test_an_exact_point_has_a_gradient_of_zero_and_no_nan() -> None:
    found = torch.zeros(1, 1, 2, 2, 3, requires_grad=True)
    ones = torch.ones(1, 1, 2, 2)
    loss = confident_loss(found, torch.zeros(1, 1, 2, 2, 3), ones, ones.bool())
    (loss + gradient_loss(found, torch.zeros(1, 1, 2, 2, 3), ones, ones.bool())).backward()
    assert found.grad is not None
    assert found.grad.abs().max() == 0


def test_gradients_see_steps_of_the_error_and_not_its_level() -> None:
    truth = torch.rand(1, 1, 3, 4, 1, generator=torch.Generator().manual_seed(0))
    confidence = torch.full((1, 1, 3, 4), 2.0)
    known = torch.ones(1, 1, 3, 4, dtype=torch.bool)
    assert float(gradient_loss(truth + 7, truth, confidence, known)) == pytest.approx(0, abs=1e-5)
    step = truth.clone()
    step[..., 2:, :] += 1  # one of the three pairs of each row
    assert float(gradient_loss(step, truth, confidence, known, scales=(1,))) == pytest.approx(2 * 1 / 3)
    # Every second pixel: columns 0 and 2, one pair a row, and it has the step.
    assert float(gradient_loss(step, truth, confidence, known, scales=(1, 2))) == pytest.approx((2 / 3 + 2) / 2)
    known[..., 2] = False  # no pair with the step is left
    assert float(gradient_loss(step, truth, confidence, known, scales=(1,))) == 0


def test_nothing_known_costs_nothing() -> None:
    found, confidence = torch.ones(1, 1, 4, 4, 1), torch.ones(1, 1, 4, 4)
    nothing = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert float(confident_loss(found, found + 1, confidence, nothing)) == 0
    assert float(gradient_loss(found, found + 1, confidence, nothing)) == 0
    points = torch.zeros(1, 2, 3, 2)
    assert float(track_loss([points + 1], points, torch.zeros(1, 2, 3, dtype=torch.bool))) == 0


def test_tracks_cost_pixels_and_later_refinements_more() -> None:
    truth = torch.zeros(1, 1, 2, 2)
    known = torch.tensor([[[True, False]]])
    off = torch.tensor([[[[3.0, -4.0], [50.0, 50.0]]]])
    assert float(track_loss([off], truth, known)) == pytest.approx(7)
    assert float(track_loss([off, truth], truth, known, discount=0.8)) == pytest.approx(7 * 0.8 / 1.8)


def test_visibility_is_a_cross_entropy_of_what_is_known() -> None:
    chance = torch.tensor([[[0.9, 0.2, 0.5]]])
    visible = torch.tensor([[[True, False, True]]])
    known = torch.tensor([[[True, True, False]]])
    assert float(visibility_loss(chance, visible, known)) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)


def test_confidence_is_the_chance_to_be_near() -> None:
    truth = torch.zeros(1, 1, 2, 2)
    found = torch.tensor([[[[3.0, 4.0], [30.0, 40.0]]]], requires_grad=True)
    chance = torch.tensor([[[0.75, 0.75]]], requires_grad=True)
    loss = confidence_loss(chance, found, truth, torch.ones(1, 1, 2, dtype=torch.bool), near_px=5.0)
    assert float(loss.detach()) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    loss.backward()
    assert found.grad is None, "it is not for the places to please their judge"


def test_focal_loss_hardly_sees_what_is_already_right() -> None:
    logit = math.log(0.8 / 0.2)  # a chance of 0.8
    truth = torch.tensor([[1.0, 0.0]])
    value = focal_loss(torch.tensor([[logit, logit]]), truth, alpha=0.25, gamma=2.0)
    right, wrong = 0.25 * 0.2**2 * -math.log(0.8), 0.75 * 0.8**2 * -math.log(0.2)
    assert float(value) == pytest.approx((right + wrong) / 2, rel=1e-5)
    plain = focal_loss(torch.tensor([[logit, logit]]), truth, alpha=-1, gamma=0.0)
    assert float(plain) == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2, rel=1e-5)


def test_dice_is_the_share_that_is_not_common() -> None:
    always, never = 50.0, -50.0
    truth = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    logits = torch.tensor([[[always, never], [always, never]]])
    assert float(dice_loss(logits, truth, smooth=0.0)) == pytest.approx(0.5)
    assert float(dice_loss(logits, truth, smooth=1.0)) == pytest.approx(1 - 3 / 5)
    assert float(dice_loss(logits.mT, truth)) == pytest.approx(0, abs=1e-6)


def four_pixels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (1, 4, 2), instances and what is known: two pixels of instance 7, one of 3, one that has none."""
    features = torch.tensor([[[0.0, 0.0], [0.3, 0.4], [0.6, 0.0], [9.0, 9.0]]])
    return features, torch.tensor([[7, 7, 3, 0]]), torch.tensor([[True, True, True, False]])


def test_one_instance_is_pulled_together_and_others_are_pushed_up_to_the_margin() -> None:
    pixels = four_pixels()
    # Distances: 0.5 within instance 7; 0.6 and 0.5 from it to instance 3.
    assert float(contrastive_loss(*pixels)) == pytest.approx((2 * 0.5 + 0.4 + 0.5) / 3)
    assert float(contrastive_loss(*pixels, pull=4.0, push=0.5)) == pytest.approx((4 * 0.5 + 0.5 * 0.9) / 3)
    assert float(contrastive_loss(*pixels, margin=0.55)) == pytest.approx((2 * 0.5 + 0.05) / 3)


def test_samples_are_not_compared_and_the_order_of_pixels_does_not_matter() -> None:
    pixels = four_pixels()
    twice = [torch.cat((each, each)) for each in pixels]
    assert float(contrastive_loss(*twice)) == pytest.approx(float(contrastive_loss(*pixels)))
    mixed = [each[:, [2, 3, 1, 0]] for each in pixels]
    assert float(contrastive_loss(*mixed)) == pytest.approx(float(contrastive_loss(*pixels)))


def test_features_in_one_place_have_a_finite_gradient_and_no_pair_costs_nothing() -> None:
    features = torch.ones(1, 3, 8, requires_grad=True)
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    loss = contrastive_loss(features, torch.tensor([[1, 1, 2]]), everywhere)
    assert float(loss.detach()) == pytest.approx(2 / 3)
    loss.backward()
    assert features.grad is not None and features.grad.isfinite().all()
    one = torch.tensor([[True, False, False]])
    assert float(contrastive_loss(features.detach(), torch.tensor([[1, 1, 2]]), one)) == 0


def test_the_gradient_pulls_and_pushes_along_the_line_between_two_pixels() -> None:
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    for instances, slope in (([[1, 1]], 2.0), ([[1, 2]], -1.0)):
        features = torch.tensor([[[0.0, 0.0], [0.3, 0.4]]], requires_grad=True)
        contrastive_loss(features, torch.tensor(instances), everywhere).backward()
        assert features.grad is not None
        torch.testing.assert_close(features.grad[0, 1], slope * torch.tensor([0.6, 0.8]))


def test_pixels_that_do_not_fit_their_features_are_refused() -> None:
    features, instances, known = four_pixels()
    with pytest.raises(BadInput, match=r"got \[\(1, 4, 2\), \(1, 3\), \(1, 4\)\]"):
        contrastive_loss(features, instances[:, :3], known)
    with pytest.raises(BadInput, match=r"features \(B, N, C\)"):
        contrastive_loss(features[0], instances[0], known[0])
