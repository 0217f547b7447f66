"""What the commands share that measure on pairs of views."""

import numpy as np
import pytest

from geoseg_core.commands.measuring import Gallery, open_data, open_encoder, read_seeds, table
from geoseg_core.errors import BadConfig


def test_seeds_are_read_as_numbers_and_ranges():
    assert read_seeds("3,7,10-12") == [3, 7, 10, 11, 12]
    for words in ("", "a", "3-", "-3", "5-2"):
        with pytest.raises(BadConfig):
            read_seeds(words)


def test_so_many_pairs_are_taken_as_are_asked_for():
    assert open_data("worlds:3-9", 0).count == 7
    data = open_data("worlds:3-9", 2)
    assert (data.name, data.count) == ("worlds:3-9", 2)
    assert [sample.source for sample in data] == ["worlds seed 3", "worlds seed 4"]
    with pytest.raises(BadConfig, match="--pairs: expected 0 or more"):
        open_data("worlds:3-9", -1)


def test_each_method_has_a_row_and_its_figures():
    lines = table(
        {"there.iou": "IoU there", "seconds": "seconds"},
        {"a": {"there": {"iou": 0.5}, "seconds": 0.25, "others": 3}, "another": {"there": {"iou": None}, "seconds": 1}},
    )
    assert [line.split() for line in lines] == [
        ["method", "IoU", "there", "seconds"], ["a", "0.500", "0.250"], ["another", "none", "1.000"],
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1


def test_pictures_are_spread_over_the_sets_and_others_are_not_drawn(tmp_path):
    drawn = []

    def draw(number):
        drawn.append(number)
        return np.zeros((4, 4, 3), np.uint8)

    gallery = Gallery(tmp_path / "new", "tiny=some where/x.safetensors", 9, 3)
    for number in range(9):
        gallery.add(draw, number)
    assert drawn == [0, 4, 8]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"tiny_some_where_x.safetensors_{number}.png" for number in (0, 4, 8)
    ]


def test_an_unknown_encoder_is_refused():
    with pytest.raises(BadConfig, match="one of the encoders \\['else'"):
        open_encoder("guess", "cpu", ["else"])
