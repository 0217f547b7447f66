"""The ViT's position embedding at other sizes, and what its tokens may depend on."""

import torch

from geoseg_core.layers.vit import VisionTransformer, VitConfig


def small() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(VitConfig(depth=1, heads=2), 16, image_size=42).eval()


def test_the_nominal_grid_uses_the_table_as_it_is() -> None:
    model = small()
    assert model.positions((3, 3)) is model.pos_embed


def test_a_constant_embedding_stays_constant_at_any_size() -> None:
    model = small()
    with torch.no_grad():
        model.pos_embed[:, 1:] = 2.5
        for grid in ((2, 3), (5, 1), (9, 9)):
            places = model.positions(grid)
            assert places.shape == (1, 1 + grid[0] * grid[1], 16)
            torch.testing.assert_close(places[:, 1:], torch.full_like(places[:, 1:], 2.5))
            assert torch.equal(places[:, 0], model.pos_embed[:, 0])


@torch.no_grad()
def test_a_resized_embedding_is_made_once_and_anew_with_new_weights() -> None:
    model = small()
    first = model.positions((2, 5))
    assert model.positions((2, 5)) is first
    model.load_state_dict({**model.state_dict(), "pos_embed": model.pos_embed + 1})
    torch.testing.assert_close(model.positions((2, 5)), first + 1)


def test_training_reaches_the_resized_embedding() -> None:
    model = small()
    model(torch.rand(1, 3, 28, 56)).square().sum().backward()
    assert model.pos_embed.grad is not None and model.pos_embed.grad.abs().sum() > 0


@torch.inference_mode()
def test_only_patches_leave_row_by_row() -> None:
    model = small()
    assert model(torch.rand(2, 3, 28, 56)).shape == (2, 8, 16)
    bright = torch.zeros(1, 3, 28, 56)
    bright[:, :, 14:, 42:] = 1  # row 1, column 3
    changed = (model.patch_embed(bright) - model.patch_embed(torch.zeros_like(bright))).abs().sum(-1)[0] > 0
    assert changed.tolist() == [False] * 7 + [True]
