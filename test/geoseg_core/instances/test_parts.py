"""Parts: things that nearly touch are two where their colours differ; one thing with a gap in it stays one."""

from dataclasses import replace

import numpy as np
from scenes import box, render_set

from geoseg_core.instances.parts import join_alike
from geoseg_core.pipeline import ScenePipeline

GAP_M = 0.01  # joined by voxels of 8 mm, apart in the finer ones of 4 mm


def ids_of_two_boxes(second_colour: tuple[int, int, int]) -> list[set[int]]:
    """The ids in the middle of each of two boxes in all views, over two sets."""
    first = box(1, -0.045 - GAP_M / 2, -0.05, (0.09, 0.09, 0.1))
    second = replace(box(2, 0.045 + GAP_M / 2, -0.05, (0.09, 0.09, 0.1)), colour=second_colour)
    first = replace(first, colour=(60, 160, 70))
    pipeline, found = ScenePipeline(), [set(), set()]
    for number in range(2):
        frames, truths = render_set([first, second], number * 100_000_000)
        result = pipeline.process(frames)
        for labels, truth in zip(result.instances.labels, truths, strict=True):
            for index, label in enumerate((1, 2)):
                found[index].add(int(np.bincount(labels[truth == label]).argmax()))
    return found


def test_two_boxes_of_different_colour_that_nearly_touch_are_two_things() -> None:
    first, second = ids_of_two_boxes((220, 190, 60))
    assert len(first) == len(second) == 1 and first != second


def test_two_halves_of_one_colour_are_one_thing() -> None:
    first, second = ids_of_two_boxes((60, 160, 70))
    assert first == second and len(first) == 1


def test_the_most_alike_are_joined_first_and_shadow_counts_half() -> None:
    colours = np.array([[50, 0, 0], [60, 4, 0], [50, 30, 0], [40, 0, 0]], float)
    groups = join_alike(colours, np.array([10, 10, 10, 10]), 12.0)
    assert groups[0] == groups[1] == groups[3] != groups[2]
    assert len(set(join_alike(colours, np.array([10, 10, 10, 10]), 3.0))) == 4
