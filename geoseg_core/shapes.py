"""Shape checks for public entry points."""

import numpy as np

from geoseg_core.errors import BadInput


def check_shape(array: np.ndarray, pattern: str, name: str = "array") -> dict[str, int]:
    """Check `array` against a pattern such as ``"H W 3"``; return the sizes of the named axes.

    A number in the pattern must match exactly; a name stands for any size, the same one each time.

    Raises:
        BadInput: the array has another rank or another size.
    """
    wanted = pattern.split()
    shape = tuple(np.shape(array))
    sizes: dict[str, int] = {}
    fits = len(shape) == len(wanted) and all(
        size == int(axis) if axis.isdigit() else sizes.setdefault(axis, size) == size
        for axis, size in zip(wanted, shape, strict=True)
    )
    if not fits:
        raise BadInput(f"{name}: expected shape ({', '.join(wanted)}), got {shape}")
    return sizes
