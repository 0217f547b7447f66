"""PNG files, with OpenCV where it is installed and by hand where it is not, and the colours of a depth map."""

import importlib.util
import struct
import zlib
from pathlib import Path

import numpy as np

# Dark blue, teal, yellow: far to near, also for eyes that see fewer colours.
RAMP = np.array([[13, 22, 72], [33, 91, 141], [38, 157, 140], [132, 203, 96], [250, 230, 60]], float)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("cv2") is not None:
        import cv2

        cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))
    else:
        path.write_bytes(png_bytes(picture))


def png_bytes(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG file."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def depth_colours(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """(..., H, W) to (..., H, W, 3) uint8: near is bright, black is unknown (0)."""
    known = depth > 0
    inverse = 1 / np.where(known, depth, 1.0)
    span = max(1 / near - 1 / far, 1e-9)
    place = np.clip((inverse - 1 / far) / span, 0, 1) * (len(RAMP) - 1)
    low = np.minimum(place.astype(int), len(RAMP) - 2)
    part = (place - low)[..., None]
    colours = RAMP[low] * (1 - part) + RAMP[low + 1] * part
    return np.where(known[..., None], colours, 0).astype(np.uint8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
