"""VGGT over time at a small size with random weights: the same numbers as one causal pass, at a bounded cost."""

import dataclasses
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from small_models import assert_same, small_vggt
from torch import Tensor

from geoseg_core.errors import BadInput
from geoseg_core.geometry.streaming.config import StreamingConfig
from geoseg_core.geometry.streaming.encoder import StreamingEncoder
from geoseg_core.geometry.vggt.aggregator import TokenLayers
from geoseg_core.geometry.vggt.encoder import VggtEncoder, VggtEncoderConfig, VggtScene
from geoseg_core.views import FrameSet, View

CAMERAS = ("ego", "left", "right")
SIDE = 42
PATCHES = 2 * 3
TOKENS = 5 + PATCHES
# Keys and values of 3 global blocks and camera tokens of 3 views, float32, width 32.
SET_BYTES = 4 * (2 * 3 * 32 * 3 * TOKENS + 3 * 64)
POINTS = np.array([[10.0, 20.0], [30.0, 9.5]])


@pytest.fixture(scope="module")
def plain() -> VggtEncoder:
    torch.set_num_threads(1)
    return VggtEncoder(small_vggt(), VggtEncoderConfig(side=SIDE))


def photograph(seed: int, size: tuple[int, int] = (28, 42)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def frame_set(number: int, cameras: tuple[str, ...] = CAMERAS, stamp_s: float | None = None) -> FrameSet:
    """The ego camera sees something new in each set, the others what they saw first."""
    stamp_ns = round(1e9 * (0.1 * number if stamp_s is None else stamp_s))
    seeds = {camera: 100 + index for index, camera in enumerate(cameras)} | {"ego": number}
    return FrameSet(tuple(View(camera, photograph(seeds[camera]), stamp_ns) for camera in cameras))


def encode_all(encoder: StreamingEncoder, count: int) -> list[VggtScene]:
    return [encoder.encode(frame_set(number)) for number in range(count)]


def one_causal_pass(
    plain: VggtEncoder, count: int, seen: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> TokenLayers:
    """Token layers of the sets 0 to count - 1 in one pass, where set i attends to the sets seen[i]."""
    per_set = len(CAMERAS) * TOKENS
    mask = torch.zeros(count, per_set, count, per_set, dtype=torch.bool)
    for number, others in enumerate(seen):
        mask[number, :, [*others, number]] = True
    mask = mask.flatten(0, 1).flatten(1, 2)
    attention = F.scaled_dot_product_attention

    def masked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention(query, key, value, attn_mask=mask if query.shape[2] == len(mask) else None)

    views = [view for number in range(count) for view in frame_set(number).views]
    renamed = FrameSet(tuple(dataclasses.replace(view, camera=str(index)) for index, view in enumerate(views)))
    with monkeypatch.context() as patched, torch.inference_mode():
        patched.setattr(F, "scaled_dot_product_attention", masked)
        return plain.model.aggregator(plain.images(renamed, plain.place(renamed))[None], plain.layers_kept)


@pytest.mark.parametrize(
    ("window", "anchors", "seen"),
    [
        (4, 1, [[], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]),  # all of the sequence
        (1, 1, [[], [0], [0, 1], [0, 2], [0, 3]]),
        (0, 1, [[], [0], [0], [0], [0]]),
        (2, 2, [[], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]),
        (1, 2, [[], [0], [0, 1], [0, 1, 2], [0, 1, 3]]),
    ],
)
def test_tokens_are_those_of_one_causal_pass(
    plain: VggtEncoder, window: int, anchors: int, seen: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = one_causal_pass(plain, 5, seen, monkeypatch)
    scenes = encode_all(StreamingEncoder(plain, StreamingConfig(window, anchors, change=0.0)), 5)
    for number, layer in expected.layers.items():
        streamed = torch.cat([scene.tokens.layers[number] for scene in scenes], dim=1)
        assert_same(streamed, layer, f"layer {number}")


def test_poses_are_those_of_the_camera_head_over_all_that_is_held(
    plain: VggtEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = one_causal_pass(plain, 4, [[], [0], [0, 1], [0, 2]], monkeypatch)
    scenes = encode_all(StreamingEncoder(plain, StreamingConfig(window=1, change=0.0)), 4)
    held = [0, 2, 3]
    rows = [3 * number + view for number in held for view in range(3)]
    with torch.inference_mode():
        encodings = plain.model.camera_head(tokens.layers[2][:, rows, 0])[-1][0].numpy()
    first = matrix_of(encodings[0])
    for view, encoding in zip(scenes[3].views, encodings[-3:], strict=True):
        expected = first @ np.linalg.inv(matrix_of(encoding))
        np.testing.assert_allclose(view.camera_to_world, expected, atol=1e-4 * np.abs(expected).max())


def matrix_of(encoding: np.ndarray) -> np.ndarray:
    """world_to_camera of a translation and a quaternion x y z w of any length."""
    x, y, z, w = encoding[3:7] / np.linalg.norm(encoding[3:7])
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    matrix[:3, 3] = encoding[:3]
    return matrix


def test_the_first_set_is_that_of_the_plain_encoder(plain: VggtEncoder) -> None:
    expected, found = plain.encode(frame_set(0)), StreamingEncoder(plain).encode(frame_set(0))
    for ours, reference in zip(found.views, expected.views, strict=True):
        for name in ("depth_m", "confidence", "intrinsics", "camera_to_world", "points"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(reference, name))
    for ours, reference in zip(found.features((0, 2)), expected.features((0, 2)), strict=True):
        assert torch.equal(ours, reference)


def test_earlier_sets_matter_and_only_those_that_are_seen(plain: VggtEncoder) -> None:
    def last_depth(window: int, numbers: list[int]) -> np.ndarray:
        encoder = StreamingEncoder(plain, StreamingConfig(window))
        scenes = [encoder.encode(frame_set(number, stamp_s=0.1 * index)) for index, number in enumerate(numbers)]
        return scenes[-1].views[0].depth_m

    seen, alone = last_depth(1, [0, 1, 2]), plain.encode(frame_set(2)).views[0].depth_m
    for changed in (last_depth(1, [7, 1, 2]), last_depth(1, [0, 8, 2]), alone):
        assert np.abs(changed / seen - 1).max() > 1e-3
    np.testing.assert_array_equal(last_depth(0, [0, 1, 2]), last_depth(0, [0, 8, 2]))


def test_the_world_stays_that_of_the_first_view(plain: VggtEncoder) -> None:
    pose = np.array([[0.0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1]])
    free, posed = (StreamingEncoder(plain, StreamingConfig(window=1)) for _ in range(2))
    for number in range(4):
        frames = frame_set(number)
        ego = dataclasses.replace(frames.views[0], camera_to_world=pose if number == 0 else np.eye(4))
        expected, found = free.encode(frames), posed.encode(FrameSet((ego, *frames.views[1:])))
        for ours, reference in zip(found.views, expected.views, strict=True):
            np.testing.assert_allclose(ours.camera_to_world, pose @ reference.camera_to_world, atol=1e-4)
        if number == 0:
            np.testing.assert_allclose(expected.views[0].camera_to_world, np.eye(4), atol=1e-5)
        else:
            assert np.abs(expected.views[0].camera_to_world - np.eye(4)).max() > 1e-3


def test_tracks_run_between_the_views_of_the_newest_set(plain: VggtEncoder) -> None:
    scene = encode_all(StreamingEncoder(plain), 3)[-1]
    own = scene.track(POINTS, 0, [0, 1, 2])
    np.testing.assert_allclose(own.points_px[0], POINTS, atol=1e-3)
    # Another source takes a pass of the new set alone.
    other, expected = (each.track(POINTS, 1, [0, 2]) for each in (scene, plain.encode(frame_set(2))))
    np.testing.assert_allclose(other.points_px, expected.points_px, atol=1e-2)


def test_the_window_moves_on_and_the_anchors_stay(plain: VggtEncoder) -> None:
    encoder = StreamingEncoder(plain, StreamingConfig(window=2, anchors=2))
    assert encoder.held_sets == () and encoder.held_bytes == 0
    held = []
    for number in range(8):
        encoder.encode(frame_set(number))
        held.append(encoder.held_sets)
        # All memory is there from the start: two anchors, two sets of the window, and the new one.
        assert encoder.held_bytes == 5 * SET_BYTES
    assert held[:5] == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 4)]
    assert held[5:] == [(0, 1, 3, 4, 5), (0, 1, 4, 5, 6), (0, 1, 5, 6, 7)]


def test_the_window_shrinks_to_the_budget(plain: VggtEncoder, caplog: pytest.LogCaptureFixture) -> None:
    fitting = 2**20 // SET_BYTES
    encoder = StreamingEncoder(plain, StreamingConfig(window=1000, budget_mib=1))
    for number in range(fitting + 3):
        encoder.encode(frame_set(number))
    assert encoder.held_bytes == fitting * SET_BYTES <= 2**20
    assert encoder.held_sets == (0, *range(4, fitting + 3))
    needed = 1002 * SET_BYTES // 2**20 + 1
    assert caplog.messages == [f"a window of 1000 sets needs budget_mib {needed}, not 1; it has {fitting - 2} sets"]


def test_a_budget_without_room_for_the_anchors_is_refused_with_the_one_that_has(plain: VggtEncoder) -> None:
    anchors = 2**20 // SET_BYTES
    with pytest.raises(BadInput, match=f"budget_mib of at least 2 to keep {anchors} anchors .* got 1"):
        StreamingEncoder(plain, StreamingConfig(anchors=anchors, budget_mib=1)).encode(frame_set(0))
    encoder = StreamingEncoder(plain, StreamingConfig(anchors=anchors, budget_mib=2))
    assert len(encoder.encode(frame_set(0)).views) == 3


def test_only_the_view_that_changed_is_embedded(plain: VggtEncoder) -> None:
    encoder = StreamingEncoder(plain)
    scenes = encode_all(encoder, 4)
    assert (encoder.still.embedded, encoder.still.reused) == (3 + 3, 2 * 3)
    for scene in scenes[1:]:
        assert torch.equal(scene.patches[1:], scenes[0].patches[1:])
        assert not torch.equal(scene.patches[0], scenes[0].patches[0])
        assert_same(scene.patches, plain.encode(scene.frames).patches)


def test_a_late_set_is_refused_and_changes_nothing(plain: VggtEncoder) -> None:
    late, straight = (StreamingEncoder(plain, StreamingConfig(max_gap_s=1.0)) for _ in range(2))
    encode_all(late, 3), encode_all(straight, 3)
    with pytest.raises(BadInput, match=r"not older than the last, got one that is 0\.100 s older"):
        late.encode(frame_set(1))
    with pytest.raises(BadInput, match="older"):  # even from a rig of another shape
        late.encode(frame_set(1, CAMERAS[:2]))
    found, expected = late.encode(frame_set(3)), straight.encode(frame_set(3))
    np.testing.assert_array_equal(found.views[0].depth_m, expected.views[0].depth_m)
    assert late.held_sets == (0, 1, 2, 3) and late.sequence == 1


def test_sets_without_stamps_are_in_order(plain: VggtEncoder) -> None:
    encoder = StreamingEncoder(plain)
    for number in range(3):
        encoder.encode(frame_set(number, stamp_s=0.0))
    assert encoder.held_sets == (0, 1, 2) and encoder.sequence == 1


@pytest.mark.parametrize(
    ("following", "reason"),
    [
        (frame_set(9, stamp_s=1.21), "jumped by 1.010"),
        (frame_set(9, stamp_s=-1.0), "jumped by -1.200"),
        (frame_set(9, CAMERAS[:2], stamp_s=0.3), "changed from .*right.* to"),
        (frame_set(9, ("ego", "right", "left"), stamp_s=0.3), "changed"),
        (FrameSet(tuple(View(camera, photograph(5, (42, 42)), 300_000_000) for camera in CAMERAS)), r"to .*\(42, 42\)"),
    ],
    ids=["gap", "clock set back", "a camera less", "another order", "another size"],
)  # fmt: skip
def test_a_new_sequence_starts(
    plain: VggtEncoder, following: FrameSet, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = StreamingEncoder(plain, StreamingConfig(max_gap_s=1.0))
    encode_all(encoder, 3)
    found = encoder.encode(following)
    assert encoder.sequence == 2 and encoder.held_sets == (0,)
    assert re.search(reason, encoder.started_because)
    assert caplog.messages == [f"a new sequence of frame sets starts, in a world of its own: {encoder.started_because}"]
    expected = plain.encode(following)
    np.testing.assert_array_equal(found.views[1].depth_m, expected.views[1].depth_m)
    np.testing.assert_array_equal(found.views[1].camera_to_world, expected.views[1].camera_to_world)


def test_reset_starts_a_new_sequence_and_frees_the_memory(plain: VggtEncoder) -> None:
    encoder = StreamingEncoder(plain)
    encode_all(encoder, 3)
    encoder.reset()
    assert encoder.held_sets == () and encoder.held_bytes == 0
    found = encoder.encode(frame_set(1))  # older, but nothing is left that it could be late for
    np.testing.assert_array_equal(found.views[0].depth_m, plain.encode(frame_set(1)).views[0].depth_m)
    assert encoder.sequence == 2


def test_an_encoding_that_fails_leaves_a_working_encoder(plain: VggtEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = StreamingEncoder(plain, StreamingConfig(window=2))

    def fail(*_: object) -> None:
        raise MemoryError

    for number in range(6):
        if number in (0, 1, 4):
            with monkeypatch.context() as patched, pytest.raises(MemoryError):
                patched.setattr(plain.model.depth_head, "forward", fail)
                encoder.encode(frame_set(number))
        encoder.encode(frame_set(number))
    assert encoder.held_sets == (0, 3, 4, 5)
    expected = encode_all(StreamingEncoder(plain, StreamingConfig(window=2)), 7)[-1]
    assert_same(encoder.encode(frame_set(6)).tokens.layers[2], expected.tokens.layers[2])


def test_views_of_other_sizes_share_a_set(plain: VggtEncoder) -> None:
    encoder = StreamingEncoder(plain)
    for number in range(2):
        views = (View("ego", photograph(number)), View("tall", photograph(number + 9, (60, 30))))
        scene = encoder.encode(FrameSet(views))
    assert [view.depth_m.shape for view in scene.views] == [(28, 42), (60, 30)]
    assert encoder.held_sets == (0, 1)


def test_what_the_network_cannot_take_is_refused_before_anything_changes(plain: VggtEncoder) -> None:
    encoder = StreamingEncoder(plain)
    encode_all(encoder, 2)
    with pytest.raises(BadInput, match="at least one patch"):
        encoder.encode(FrameSet((View("ego", photograph(0, (4, 200)), 300_000_000),)))
    with pytest.raises(BadInput, match="at least one view"):
        encoder.encode(FrameSet(()))
    assert encoder.held_sets == (0, 1) and encoder.sequence == 1


@pytest.mark.parametrize("precision", ["autocast", "bf16"])
def test_reduced_precision_stays_near_and_halves_the_memory(plain: VggtEncoder, precision: str) -> None:
    reduced = StreamingEncoder(VggtEncoder(small_vggt(), VggtEncoderConfig(side=SIDE, precision=precision)))
    exact = StreamingEncoder(plain)
    found, expected = (encode_all(each, 4)[-1].views[0].depth_m for each in (reduced, exact))
    assert 0 < np.median(np.abs(found / expected - 1)) < 0.1
    assert reduced.held_bytes < 0.52 * exact.held_bytes
