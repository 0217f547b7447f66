"""What the memory bank keeps, gives and refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geoseg_core.errors import BadInput, UnknownObject
from geoseg_core.memory.bank import MIB, Memory, MemoryBank, memories_of
from geoseg_core.memory.config import BankConfig
from geoseg_core.memory.encoder import EncodedMemory

GRID = (2, 3)
BYTES = 4 * (6 * 4 + 8)


def memory(frame: int, view: str = "ego", prompted: bool = False, value: float | None = None) -> Memory:
    number = float(frame if value is None else value)
    return Memory(view, frame, prompted, torch.full((6, 4), number), torch.full((8,), number), GRID)


def frames_of(bank: MemoryBank, object_id: int) -> list[tuple[str, int]]:
    return [(each.view, each.frame) for each in bank.memories(object_id)]


def test_the_newest_of_each_view_and_the_prompted_ones_stay() -> None:
    bank = MemoryBank(BankConfig(recent=2, prompted=2))
    bank.add(7, memory(0, prompted=True))
    for frame in range(1, 6):
        bank.add(7, memory(frame))
        bank.add(7, memory(frame, "exo"))
    assert frames_of(bank, 7) == [("ego", 0), ("ego", 4), ("exo", 4), ("ego", 5), ("exo", 5)]
    for frame in (6, 7):
        bank.add(7, memory(frame, prompted=True))
    assert [each.frame for each in bank.memories(7) if each.prompted] == [0, 7]


def test_a_mask_that_is_not_trusted_is_not_stored_unless_it_was_prompted() -> None:
    bank = MemoryBank(BankConfig(least_score=0.6))
    assert not bank.add(1, memory(0), score=0.59) and bank.objects == []
    assert bank.add(1, memory(0), score=0.6) and bank.add(1, memory(1, prompted=True), score=0.0)
    assert frames_of(bank, 1) == [("ego", 0), ("ego", 1)]


def test_a_frame_that_is_said_again_replaces_its_memory() -> None:
    bank = MemoryBank()
    bank.add(1, memory(3, value=1.0))
    bank.add(1, memory(3, prompted=True, value=2.0))
    (only,) = bank.memories(1)
    assert only.prompted and float(only.spatial[0, 0]) == 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["ego", "exo"]), st.booleans()), max_size=60),
    st.integers(1, 9),
)
def test_the_budget_holds_and_the_last_memory_always_stays(said: list[tuple[int, str, bool]], room: int) -> None:
    bank = MemoryBank(BankConfig(budget_mib=room * BYTES / MIB))
    for frame, (object_id, view, prompted) in enumerate(said):
        bank.add(object_id, memory(frame, view, prompted))
        assert bank.held_bytes <= room * BYTES
        assert (view, frame) in frames_of(bank, object_id)
    assert bank.held_bytes == BYTES * sum(len(bank.memories(each)) for each in bank.objects)


def test_the_object_that_holds_most_gives_its_oldest_unprompted_memory() -> None:
    bank = MemoryBank(BankConfig(budget_mib=4 * BYTES / MIB))
    bank.add(1, memory(0, prompted=True))
    bank.add(1, memory(1))
    bank.add(1, memory(2))
    bank.add(2, memory(3))
    bank.add(2, memory(4))
    assert frames_of(bank, 1) == [("ego", 0), ("ego", 2)] and frames_of(bank, 2) == [("ego", 3), ("ego", 4)]
    for frame in (5, 6, 7):
        bank.add(3, memory(frame, prompted=True))
    assert ("ego", 0) in frames_of(bank, 1) and len(frames_of(bank, 3)) == 3
    bank.add(3, memory(8, prompted=True))
    assert frames_of(bank, 3) == [("ego", 5), ("ego", 6), ("ego", 7), ("ego", 8)] or 1 in bank.objects


def test_a_bank_that_has_to_shrink_keeps_the_half_that_matters_most_and_stays_so() -> None:
    bank = MemoryBank()
    bank.shrink()
    assert bank.config == BankConfig()
    bank.add(1, memory(0, prompted=True))
    for frame in range(1, 6):
        bank.add(1, memory(frame))
    bank.shrink()
    assert frames_of(bank, 1) == [("ego", 0), ("ego", 4), ("ego", 5)]
    bank.add(1, memory(6))
    assert frames_of(bank, 1) == [("ego", 0), ("ego", 5), ("ego", 6)]
    for _ in range(5):
        bank.shrink()
    bank.add(2, memory(7))
    assert frames_of(bank, 2) == [("ego", 7)] and bank.held_bytes == BYTES


def test_refused_memories_change_nothing() -> None:
    bank = MemoryBank(BankConfig(budget_mib=2 * BYTES / MIB))
    bank.add(1, memory(5))
    large = replace(memory(6), spatial=torch.zeros(60, 40))
    with pytest.raises(BadInput, match="raise budget_mib"):
        bank.add(1, large)
    with pytest.raises(BadInput, match="frame from 5 on, got 4"):
        bank.add(1, memory(4))
    with pytest.raises(UnknownObject, match="one of \\[1\\]"):
        bank.forget(2)
    assert frames_of(bank, 1) == [("ego", 5)]
    bank.forget(1)
    assert bank.objects == [] and bank.held_bytes == 0


def test_rewinding_takes_away_what_came_since() -> None:
    bank = MemoryBank()
    for frame in range(4):
        bank.add(1, memory(frame))
    assert [each.frame for each in bank.rewind(1, 2)] == [2, 3]
    assert frames_of(bank, 1) == [("ego", 0), ("ego", 1)]
    bank.add(1, memory(2, prompted=True))
    bank.rewind(1, 0)
    assert bank.objects == []


def test_a_view_is_forgotten_with_the_objects_that_it_alone_saw() -> None:
    bank = MemoryBank()
    for object_id, view in ((1, "ego"), (1, "exo"), (2, "exo")):
        bank.add(object_id, memory(0, view, prompted=view == "exo"))
    bank.forget_view("exo")
    assert bank.objects == [1] and frames_of(bank, 1) == [("ego", 0)]
    bank.forget_view("wrist")
    assert bank.held_bytes == BYTES
    bank.clear()
    assert bank.objects == [] and bank.held_bytes == 0


def test_views_get_their_own_memories_those_of_others_and_prompted_ones() -> None:
    bank = MemoryBank(BankConfig(recent=3, others=1))
    bank.add(1, memory(0, "exo", prompted=True))
    for frame in range(1, 5):
        bank.add(1, memory(frame))
        bank.add(1, memory(frame, "exo"))
    chosen = [(each.view, each.frame, rank) for each, rank in bank.chosen(1, "ego", GRID)]
    assert chosen == [("exo", 0, -1), ("ego", 4, 0), ("ego", 3, 1), ("ego", 2, 2), ("exo", 4, 0)]
    assert bank.chosen(1, "ego", (3, 2)) == [] and bank.chosen(9, "ego", GRID) == []


def test_recalled_memories_are_padded_and_marked() -> None:
    bank = MemoryBank(BankConfig(pointers=1))
    assert bank.recall([1, 2], "ego", 9, GRID) is None
    bank.add(1, memory(3))
    bank.add(1, memory(5))
    bank.add(2, memory(4, "exo"))
    found = bank.recall([2, 8, 1], "ego", 9, GRID)
    assert found is not None
    assert found.known.tolist() == [[True, False], [False, False], [True, True]]
    assert found.same_view.tolist() == [[False, False], [False, False], [True, True]]
    assert found.spatial[:, :, 0, 0].tolist() == [[4, 0], [0, 0], [5, 3]]
    assert found.ages.tolist() == [[5], [0], [4]] and found.pointers_known.tolist() == [[True], [False], [True]]


def test_a_bank_is_saved_and_loaded_within_the_new_budget(tmp_path: Path) -> None:
    bank = MemoryBank()
    for frame in range(12):
        bank.add(1 + frame % 2, memory(frame, "left wrist", prompted=frame < 2))
    bank.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors")
    for object_id in (1, 2):
        assert frames_of(again, object_id) == frames_of(bank, object_id)
        for ours, theirs in zip(again.memories(object_id), bank.memories(object_id), strict=True):
            assert torch.equal(ours.spatial, theirs.spatial) and torch.equal(ours.pointer, theirs.pointer)
            assert (ours.prompted, ours.grid) == (theirs.prompted, theirs.grid)
    assert (
        MemoryBank.load(tmp_path / "bank.safetensors", BankConfig(budget_mib=3 * BYTES / MIB)).held_bytes == 3 * BYTES
    )
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(BadInput, match="saved memory bank"):
            MemoryBank.load(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "spatial", "pointer", "words"),
    [
        ("1.0", (6, 4), (9,), "of one M, C"),
        ("1.0", (5, 4), (8,), "on P cells"),
        ("1.0", (), (8,), "on P cells"),
        ("01.0", (6, 4), (8,), "saved memory bank"),
    ],
)
def test_memories_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, key: str, spatial: tuple[int, ...], pointer: tuple[int, ...], words: str
) -> None:
    tensors = {"2.0.spatial": torch.ones(6, 4), "2.0.pointer": torch.ones(8)}
    tensors |= {f"{key}.spatial": torch.ones(spatial), f"{key}.pointer": torch.ones(pointer)}
    words_of = {"format": "geoseg memory bank 1", key: "0 1 2 3 ego", "2.0": "0 1 2 3 ego"}
    save_file(tensors, tmp_path / "bank.safetensors", words_of)
    with pytest.raises(BadInput, match=words):
        MemoryBank.load(tmp_path / "bank.safetensors")


def test_rows_of_a_batch_become_memories_of_their_own() -> None:
    encoded = EncodedMemory(torch.rand(2, 6, 4), torch.rand(2, 8), GRID)
    first, second = memories_of(encoded, ["ego", "exo"], 3, [True, False], torch.bfloat16)
    assert (first.view, first.prompted, second.view, second.prompted) == ("ego", True, "exo", False)
    assert first.held_bytes == BYTES // 2
    encoded.spatial.zero_()
    assert float(second.spatial.abs().max()) > 0
