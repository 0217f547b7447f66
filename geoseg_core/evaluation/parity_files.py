"""Parity of what stands in JSON files: names and shapes of checkpoints, sizes of images."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from geoseg_core.errors import BadInput
from geoseg_core.evaluation.parity import Fixture, Row, Runner
from geoseg_core.geometry.network_input import pi3_size, vggt_placement
from geoseg_core.weights.loading import check_tensors, expected_shapes


def run_keys(make: Callable[[], nn.Module]) -> Runner:
    """A runner that compares a full-size model, built without memory, with the tensors of its checkpoint."""

    def run(fixture: Fixture) -> list[Row]:
        stored = {name: tuple(each["shape"]) for name, each in fixture.config["tensors"].items()}
        label = f"{len(stored)} names and shapes"
        with torch.device("meta"):
            model = make()
        try:
            check_tensors(stored, expected_shapes(model), fixture.path.name)
        except BadInput as error:
            return [Row("", label, None, 0.0, f"MISS: {error}")]
        return [Row("", label, 0.0, 0.0)]

    return run


def run_sizes(fixture: Fixture) -> list[Row]:
    """Sizes and places that the published loaders give images; the error counts the rows that differ."""
    compared: dict[str, list[bool]] = {}
    for row in fixture.config["rows"]:
        for name, ours in loader_sizes(row["input_wh"][::-1]).items():
            compared.setdefault(name, []).append(ours == tuple(row[name]))
    return [Row("", name, float(same.count(False)), 0.0) for name, same in compared.items()]


def loader_sizes(source: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """What becomes of an image (height, width), by the names of the fixture."""
    height, width = source
    padded = vggt_placement((height, width), "pad")
    (top, left), (rows, columns) = padded.offset, padded.resized
    return {
        "vggt_crop_hw": vggt_placement((height, width)).canvas,
        "vggt_pad_hw": padded.canvas,
        "vggt_pad_content_y_x_range": (top, top + rows, left, left + columns),
        "pi3_hw": pi3_size((height, width)),
    }
