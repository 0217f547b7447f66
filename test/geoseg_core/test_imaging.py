"""Decoding: the right pixels or BadInput, never anything else, and no memory for a size that lies."""

import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_core.errors import BadInput
from geoseg_core.imaging import ENCODINGS, MAX_PIXELS, decode_compressed, decode_image, to_depth_m, to_rgb

RGB, BGR = [0, 1, 2], [2, 1, 0]
PLAIN = {"rgb8": RGB, "bgr8": BGR, "8UC3": BGR, "rgba8": RGB, "bgra8": BGR, "8UC4": BGR}
GREY = {"mono8": "B", "8UC1": "B", "mono16": "H", "16UC1": "H", "32FC1": "f"}


def slow_pixels(data: bytes, height: int, width: int, encoding: str, step: int, is_bigendian: bool) -> np.ndarray:
    """The obvious way: one struct.unpack a pixel."""
    rows = []
    for v in range(height):
        row = []
        for u in range(width):
            if encoding in PLAIN:
                channels = ENCODINGS[encoding].channels
                pixel = data[v * step + u * channels : v * step + (u + 1) * channels]
                row.append([pixel[channel] for channel in PLAIN[encoding]])
            else:
                kind = (">" if is_bigendian else "<") + GREY[encoding]
                size = struct.calcsize(kind)
                row.append(struct.unpack_from(kind, data, v * step + u * size)[0])
        rows.append(row)
    dtype = np.uint8 if encoding in PLAIN else np.dtype(GREY[encoding])
    return np.array(rows, dtype)


@given(
    st.sampled_from([*PLAIN, *GREY]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 7), st.booleans(), st.data()
)
@settings(deadline=None, max_examples=300)
def test_every_honest_image_gives_exactly_its_pixels(encoding, height, width, padding, is_bigendian, data):
    known = ENCODINGS[encoding]
    step = width * known.channels * np.dtype(known.dtype).itemsize + padding
    bytes_ = data.draw(st.binary(min_size=step * height, max_size=step * height))
    pixels = decode_image(bytes_, height, width, encoding, step, is_bigendian)
    expected = slow_pixels(bytes_, height, width, encoding, step, is_bigendian)
    assert pixels.dtype == expected.dtype
    np.testing.assert_array_equal(pixels, expected)


numbers = st.one_of(st.integers(-3, 40), st.integers(-(2**63), 2**64), st.sampled_from([2**31, 0]), st.none())


@given(
    st.binary(max_size=4000), numbers, numbers, st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text()), numbers,
    st.booleans(),
)
@settings(deadline=None, max_examples=500)
def test_random_headers_give_pixels_or_bad_input(data, height, width, encoding, step, is_bigendian):
    try:
        pixels = decode_image(data, height, width, encoding, step, is_bigendian)
    except BadInput:
        return
    assert pixels.shape[:2] == (height, width) and len(data) == height * step


@pytest.mark.parametrize(
    "height, width, step, length",
    [
        (60_000, 60_000, 180_000, 100),
        (2**31, 2**31, 2**33, 100),
        (8_000, 8_000, 24_000, 100),
        (8_000, 8_000, 8_000, 8_000 * 8_000),
        (8_000, 8_000, 0, 0),
    ],
)
def test_a_lying_size_allocates_nothing(height, width, step, length):
    data = bytes(length)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput):
            decode_image(data, height, width, "bgr8", step)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "16UC1", "32FC1"])
def test_pixels_share_memory_with_the_message(encoding):
    known = ENCODINGS[encoding]
    step = 8 * known.channels * np.dtype(known.dtype).itemsize + 4
    data = bytearray(6 * step)
    assert np.shares_memory(decode_image(data, 6, 8, encoding, step), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("pattern, red", [("rggb", (0, 0)), ("bggr", (1, 1)), ("gbrg", (1, 0)), ("grbg", (0, 1))])
def test_bayer_patterns_put_red_where_it_belongs(pattern, red):
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2] = 200
    assert decode_image(mosaic.tobytes(), 8, 8, f"bayer_{pattern}8", 8)[4, 4].tolist() == [200, 0, 0]


@pytest.mark.parametrize("encoding, order", [("yuv422", "UYVY"), ("yuv422_yuy2", "YUYV")])
def test_yuv_is_converted(encoding, order):
    values = {"Y": 81, "U": 90, "V": 240}  # pure red in limited-range BT.601
    data = bytes(values[letter] for letter in order) * 4
    np.testing.assert_allclose(decode_image(data, 2, 4, encoding, 8)[0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"encoding": "rgb565"}, "encoding: expected one of"),
        ({"height": 5}, "step \\* height = 60 bytes, got 48"),
        ({"step": 11}, "step: expected at least 12 bytes, got 11"),
        ({"width": 0}, "0x4"),
        ({"data": [1] * 48}, "contiguous bytes, got list"),
        ({"data": bytes(49)}, "got 49"),
        ({"max_pixels": 15}, "1 to 15 pixels"),
    ],
)
def test_refusals_say_what_was_expected(change, words):
    honest = {"data": bytes(48), "height": 4, "width": 4, "encoding": "rgb8", "step": 12}
    with pytest.raises(BadInput, match=words):
        decode_image(**(honest | change))


def encode(extension: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(extension, pixels)[1].tobytes()


RNG = np.random.default_rng(1)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (24, 32, 3), np.uint8), (0, 0), 3)
DEPTH_MM = RNG.integers(0, 5000, (24, 32), np.uint16)


def test_png_keeps_every_pixel_and_rgb_order():
    np.testing.assert_array_equal(decode_compressed(encode(".png", COLOUR[..., ::-1]), "png"), COLOUR)
    np.testing.assert_array_equal(decode_compressed(encode(".png", DEPTH_MM), "16UC1; png compressed "), DEPTH_MM)
    np.testing.assert_array_equal(decode_compressed(encode(".png", COLOUR[..., 0]), "mono8; png"), COLOUR[..., 0])


def test_jpeg_is_close_and_rgb():
    decoded = decode_compressed(encode(".jpg", COLOUR[..., ::-1]), "rgb8; jpeg compressed bgr8")
    assert np.abs(decoded.astype(int) - COLOUR).mean() < 4


def test_compressed_depth_of_millimetres_and_of_metres():
    header = struct.pack("<iff", 0, 0.0, 0.0)
    png = encode(".png", DEPTH_MM)
    for data in (header + png, png):
        decoded = decode_compressed(data, "16UC1; compressedDepth png")
        np.testing.assert_array_equal(decoded, DEPTH_MM)
    inverse = np.array([[0, 100, 201]], np.uint16)
    data = struct.pack("<iff", 0, 200.0, 1.0) + encode(".png", inverse)
    decoded = decode_compressed(data, "32FC1; compressedDepth png")
    np.testing.assert_allclose(decoded, [[0, 200 / 99, 1.0]], rtol=1e-6)


@given(st.sampled_from([".png", ".jpg"]), st.integers(0, 10_000))
@settings(deadline=None, max_examples=200)
def test_truncated_files_are_refused(extension, cut):
    data = encode(extension, COLOUR)
    with pytest.raises(BadInput):
        decode_compressed(data[: cut % len(data)], "jpeg")


@given(st.sampled_from([".png", ".jpg"]), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
@settings(deadline=None, max_examples=300)
def test_damaged_files_give_an_image_or_bad_input(extension, damage):
    data = bytearray(encode(extension, COLOUR))
    for position, value in damage:
        data[position % len(data)] = value
    try:
        pixels = decode_compressed(bytes(data), "png", max_pixels=100_000)
    except BadInput:
        return
    assert pixels.ndim in (2, 3) and pixels.size <= 300_000


@given(st.binary(max_size=300), st.text())
@settings(deadline=None, max_examples=200)
def test_noise_is_refused(data, name):
    with pytest.raises(BadInput):
        decode_compressed(data, name)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_gigantic_header_is_refused_before_decoding(kind):
    if kind == "png":
        data = bytearray(encode(".png", COLOUR))
        struct.pack_into(">II", data, 16, 60_000, 60_000)
    else:
        data = bytearray(encode(".jpg", COLOUR))
        frame_header = data.index(b"\xff\xc0")
        struct.pack_into(">HH", data, frame_header + 5, 60_000, 60_000)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=f"expected 1 to {MAX_PIXELS} pixels, got 60000x60000"):
            decode_compressed(bytes(data), kind)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_to_rgb_repeats_grey_and_keeps_colour():
    grey = np.array([[1, 200]], np.uint8)
    assert to_rgb(grey).tolist() == [[[1, 1, 1], [200, 200, 200]]]
    assert to_rgb(grey.astype(np.uint16) << 8).tolist() == to_rgb(grey).tolist()
    assert to_rgb(COLOUR) is COLOUR
    with pytest.raises(BadInput, match="float32"):
        to_rgb(np.zeros((2, 2), np.float32))


def test_to_depth_m_scales_millimetres_and_clears_what_is_no_distance():
    np.testing.assert_allclose(to_depth_m(np.array([[0, 1500]], np.uint16)), [[0, 1.5]])
    metres = np.array([[np.nan, np.inf, -np.inf, -1, 0, 2.5]], np.float32)
    assert to_depth_m(metres).tolist() == [[0, 0, 0, 0, 0, 2.5]]
    clean = np.ones((2, 2), np.float32)
    assert to_depth_m(clean) is clean
    with pytest.raises(BadInput, match="uint8"):
        to_depth_m(np.zeros((2, 2), np.uint8))
