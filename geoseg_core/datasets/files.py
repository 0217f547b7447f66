"""Files of published datasets: read, or refused with their name and what was expected in them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from geoseg_core.errors import BadInput
from geoseg_core.imaging import decode_compressed, to_rgb

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_bytes(path: Path, expected: str) -> bytes:
    """The content of a file.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected {expected}, got {error.strerror}") from error


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a JPEG or PNG.

    Raises:
        BadInput: missing or damaged.
    """
    return to_rgb(_pixels(path, "a JPEG or PNG image"))


def read_grey(path: Path) -> np.ndarray:
    """(H, W) uint8 or uint16 of a grey PNG.

    Raises:
        BadInput: missing, damaged, or with colours.
    """
    pixels = _pixels(path, "a grey PNG")
    if pixels.ndim != 2:
        raise BadInput(f"{path}: expected a grey PNG of 8 or 16 bits, got colours")
    return pixels


def read_json(path: Path, kind: type = dict) -> Any:
    """The dict (or another `kind`) in a JSON file.

    Raises:
        BadInput: missing, no JSON, or something else in it.
    """
    text = read_bytes(path, f"JSON with a {kind.__name__}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: expected JSON, got {error}") from error
    if not isinstance(content, kind):
        raise BadInput(f"{path}: expected a {kind.__name__} in it, got {type(content).__name__}")
    return content


def read_matrix(path: Path) -> np.ndarray:
    """(4, 4) float64 from a text file of 16 numbers, finite or not.

    Raises:
        BadInput: missing, or no such numbers.
    """
    text = read_bytes(path, "16 numbers of a 4x4 matrix").decode(errors="replace")
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise BadInput(f"{path}: expected 16 numbers of a 4x4 matrix, got {error}") from error
    if numbers.size != 16:
        raise BadInput(f"{path}: expected 16 numbers of a 4x4 matrix, got {numbers.size}")
    return numbers.reshape(4, 4)


def subfolders(root: Path, expected: str) -> list[Path]:
    """The folders in a folder, by name.

    Raises:
        BadInput: no folder, or none in it.
    """
    found = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not found:
        raise BadInput(f"{root}: expected {expected}, found none")
    return found


def _pixels(path: Path, expected: str) -> np.ndarray:
    data = read_bytes(path, expected)
    try:
        return decode_compressed(data, path.suffix.lstrip("."))
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
