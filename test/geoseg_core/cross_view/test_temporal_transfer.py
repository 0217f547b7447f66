"""Masks carried between views over time, at a small size with random weights."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_models import small_vggt

from geoseg_core.cross_view.transferred import TransferredMasks
from geoseg_core.cross_view.union_head.config import EgoExoConfig, UnionHeadConfig, UnionTransferConfig
from geoseg_core.cross_view.union_head.model import UnionHead
from geoseg_core.cross_view.union_head.temporal import TemporalTransfer
from geoseg_core.cross_view.union_head.transfer import UnionHeadTransfer
from geoseg_core.errors import BadConfig, BadInput
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig, VggtScene
from geoseg_core.memory.bank import MemoryBank
from geoseg_core.memory.config import BankConfig, MemoryConfig
from geoseg_core.memory.networks import TemporalMemory
from geoseg_core.views import FrameSet, View

HEAD = UnionHeadConfig(
    width=16, heads=2, mask_channels=4, fusion_width=24, fusion_inner=8, fusion_hidden=32, token_inner=8,
    token_hidden=20, upscale_channels=(6, 4),
)  # fmt: skip
MEMORY = MemoryConfig(
    map_width=16, token_width=16, width=16, memory_width=8, mask_channels=(3, 5), layers=1, heads=2, hidden=20,
    fuser_blocks=1,
)
CONFIG = UnionTransferConfig("whole", EgoExoConfig(coarse_points=6, dropped=1, points=3), "fp32")


@pytest.fixture(scope="module")
def scenes() -> list[VggtScene]:
    encoder = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56))
    found = []
    for frame in range(3):
        random = np.random.default_rng(frame)
        views = [
            View(name, cv2.resize(random.integers(0, 256, (5, 7, 3), dtype=np.uint8), (80, 60)))
            for name in ("ego", "left", "right")
        ]
        found.append(encoder.encode(FrameSet(tuple(views))))
    return found


def temporal(least_score: float = 0.0, bank: MemoryBank | None = None) -> TemporalTransfer:
    torch.manual_seed(0)
    head, memory = UnionHead(HEAD), TemporalMemory(MEMORY)
    torch.nn.init.normal_(memory.attention.up.weight)
    bank = bank or MemoryBank(BankConfig(least_score=least_score))
    return TemporalTransfer(UnionHeadTransfer(head, CONFIG), memory, bank)


def marked() -> np.ndarray:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 20:35, 30:50] = True
    masks[1, 40:50, 10:40] = True
    return masks


def same(first: TransferredMasks, second: TransferredMasks) -> bool:
    return np.allclose(first.scores, second.scores, atol=1e-3)


def test_with_nothing_remembered_the_head_speaks_alone(scenes: list[VggtScene]) -> None:
    follower = temporal()
    alone = follower.transfer(scenes[0], 0, marked())
    first = follower(scenes[0], 0, marked(), [4, 9], 0, prompted=True)
    for ours, plain in zip(first.masks, alone.masks, strict=True):
        assert (ours == plain).all()
    assert not same(follower(scenes[1], 0, marked(), [4, 9], 1), follower.transfer(scenes[1], 0, marked()))


def test_objects_are_remembered_each_for_itself(scenes: list[VggtScene]) -> None:
    both, alone = temporal(), temporal()
    for frame in (0, 1, 2):
        together = both(scenes[frame], 0, marked(), [4, 9], frame)
        single = alone(scenes[frame], 0, marked()[1:], [9], frame)
    np.testing.assert_allclose(single.scores[:, 0], together.scores[:, 1], atol=1e-3)


def test_given_masks_and_trusted_ones_are_stored(scenes: list[VggtScene]) -> None:
    for least, cameras in ((0.0, {"ego", "left", "right"}), (1.0, {"ego"})):
        follower = temporal(least)
        follower(scenes[0], 0, marked(), [4, 9], 0, prompted=True)
        memories = follower.bank.memories(4)
        assert {each.view for each in memories} == cameras
        assert {each.view for each in memories if each.prompted} == {"ego"}


def test_what_one_view_remembers_reaches_another(scenes: list[VggtScene]) -> None:
    shown, blind = temporal(1.0), temporal(1.0)
    shown(scenes[0], 1, marked(), [4, 9], 0, prompted=True)  # the left view alone is remembered
    assert {each.view for each in shown.bank.memories(4)} == {"left"}
    assert not same(shown(scenes[1], 1, marked(), [4, 9], 1), blind(scenes[1], 1, marked(), [4, 9], 1))


def test_a_saved_session_goes_on_as_if_nothing_happened(scenes: list[VggtScene], tmp_path: Path) -> None:
    first = temporal()
    first(scenes[0], 0, marked(), [4, 9], 0, prompted=True)
    first.bank.save(tmp_path / "bank.safetensors")
    again = temporal(bank=MemoryBank.load(tmp_path / "bank.safetensors", first.bank.config))
    assert same(first(scenes[1], 0, marked(), [4, 9], 1), again(scenes[1], 0, marked(), [4, 9], 1))


def test_a_rewound_object_can_be_shown_its_frames_again(scenes: list[VggtScene]) -> None:
    follower = temporal()
    follower(scenes[0], 0, marked(), [4, 9], 0, prompted=True)
    before = follower(scenes[1], 0, marked(), [4, 9], 1)
    follower(scenes[2], 0, marked(), [4, 9], 2)
    with pytest.raises(BadInput, match="rewind it first"):
        follower(scenes[1], 0, marked(), [4, 9], 1)
    for object_id in (4, 9):
        follower.bank.rewind(object_id, 1)
    assert same(follower(scenes[1], 0, marked(), [4, 9], 1), before)


def test_refused_calls_leave_the_memory_as_it_was(scenes: list[VggtScene]) -> None:
    follower = temporal()
    follower(scenes[0], 0, marked(), [4, 9], 5, prompted=True)
    held = {each: len(follower.bank.memories(each)) for each in (4, 9)}
    for masks, ids, frame in (
        (marked() & False, [4, 9], 6),
        (marked() | True, [4, 9], 6),
        (marked(), [4], 6),
        (marked(), [4, 4], 6),
        (marked(), [4, 9], 4),
    ):
        with pytest.raises(BadInput):
            follower(scenes[1], 0, masks, ids, frame)
    assert {each: len(follower.bank.memories(each)) for each in (4, 9)} == held
    assert follower(scenes[1], 0, marked()[:0], [], 6).scores.shape == (3, 0)


def test_memory_networks_for_other_features_are_refused() -> None:
    other = replace(MEMORY, map_width=8)
    with pytest.raises(BadConfig, match=r"map_stride \(16, 16"):
        TemporalTransfer(UnionHeadTransfer(UnionHead(HEAD)), TemporalMemory(other), MemoryBank())
