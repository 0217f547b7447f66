"""Attention gives the same whichever way it is computed."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from geoseg_core.layers import products
from geoseg_core.layers.products import attend, attend_by_heads


def heads(batch: int, count: int, keys: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((batch, 3, count, 16), (batch, 3, keys, 16), (batch, 3, keys, 16))
    return tuple(torch.randn(shape, generator=generator).to(dtype) for shape in shapes)


@pytest.mark.parametrize(("batch", "count", "keys"), [(2, 37, 37), (1, 5, 61), (1, 1, 1)])
def test_steps_of_some_rows_give_what_the_fused_product_gives(
    batch: int, count: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "SCORES", 500)  # 8 to 13 rows at a time, the last step shorter
    query, key, value = heads(batch, count, keys, torch.float32)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend_by_heads(query, key, value), expected)


@pytest.mark.parametrize("slow", [True, False])
def test_bfloat16_stays_near_float32(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "FUSED_IS_SLOW", slow)
    query, key, value = heads(1, 600, 600, torch.bfloat16)
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    found = attend(query, key, value)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().mean() < 0.01 * exact.abs().mean()


def test_training_reaches_through_reduced_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "FUSED_IS_SLOW", True)
    query, key, value = (each.requires_grad_() for each in heads(1, 512, 512, torch.bfloat16))
    attend(query, key, value).float().square().sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in (query, key, value))
