"""Any set of a bag, read on demand, is the set that a walk through the bag gives."""

import numpy as np
import pytest
import torch
from small_bag import TRUTHS, write_small_bag

from geoseg_core.datasets.bag_samples import RosbagSamples
from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.rosbag import BagSequence, SetReference
from geoseg_core.errors import BadInput

AS_IT_IS = ReaderConfig(height=0, width=0)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "small"
    write_small_bag(path, 3)
    return path


def test_references_lead_to_the_sets_of_the_walk(bag):
    sequence = BagSequence(bag)
    walked = list(sequence)
    references = sequence.references()
    assert len(references) == len(walked) == 3
    for expected, reference in reversed(list(zip(walked, references, strict=True))):
        found = sequence.read(reference)
        assert found.frames.cameras == expected.frames.cameras
        assert found.labels.keys() == expected.labels.keys()
        for one, other in zip(found.frames.views, expected.frames.views, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.depth_m, other.depth_m)
            np.testing.assert_array_equal(one.camera_to_world, other.camera_to_world)
            np.testing.assert_array_equal(found.labels[one.camera], expected.labels[other.camera])


def test_a_reference_of_another_bag_is_refused(bag):
    sequence = BagSequence(bag)
    places = {("ego", "image"): (1, 1)}
    with pytest.raises(BadInput, match="expected a message of /ego/image"):
        sequence.read(SetReference(1, places, ()))


def test_a_bag_gives_samples_with_its_truth(bag):
    samples = RosbagSamples(bag, AS_IT_IS)
    assert len(samples) == 3
    sample = samples[2]
    expected = list(BagSequence(bag))[2]
    views = [expected.frames.views[expected.frames.index(camera)] for camera in sample.cameras]
    assert sample.cameras[0] == "ego"
    assert sample.metric
    np.testing.assert_array_equal((sample.images[0] * 255).round().permute(1, 2, 0), views[0].image)
    np.testing.assert_array_equal(sample.depth[1], views[1].depth_m)
    np.testing.assert_allclose(sample.intrinsics[1], views[1].intrinsics, rtol=1e-6)
    np.testing.assert_allclose(sample.camera_to_world[1], views[1].camera_to_world, atol=1e-6)
    # Tables, floors and walls are no instances.
    supports = {each.id for each in TRUTHS if each.role == "support"}
    labels = expected.labels["ego"]
    np.testing.assert_array_equal(sample.instance_ids[0], np.where(np.isin(labels, list(supports)), 0, labels))
    assert torch.equal(sample.class_ids, (sample.instance_ids > 0).long())


def test_sets_are_spread_over_the_bag_and_cameras_chosen_by_seed(bag):
    ends = RosbagSamples(bag, ReaderConfig(height=24, width=32), sets=2)
    assert [ends.scenes[number][0] for number in range(2)] == ["set 1000000000", "set 1200000000"]
    assert ends[0].images.shape == (2, 3, 24, 32)
    many = ReaderConfig(height=24, width=32, samples_per_scene=6)
    first, second = RosbagSamples(bag, many, 1), RosbagSamples(bag, many, 1)
    chosen = [first[index].cameras for index in range(6)]
    assert chosen == [second[index].cameras for index in range(6)]
    assert len(set(chosen)) == 2


def test_all_cameras_can_be_asked_for_but_no_more(bag):
    assert RosbagSamples(bag, ReaderConfig(views=3))[0].cameras == ("ego", "exo_left", "exo_right")
    with pytest.raises(BadInput, match="sets of 4 views"):
        RosbagSamples(bag, ReaderConfig(views=4))


def test_a_bag_without_truth_has_no_ids(tmp_path):
    write_small_bag(tmp_path / "bare", 1, truths=())
    sample = RosbagSamples(tmp_path / "bare", AS_IT_IS)[0]
    assert sample.instance_ids is None and sample.class_ids is None
    assert sample.depth is not None
    torch.testing.assert_close(sample.moments, torch.zeros(2))
