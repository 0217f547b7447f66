"""Memory encoder and memory attention at a small size: exact identities and independence."""

from dataclasses import replace

import pytest
import torch

from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.memory.attention import MemoryAttention, Recalled, grid_sines
from geoseg_core.memory.bank import MemoryBank, memories_of
from geoseg_core.memory.config import BankConfig, MemoryConfig
from geoseg_core.memory.encoder import MemoryEncoder

SMALL = MemoryConfig(
    map_width=6, token_width=6, stride=3, width=16, memory_width=8, mask_strides=(2, 3), mask_channels=(3, 5),
    layers=2, heads=2, hidden=20, fuser_blocks=1, ranks=3,
)  # fmt: skip
CELLS = (6, 9)
GRID = (2, 3)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(trained: bool = True) -> MemoryAttention:
    torch.manual_seed(1)
    module = MemoryAttention(SMALL).eval()
    if trained:
        torch.nn.init.normal_(module.up.weight, std=0.5)
    return module


def recalled(batch: int = 2, frames: int = 3, pointers: int = 2) -> Recalled:
    yes = torch.ones(batch, frames, dtype=torch.bool)
    return Recalled(
        random(batch, frames, 6, 8), torch.arange(frames).expand(batch, -1) - 1, yes.clone(), yes,
        random(batch, pointers, 16, seed=1), torch.arange(1.0, pointers + 1).expand(batch, -1), yes[:, :pointers],
    )  # fmt: skip


@torch.inference_mode()
def test_without_memories_the_features_stay_exactly_as_they_are() -> None:
    maps = random(2, 6, *CELLS)
    assert attention()(maps, None) is maps
    known = torch.tensor([[True, False, False], [False, False, False]])
    mixed = replace(recalled(), known=known, pointers_known=torch.zeros(2, 2, dtype=torch.bool))
    found = attention()(maps, mixed)
    assert torch.equal(found[1], maps[1]) and not torch.equal(found[0], maps[0])


def test_an_untrained_module_changes_nothing_but_learns() -> None:
    maps, module = random(2, 6, *CELLS), attention(trained=False)
    found = module(maps, recalled())
    assert torch.equal(found, maps)
    found.square().sum().backward()
    assert module.up.weight.grad is not None and float(module.up.weight.grad.abs().max()) > 0


@torch.inference_mode()
def test_padding_and_other_objects_do_not_matter() -> None:
    maps, module, full = random(2, 6, *CELLS), attention(), recalled()
    known = torch.tensor([[True, True, False], [True, True, True]])
    pointers = torch.tensor([[True, False], [True, True]])
    both = module(maps, replace(full, known=known, pointers_known=pointers))
    alone = Recalled(
        full.spatial[:1, :2], full.ranks[:1, :2], full.same_view[:1, :2], known[:1, :2], full.pointers[:1, :1],
        full.ages[:1, :1], pointers[:1, :1],
    )  # fmt: skip
    torch.testing.assert_close(module(maps[:1], alone)[0], both[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_memories_are_told_apart_by_rank_view_and_age_and_not_by_their_order() -> None:
    maps, module, full = random(2, 6, *CELLS), attention(), recalled()
    plain = module(maps, full)
    turned = replace(
        full,
        spatial=full.spatial.flip(1),
        ranks=full.ranks.flip(1),
        pointers=full.pointers.flip(1),
        ages=full.ages.flip(1),
    )
    torch.testing.assert_close(module(maps, turned), plain, rtol=1e-4, atol=1e-5)
    for change in ({"ranks": full.ranks + 1}, {"same_view": ~full.same_view}, {"ages": full.ages + 5}):
        assert float((module(maps, replace(full, **change)) - plain).abs().max()) > 1e-5, change
    far = replace(full, ranks=full.ranks + 10), replace(full, ranks=full.ranks + 20)
    torch.testing.assert_close(module(maps, far[0]), module(maps, far[1]))


def test_memories_of_another_grid_are_refused() -> None:
    with pytest.raises(BadInput, match="2x3 cells, got 5"):
        attention()(random(2, 6, *CELLS), replace(recalled(), spatial=random(2, 3, 5, 8)))


def test_places_of_a_grid_have_codes_of_their_own() -> None:
    codes = grid_sines((5, 7), 16, torch.device("cpu"))
    assert codes.shape == (35, 16) and len(torch.unique(codes.round(decimals=4), dim=0)) == 35


@torch.inference_mode()
def test_an_absent_object_is_remembered_as_absent() -> None:
    torch.manual_seed(0)
    encoder = MemoryEncoder(SMALL).eval()
    maps, logits, tokens = random(2, 6, *CELLS), 9 * random(2, 12, 18, seed=2), random(2, 6, seed=3)
    there = encoder(maps, logits, tokens, torch.tensor([True, True]))
    gone = encoder(maps, logits, tokens, torch.tensor([True, False]))
    assert there.grid == GRID and there.spatial.shape == (2, 6, 8) and there.pointer.shape == (2, 16)
    assert torch.equal(there.spatial[0], gone.spatial[0]) and torch.equal(there.pointer[0], gone.pointer[0])
    torch.testing.assert_close(gone.spatial[1], there.spatial[1] + encoder.absent)
    torch.testing.assert_close(gone.pointer[1], encoder.absent_pointer)


@torch.inference_mode()
def test_a_memory_tells_masks_and_features_apart() -> None:
    torch.manual_seed(0)
    encoder = MemoryEncoder(SMALL).eval()
    yes, maps, tokens = torch.tensor([True]), random(1, 6, *CELLS), random(1, 6)
    blank, marked = torch.full((1, 12, 18), -9.0), torch.full((1, 12, 18), -9.0)
    marked[:, :6, :6] = 9.0
    first, second = encoder(maps, blank, tokens, yes).spatial, encoder(maps, marked, tokens, yes).spatial
    apart = (first - second).abs().amax(dim=(0, 2))
    assert apart[0] > 1e-3 and apart[0] > 10 * apart[5]
    assert float((encoder(maps + 1, blank, tokens, yes).spatial - first).abs().max()) > 1e-3


def test_sizes_that_do_not_fit_are_refused() -> None:
    encoder, yes = MemoryEncoder(SMALL), torch.tensor([True])
    with pytest.raises(BadInput, match="masks 2 times as large"):
        encoder(random(1, 6, *CELLS), random(1, 12, 17), random(1, 6), yes)
    with pytest.raises(BadInput, match="3 divides"):
        encoder(random(1, 6, 6, 8), random(1, 12, 16), random(1, 6), yes)
    with pytest.raises(BadConfig, match="product 6"):
        MemoryEncoder(replace(SMALL, mask_strides=(2, 2)))
    with pytest.raises(BadConfig, match="multiple of 8"):
        MemoryAttention(replace(SMALL, width=20))


@torch.inference_mode()
def test_the_work_of_a_frame_does_not_grow_with_the_clip() -> None:
    encoder, module, bank = MemoryEncoder(SMALL).eval(), attention(), MemoryBank(BankConfig(recent=3, pointers=4))
    looked, held = set(), set()
    for frame in range(60):
        maps = random(1, 6, *CELLS, seed=frame)
        found = bank.recall([1], "ego", frame, GRID)
        module(maps, found)
        encoded = encoder(maps, random(1, 12, 18, seed=frame), random(1, 6, seed=frame), torch.tensor([True]))
        bank.add(1, memories_of(encoded, ["ego"], frame, [frame == 0], torch.float32)[0])
        if frame > 10 and found is not None:
            looked.add((tuple(found.spatial.shape), tuple(found.pointers.shape)))
            held.add(bank.held_bytes)
    assert looked == {((1, 4, 6, 8), (1, 4, 16))} and len(held) == 1
