"""Low-rank adaptation: what stays, what learns, and that merged weights compute the same."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import VGGT, random_images, stirred

from geoseg_core.errors import BadConfig, MissingExtra
from geoseg_core.geometry.vggt.model import Vggt
from geoseg_core.layers.attention import Block
from geoseg_core.training.lora import LoraConfig, adapt, merged_state, own_names

BLOCKS = ("aggregator.frame_blocks", "aggregator.global_blocks")


class Stack(torch.nn.Module):
    """Two blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block(16, 2) for _ in range(2))
        self.head = torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def stir_added(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=generator) / 4)


@settings(max_examples=20, deadline=None)
@given(
    rank=st.integers(1, 20),
    alpha=st.integers(0, 64),
    layers=st.sets(st.sampled_from(["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]), min_size=1),
    seed=st.integers(0, 99),
)
def test_merged_weights_compute_what_the_adapted_model_does(rank, alpha, layers, seed) -> None:
    torch.manual_seed(seed)
    model, plain = Stack().double(), Stack().double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = adapt(model, ["blocks"], LoraConfig(rank, alpha, tuple(sorted(layers))))
    assert sorted(names) == sorted(f"blocks.{block}.{layer}" for block in range(2) for layer in layers)
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    plain.load_state_dict(merged_state(model))
    torch.testing.assert_close(plain(x), model(x), rtol=0, atol=0)
    stir_added(model, seed)
    merged = merged_state(model)
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain(x), model(x), rtol=1e-10, atol=1e-10)
    changed = {name for name, value in merged.items() if not torch.equal(value, before[name])}
    assert changed == (set() if alpha == 0 else {f"{name}.weight" for name in names})


def test_what_is_added_is_the_product_of_two_small_matrices() -> None:
    model = Stack()
    adapt(model, ["blocks"], LoraConfig(2, 6, ("mlp.fc1",)))
    stir_added(model, 1)
    layer, merged = model.blocks[1].mlp.fc1, merged_state(model)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert layer.lora_A["default"].weight.shape == (2, 16)
    torch.testing.assert_close(merged["blocks.1.mlp.fc1.weight"], layer.base_layer.weight + 3.0 * product)
    assert torch.equal(merged["blocks.1.mlp.fc1.bias"], layer.base_layer.bias)


def test_blocks_learn_by_what_is_added_alone_and_the_rest_as_before() -> None:
    model = stirred(Vggt(VGGT))
    model.camera_head.requires_grad_(False)
    adapt(model, BLOCKS, LoraConfig(4))
    learns = {name for name, value in model.named_parameters() if value.requires_grad}
    in_blocks = {name for name in learns if name.startswith(BLOCKS)}
    assert len(in_blocks) == 2 * 3 * 2 * 2 and all("lora_" in name for name in in_blocks)
    assert "aggregator.camera_token" in learns and "aggregator.patch_embed.norm.weight" in learns
    assert "depth_head.norm.weight" in learns
    assert not any(name.startswith("camera_head.") for name in learns)
    assert set(own_names(model)) == set(Vggt(VGGT).state_dict()) == set(merged_state(model))


@torch.no_grad()
def test_an_adapted_vggt_starts_as_the_plain_one_and_merges_into_it() -> None:
    model, images = stirred(Vggt(VGGT)), random_images(1, 2)
    before = model(images).depth
    adapt(model, BLOCKS, LoraConfig(4))
    assert torch.equal(model(images).depth, before)
    stir_added(model, 3)
    after = model(images).depth
    assert not torch.allclose(after, before, rtol=1e-3)
    plain = Vggt(VGGT).eval()
    plain.load_state_dict(merged_state(model))
    torch.testing.assert_close(plain(images).depth, after, rtol=1e-3, atol=1e-4)


def test_rank_0_changes_nothing() -> None:
    model = Stack()
    assert adapt(model, ["blocks"], LoraConfig(0)) == []
    assert all(value.requires_grad for value in model.parameters())
    assert set(merged_state(model)) == set(model.state_dict())


@pytest.mark.parametrize(("block", "layer"), [("blocks", "attn.key"), ("stack", "attn.qkv"), ("blocks", "norm1")])
def test_layers_that_there_are_not_are_refused(block: str, layer: str) -> None:
    with pytest.raises(BadConfig, match=f"lora.layers: .*'{block}'.*'{layer}'"):
        adapt(Stack(), [block], LoraConfig(2, layers=(layer,)))


def test_without_peft_all_else_works_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"lora.rank.*\[train\]"):
        adapt(Stack(), ["blocks"], LoraConfig(2))
    assert adapt(Stack(), ["blocks"], LoraConfig(0)) == []
    code = "import sys, geoseg_core.training.lora as lora; assert 'peft' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
