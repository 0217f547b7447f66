"""Masks and labels from what queries say, by hand."""

import pytest
import torch

from geoseg_core.instances.queries.config import QueryDecodingConfig
from geoseg_core.instances.queries.decoding import found_instances
from geoseg_core.instances.queries.model import QueryOutput

SIZE = (2, 4)
SURE = 8.0


def output(*queries):
    """Each query: logit of being a thing, then the cells (view, row, column) of its mask in two views of SIZE."""
    classes = torch.tensor([[logit, 0.0] for logit, _ in queries]).view(1, -1, 2)
    masks = torch.full((1, len(queries), 2, *SIZE), -SURE)
    for number, (_, cells) in enumerate(queries):
        for cell in cells:
            masks[(0, number, *cell)] = SURE
    return QueryOutput(classes, masks)


def block(view, columns):
    return [(view, row, column) for row in range(2) for column in columns]


def chance(logit):
    return float(torch.sigmoid(torch.tensor(logit)))


def test_instances_come_best_first_with_scores_masks_and_labels():
    left, right = block(0, (0, 1)), block(0, (3,)) + block(1, (3,))
    (found,) = found_instances(output((1.0, left), (-5.0, block(1, (0, 1))), (3.0, right)), SIZE)
    assert found.queries.tolist() == [2, 0] and found.classes.tolist() == [0, 0]
    assert found.scores.tolist() == pytest.approx([chance(3.0) * chance(SURE), chance(1.0) * chance(SURE)])
    assert found.labels.tolist() == [[[2, 2, 0, 1]] * 2, [[0, 0, 0, 1]] * 2]
    assert torch.equal(found.masks, torch.stack((found.labels == 1, found.labels == 2)))


def test_of_masks_that_overlap_much_the_best_stays():
    same, less = block(0, (0, 1, 2)), block(0, (0, 1))
    (found,) = found_instances(output((1.0, less), (2.0, same), (1.5, block(0, (3,)))), SIZE)
    assert found.queries.tolist() == [1, 2]
    loose = QueryDecodingConfig(most_overlap=0.7)
    (found,) = found_instances(output((1.0, less), (2.0, same), (1.5, block(0, (3,)))), SIZE, loose)
    assert found.queries.tolist() == [1, 2], "the best one covers it, it has no pixel"


def test_what_was_dropped_drops_no_other():
    first, second, third = block(0, (0, 1)), block(0, (0, 1, 2)), block(0, (1, 2, 3))
    (found,) = found_instances(output((3.0, first), (2.0, second), (1.0, third)), SIZE, QueryDecodingConfig())
    # The third overlaps the second by a half and no more, and the first by a quarter.
    assert found.queries.tolist() == [0, 2]
    tight = QueryDecodingConfig(most_overlap=0.4)
    (found,) = found_instances(output((3.0, first), (2.0, second), (1.0, third)), SIZE, tight)
    assert found.queries.tolist() == [0, 2], "the second would have dropped the third"


def test_a_pixel_of_two_masks_is_of_the_better_one():
    (found,) = found_instances(output((1.0, block(0, (0, 1, 2))), (3.0, block(0, (2, 3)))), SIZE)
    assert found.labels[0].tolist() == [[2, 2, 1, 1]] * 2
    assert found.masks[1, 0].tolist() == [[True, True, True, False]] * 2


@pytest.mark.parametrize("queries", [[(-9.0, block(0, (0,)))], [(9.0, [])]])
def test_nothing_may_be_found(queries):
    (found,) = found_instances(output(*queries), (4, 8))
    assert found.scores.shape == found.classes.shape == found.queries.shape == (0,)
    assert found.masks.shape == (0, 2, 4, 8)
    assert found.labels.shape == (2, 4, 8) and (found.labels == 0).all()


def test_masks_have_the_size_asked_for_and_classes_their_numbers():
    given = output((1.0, block(0, (0, 1))))
    several = QueryOutput(torch.tensor([[[0.0, 1.0, 5.0, 0.0]]]), given.mask_logits)
    (found,) = found_instances(several, (8, 16))
    assert found.classes.tolist() == [2]
    assert found.labels[0].tolist() == [[1] * 8 + [0] * 8] * 8


def test_each_scene_of_a_batch_is_by_itself():
    first, second = output((3.0, block(0, (0,)))), output((-9.0, block(0, (0,))))
    both = QueryOutput(
        torch.cat((first.class_logits, second.class_logits)), torch.cat((first.mask_logits, second.mask_logits))
    )
    assert [len(each.scores) for each in found_instances(both, SIZE)] == [1, 0]
