"""Image bytes to arrays, and nothing else: refuse what lies about itself before anything is allocated.

Raw images become views of the message's own bytes wherever their encoding allows it.
"""

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from geoseg_core.errors import BadInput

MAX_PIXELS = 64_000_000
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8"
COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")  # format, depthQuantA, depthQuantB of compressed_depth_image_transport


@dataclass(frozen=True)
class Encoding:
    """How a pixel is stored: `conversion` is the cv2 code that makes RGB of it, None where it is used as it is."""

    dtype: str
    channels: int
    conversion: int | None = None
    tile: int = 1  # width (and for Bayer patterns also height) must be a multiple of this


# 8UC3 and 8UC4 name no colours; OpenCV, which they come from, stores blue first.
# OpenCV names a Bayer pattern after the second row's second and third pixel: rggb is its BG.
ENCODINGS = {
    "rgb8": Encoding("u1", 3),
    "bgr8": Encoding("u1", 3, cv2.COLOR_BGR2RGB),
    "8UC3": Encoding("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": Encoding("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding("u1", 4, cv2.COLOR_BGRA2RGB),
    "8UC4": Encoding("u1", 4, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding("u1", 1),
    "8UC1": Encoding("u1", 1),
    "mono16": Encoding("u2", 1),
    "16UC1": Encoding("u2", 1),
    "32FC1": Encoding("f4", 1),
    "bayer_rggb8": Encoding("u1", 1, cv2.COLOR_BayerBG2RGB, 2),
    "bayer_bggr8": Encoding("u1", 1, cv2.COLOR_BayerRG2RGB, 2),
    "bayer_gbrg8": Encoding("u1", 1, cv2.COLOR_BayerGR2RGB, 2),
    "bayer_grbg8": Encoding("u1", 1, cv2.COLOR_BayerGB2RGB, 2),
    "yuv422": Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY, 2),
    "uyvy": Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY, 2),
    "yuv422_yuy2": Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUY2, 2),
    "yuyv": Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUY2, 2),
}


def decode_image(
    data: Any,
    height: int,
    width: int,
    encoding: str,
    step: int,
    is_bigendian: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Pixels of a raw image; the array shares memory with `data` where no conversion is needed.

    Args:
        data: the bytes, anything with the buffer protocol.
        height, width: pixels. step: bytes from one row to the next.
        encoding: one of ENCODINGS.

    Returns:
        (H, W, 3) uint8 RGB for colour; (H, W) uint8 for mono8/8UC1, uint16 for mono16/16UC1, float32 for 32FC1.

    Raises:
        BadInput: an unknown encoding, or sizes that do not agree with each other or with the data.
    """
    known = ENCODINGS.get(encoding) if isinstance(encoding, str) else None
    if known is None:
        raise BadInput(f"image encoding: expected one of {sorted(ENCODINGS)}, got {encoding!r:.80}")
    dtype = np.dtype(known.dtype)
    pixel_bytes = known.channels * dtype.itemsize
    _check_size(height, width, max_pixels)
    if width % known.tile or (known.channels == 1 and height % known.tile):
        raise BadInput(f"image of {encoding}: expected even sizes, got {width}x{height}")
    buffer = _as_bytes(data)
    if not _is_integer(step) or step < width * pixel_bytes:
        raise BadInput(f"image step: expected at least {width * pixel_bytes} bytes, got {step!r}")
    if buffer.size != step * height:
        raise BadInput(f"image data: expected step * height = {step * height} bytes, got {buffer.size}")
    dtype = dtype.newbyteorder(">" if is_bigendian else "<")
    axes = 2 if known.channels == 1 else 3
    shape, strides = (height, width, known.channels)[:axes], (step, pixel_bytes, dtype.itemsize)[:axes]
    pixels = np.ndarray(shape, dtype, buffer, strides=strides)
    if known.conversion is not None:
        return cv2.cvtColor(pixels, known.conversion)
    # A foreign byte order or rows that begin between two numbers cost a copy.
    return np.require(pixels, dtype.newbyteorder("="), "A")


def decode_compressed(data: Any, format: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Pixels of a JPEG, a PNG or a compressedDepth message (12-byte header and PNG).

    The content decides what it is; `format` only tells compressedDepth with its encoding.

    Returns:
        (H, W, 3) uint8 RGB for colour; (H, W) uint8 or uint16 for a grey PNG; (H, W) float32 metres
        for compressedDepth of 32FC1.

    Raises:
        BadInput: another format, a truncated file, or more than `max_pixels` (read from the header).
    """
    buffer = _as_bytes(data)
    quantisation = None
    if "compressedDepth" in str(format) and buffer[: len(PNG_MAGIC)].tobytes() != PNG_MAGIC:
        if buffer.size < COMPRESSED_DEPTH_HEADER.size:
            raise BadInput(f"compressedDepth: expected a 12-byte header, got {buffer.size} bytes")
        quantisation = COMPRESSED_DEPTH_HEADER.unpack(buffer[: COMPRESSED_DEPTH_HEADER.size].tobytes())[1:]
        buffer = buffer[COMPRESSED_DEPTH_HEADER.size :]
    if buffer[: len(PNG_MAGIC)].tobytes() == PNG_MAGIC:
        height, width, is_grey = _png_header(buffer)
    elif buffer[: len(JPEG_MAGIC)].tobytes() == JPEG_MAGIC:
        height, width, is_grey = *_jpeg_size(buffer), False
    else:
        raise BadInput(f"compressed image: expected JPEG or PNG, got format {format!r:.80}, {buffer.size} bytes")
    _check_size(height, width, max_pixels)
    flags = cv2.IMREAD_UNCHANGED if is_grey else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(buffer, flags)
    except cv2.error as error:
        raise BadInput(f"compressed image: expected {width}x{height} pixels, the decoder refused: {error}") from error
    if pixels is None or pixels.shape[:2] != (height, width):
        raise BadInput(f"compressed image: expected {width}x{height} pixels, got damaged data; send it again")
    if quantisation is not None and "32FC1" in str(format):
        return _dequantise(pixels, *quantisation)
    return pixels if is_grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def to_rgb(array: np.ndarray) -> np.ndarray:
    """Any decoded image as (H, W, 3) uint8 RGB: grey is repeated, 16 bits are cut to the upper 8.

    Raises:
        BadInput: not an image of 8 or 16 bits.
    """
    if array.dtype == np.uint16 and array.ndim == 2:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise BadInput(f"colour image: expected 8 or 16 bits a channel, got {array.dtype} of shape {array.shape}")
    return cv2.cvtColor(array, cv2.COLOR_GRAY2RGB) if array.ndim == 2 else array


def to_depth_m(array: np.ndarray) -> np.ndarray:
    """A decoded depth image as (H, W) float32 metres; 0 where it was NaN, infinite or negative.

    Raises:
        BadInput: neither uint16 (millimetres) nor float32 (metres), or not of one channel.
    """
    if array.ndim == 2 and array.dtype == np.uint16:
        return array * np.float32(0.001)
    if array.ndim != 2 or array.dtype != np.float32:
        raise BadInput(f"depth image: expected (H, W) of uint16 or float32, got {array.dtype} of shape {array.shape}")
    usable = (array >= 0) & (array < np.inf)
    return array if usable.all() else np.where(usable, array, np.float32(0))


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_size(height: int, width: int, max_pixels: int) -> None:
    fits = _is_integer(height) and _is_integer(width) and height > 0 and width > 0 and height * width <= max_pixels
    if not fits:
        raise BadInput(f"image size: expected 1 to {max_pixels} pixels, got {width!r}x{height!r}")


def _as_bytes(data: Any) -> np.ndarray:
    """(N,) uint8 over the memory of `data`, never a copy."""
    try:
        return np.frombuffer(memoryview(data).cast("B"), np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise BadInput(f"image data: expected contiguous bytes, got {type(data).__name__}: {error}") from error


def _png_header(buffer: np.ndarray) -> tuple[int, int, bool]:
    """(height, width, is grey) after a walk over all chunks, which shows whether the file is whole."""
    view = buffer.data
    if len(view) < 33 or bytes(view[12:16]) != b"IHDR":
        raise BadInput(f"PNG: expected an IHDR chunk, got {len(view)} bytes without one")
    width, height, _, colour_type = struct.unpack_from(">IIBB", view, 16)
    offset = len(PNG_MAGIC)
    while offset + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, offset)
        offset += 12 + length
        if kind == b"IEND" and offset <= len(view):
            return height, width, colour_type == 0
    raise BadInput(f"PNG: expected a whole file up to IEND, got a truncated one of {len(view)} bytes")


def _jpeg_size(buffer: np.ndarray) -> tuple[int, int]:
    """(height, width) from the frame header of a JPEG that is complete up to its end marker."""
    view = buffer.data
    if not bytes(view[-64:]).rstrip(b"\0").endswith(b"\xff\xd9"):
        raise BadInput(f"JPEG: expected a whole file up to its end marker, got a truncated one of {len(view)} bytes")
    offset = len(JPEG_MAGIC)
    while offset + 9 <= len(view) and view[offset] == 0xFF:
        marker = view[offset + 1]
        if marker == 0xFF:  # padding between segments
            offset += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", view, offset + 5)
            return height, width
        offset += 2 + struct.unpack_from(">H", view, offset + 2)[0]
    raise BadInput("JPEG: expected a frame header with the size, got none; send baseline or progressive JPEG")


def _dequantise(inverse: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Metres from the inverse depth that compressedDepth stores for 32FC1; 0 stays 0."""
    if inverse.ndim != 2 or not np.isfinite([scale, shift]).all():
        raise BadInput(f"compressedDepth: expected a grey PNG and finite parameters, got {scale}, {shift}")
    with np.errstate(divide="ignore", invalid="ignore"):
        depth_m = np.float32(scale) / (inverse.astype(np.float32) - np.float32(shift))
    return np.where(inverse > 0, depth_m, np.float32(0))
