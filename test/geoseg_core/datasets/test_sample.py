"""Samples of training data: what fits together and what is refused."""

import pytest
import torch

from geoseg_core.datasets.sample import Sample, collate
from geoseg_core.errors import BadInput


def sample(views=2, height=6, width=8, **known):
    return Sample(images=torch.rand(views, 3, height, width), **known)


def test_a_batch_stacks_what_is_known_and_leaves_the_rest_unknown():
    first, second = (sample(depth=torch.full((2, 6, 8), float(value))) for value in (1, 2))
    batch = collate([first, second])
    assert batch.images.shape == (2, 2, 3, 6, 8)
    assert batch.depth[:, 0, 0, 0].tolist() == [1, 2]
    assert batch.instance_ids is None


def test_samples_of_other_sizes_or_knowledge_make_no_batch():
    with pytest.raises(BadInput, match="alike"):
        collate([sample(), sample(width=10)])
    with pytest.raises(BadInput, match="alike"):
        collate([sample(depth=torch.ones(2, 6, 8)), sample()])
    with pytest.raises(BadInput, match="none"):
        collate([])


def test_depth_of_another_size_or_number_of_views_is_refused():
    with pytest.raises(BadInput, match="size of the images"):
        sample(depth=torch.ones(2, 3, 4)).check()
    with pytest.raises(BadInput, match="2 views, got 3"):
        sample(depth=torch.ones(3, 6, 8)).check()
    with pytest.raises(BadInput, match="intrinsics"):
        sample(intrinsics=torch.eye(3)).check()


def test_moving_a_sample_keeps_its_values():
    there = sample(depth=torch.ones(2, 6, 8), cameras=("ego", "exo")).check().to("cpu")
    assert there.cameras == ("ego", "exo") and there.depth.sum() == 96
