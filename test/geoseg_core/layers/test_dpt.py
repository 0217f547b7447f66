"""What the published DPT does that a textbook one does not."""

import torch

from geoseg_core.layers.dpt import Dpt, DptConfig, Fusion, ResidualUnit, add_positions, enlarge


@torch.inference_mode()
def test_the_skip_path_of_a_residual_unit_is_rectified() -> None:
    unit = ResidualUnit(4)
    for weight in unit.parameters():
        weight.zero_()
    assert unit(torch.tensor([-2.0, 3.0]).view(1, 1, 1, 2).expand(1, 4, 1, 2)).unique().tolist() == [0.0, 3.0]


@torch.inference_mode()
def test_convolving_before_the_enlargement_changes_nothing() -> None:
    torch.manual_seed(0)
    fusion = Fusion(8)
    x, skip = torch.randn(2, 8, 3, 5), torch.randn(2, 8, 3, 5)
    late = fusion.out_conv(enlarge(fusion.resConfUnit2(x + fusion.resConfUnit1(skip)), (7, 9)))
    torch.testing.assert_close(fusion(x, skip, (7, 9)), late)


def test_the_positional_term_is_added_by_a_tenth() -> None:
    x = torch.zeros(1, 8, 2, 2)
    add_positions(x, 1.0)
    # Square: u = v = +-0.5 / sqrt(2).
    u = 0.5 / 2**0.5
    expected = 0.1 * torch.tensor([u, 0.1 * u]).sin()
    torch.testing.assert_close(x[0, :2, 0, 1], expected)
    torch.testing.assert_close(x[0, 4:6, 0, 1], -expected)


@torch.inference_mode()
def test_a_feature_head_gives_its_features_at_the_reduced_size() -> None:
    head = Dpt(DptConfig(8, (8, 8, 8, 8), (0, 1, 2, 3)), 16, 0, down_ratio=2).eval()
    assert head([torch.randn(3, 6, 16)] * 4, (2, 3)).shape == (3, 8, 14, 21)
