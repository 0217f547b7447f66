"""However a network is run, it says the same; and what cannot be had is named in the log."""

import logging

import numpy as np
import pytest
import torch
from small_models import small_pi3, small_vggt

from geoseg_core.config import build
from geoseg_core.errors import BadConfig
from geoseg_core.geometry import acceleration
from geoseg_core.geometry.acceleration import GraphReplay, InferenceConfig
from geoseg_core.geometry.pi3.encoder import Pi3Encoder, Pi3EncoderConfig
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig
from geoseg_core.layers.packed import check_packing
from geoseg_core.layers.positions import rotary_table
from geoseg_core.views import FrameSet, View


def frames() -> FrameSet:
    generator = np.random.default_rng(5)
    return FrameSet(tuple(View(name, generator.integers(0, 256, (42, 56, 3), np.uint8)) for name in ("left", "right")))


def depth(**settings: object) -> np.ndarray:
    return VggtEncoder(small_vggt(), VggtEncoderConfig(side=56, **settings)).encode(frames()).views[1].depth_m


def can_pack() -> bool:
    try:
        check_packing()
    except (RuntimeError, AttributeError):
        return False
    return True


@pytest.mark.skipif(not can_pack(), reason="this machine has no packed products in bfloat16")
def test_packed_weights_give_what_bfloat16_gives(caplog: pytest.LogCaptureFixture) -> None:
    exact, reduced, packed = depth(), depth(precision="bf16"), depth(precision="bf16", packed=True)
    assert not caplog.records
    assert not np.array_equal(reduced, exact)
    np.testing.assert_allclose(packed, reduced, atol=0.03 * exact.max())
    encoder = VggtEncoder(small_vggt(), VggtEncoderConfig(side=56, precision="bf16", packed=True))
    again = VggtEncoder(encoder.model, encoder.config)  # packed once
    np.testing.assert_array_equal(again.encode(frames()).views[1].depth_m, packed)


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16", "compile": True}, {"precision": "autocast"}])
def test_weights_that_cannot_be_packed_stay_and_the_log_says_why(
    settings: dict, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    np.testing.assert_array_equal(depth(packed=True, **settings), depth(**settings))
    (line,) = caplog.messages
    assert "asked for packed weights" in line and "they stay as they are" in line


def test_graphs_without_a_gpu_are_named(caplog: pytest.LogCaptureFixture) -> None:
    np.testing.assert_array_equal(depth(cuda_graphs=True), depth())
    assert caplog.messages == ["asked for CUDA graphs, but the network is on cpu; it runs without"]
    caplog.clear()
    Pi3Encoder(small_pi3(), Pi3EncoderConfig(pixels=3000, cuda_graphs=True)).encode(frames())
    assert len(caplog.messages) == 1


def test_a_capture_that_fails_leaves_the_function_as_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(replay: GraphReplay, static: torch.Tensor) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(GraphReplay, "_capture", refused)
    replay = GraphReplay(lambda x: 2 * x)
    for _ in range(2):
        assert replay(torch.ones(3)).tolist() == [2, 2, 2]
    (line,) = caplog.messages
    assert "the capture failed" in line and "runs without" in line


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replays_follow_their_input_and_results_are_copies() -> None:
    replay = GraphReplay(lambda x: {"twice": 2 * x})
    first = replay(torch.ones(3, device="cuda"))["twice"]
    second = replay(torch.full((3,), 4.0, device="cuda"))["twice"]
    assert first.tolist() == [2, 2, 2] and second.tolist() == [8, 8, 8]
    assert replay(torch.ones(5, device="cuda"))["twice"].shape == (5,)


def test_a_compiler_that_fails_is_named_once_and_blocks_run_as_they_are(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(function: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore")

    monkeypatch.setattr(torch, "compile", no_compiler)
    np.testing.assert_array_equal(depth(compile=True), depth())
    (line,) = caplog.messages
    assert "torch.compile failed (InvalidCxxCompiler: No working C++ compiler found); they run as they are" in line


def test_a_fault_of_the_input_is_no_fault_of_the_compiler(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    model = acceleration.prepared(small_vggt(), InferenceConfig(compile=True))
    with pytest.raises(RuntimeError):
        model.aggregator.frame_blocks[0](torch.zeros(1, 2, 7))
    assert not caplog.records


@torch.inference_mode()
def test_compiled_blocks_give_the_same(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, acceleration.__name__)
    tokens, rotary = torch.randn(2, 11, 32), rotary_table((2, 3), 5, 16, 100.0, torch.device("cpu"))
    expected = small_vggt().aggregator.global_blocks[0](tokens, rotary)
    block = acceleration.prepared(small_vggt(), InferenceConfig(compile=True)).aggregator.global_blocks[0]
    torch.testing.assert_close(block(tokens, rotary), expected, rtol=1e-4, atol=1e-4)
    assert block.forward.compiled is not None and not caplog.records
    kept = block(tokens, rotary, lambda keys, values: (keys[:, :, :1], values[:, :, :1]))  # a memory takes part
    assert (kept - expected).abs().max() > 1e-3


def test_only_known_precisions_are_taken() -> None:
    with pytest.raises(BadConfig, match="autocast"):
        build(VggtEncoderConfig, {"precision": "fp16"})
    assert build(Pi3EncoderConfig, {"precision": "bf16"}).dtype is torch.bfloat16
