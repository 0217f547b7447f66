"""Masks and labels from what queries say, by hand."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

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
    # Of 16 cells four are in each mask; what is expected of the others is beside it.
    overlap = 4 * chance(SURE) / (4 + 12 * chance(-SURE))
    assert found.scores.tolist() == pytest.approx([chance(3.0) * overlap, chance(1.0) * overlap])
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


def random_output(views, queries=12, seed=0):
    """Soft blobs of random places and sizes, some in one view only, some nearly the same."""
    torch.manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(13.0), indexing="ij")
    place = torch.rand(queries, views, 2, 1, 1) * torch.tensor([9.0, 13.0])[:, None, None]
    place[1] = place[0] + 0.3
    apart = (rows - place[:, :, 0]) ** 2 + (columns - place[:, :, 1]) ** 2
    masks = 4 - apart / (1 + 2 * torch.rand(queries, views, 1, 1))
    masks = torch.where(torch.rand(queries, views, 1, 1) < 0.4, -6.0, masks)
    return QueryOutput(2 * torch.randn(1, queries, 3), masks[None])


def plainly(output, size, config):
    """The same, with all masks enlarged at once."""
    confidence, classes = output.class_logits[0].softmax(dim=-1)[:, :-1].max(dim=-1)
    chance = F.interpolate(output.mask_logits[0], size, mode="bilinear", align_corners=False).sigmoid()
    masks = chance >= config.mask_chance
    pixels = masks.sum(dim=(1, 2, 3))
    coarse = output.mask_logits[0].sigmoid()
    beside = (coarse.double() * (coarse < config.mask_chance)).sum(dim=(1, 2, 3)) * size[0] * size[1] / (9 * 13)
    scores = confidence * ((chance.double() * masks).sum(dim=(1, 2, 3)) / (pixels + beside).clamp(min=1)).float()
    kept = []
    for query in scores.argsort(descending=True, stable=True).tolist():
        overlaps = [(masks[query] & masks[each]).sum() / (masks[query] | masks[each]).sum() for each in kept]
        if scores[query] >= config.least_score and pixels[query] and all(o <= config.most_overlap for o in overlaps):
            kept.append(query)
    weights = scores[kept, None, None, None] * chance[kept] * masks[kept]
    best = torch.where(weights.amax(dim=0) > 0, weights.argmax(dim=0), -1)
    shown = [number for number in range(len(kept)) if (best == number).any()]
    labels = sum((row + 1) * (best == number) for row, number in enumerate(shown))
    kept = [kept[number] for number in shown]
    return scores[kept], classes[kept], kept, masks[kept], labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mask_chance", [0.1, 0.3, 0.5, 0.9])
def test_view_by_view_is_exactly_as_all_at_once(seed, mask_chance):
    config = QueryDecodingConfig(mask_chance=mask_chance, least_score=0.05)
    size, given = ((27, 39) if seed % 2 else (72, 104)), random_output(5, seed=seed)
    (found,) = found_instances(given, size, config)
    scores, classes, queries, masks, labels = plainly(given, size, config)
    assert found.queries.tolist() == queries and len(queries) > 0
    assert torch.equal(found.scores, scores) and torch.equal(found.classes, classes)
    assert torch.equal(found.masks, masks) and torch.equal(found.labels, labels)


def test_scenes_together_are_exactly_as_one_by_one():
    given = [random_output(3, seed=seed) for seed in range(3)]
    names = ("class_logits", "mask_logits")
    joined = QueryOutput(*(torch.cat([getattr(each, name) for each in given]) for name in names))
    for one, scene in zip(given, found_instances(joined, (27, 39)), strict=True):
        (alone,) = found_instances(one, (27, 39))
        assert all(torch.equal(getattr(alone, name), value) for name, value in vars(scene).items())


class LargestFloat(TorchDispatchMode):
    """Notes the values of the largest floating tensor that is made."""

    values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.is_floating_point():
            self.values = max(self.values, made.numel())
        return made


def test_what_is_enlarged_at_a_time_does_not_grow_with_the_views():
    size, largest = (90, 130), []
    for views in (2, 40):
        given = random_output(views)
        with LargestFloat() as watched:
            found_instances(QueryOutput(given.class_logits.bfloat16(), given.mask_logits.bfloat16()), size)
        largest.append(watched.values)
    assert 0 < max(largest) <= (12 + 1) * 90 * 130


def test_a_cell_that_is_no_number_takes_no_query_with_it():
    given = output((3.0, block(0, (0, 1))), (2.0, block(1, (3,))))
    given.mask_logits[0, 0, 0, 0, 0] = float("nan")
    (found,) = found_instances(given, SIZE)
    assert found.queries.tolist() == [0, 1]
    assert found.labels[0].tolist() == [[0, 1, 0, 0], [1, 1, 0, 0]]
