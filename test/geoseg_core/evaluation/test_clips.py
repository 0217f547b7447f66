"""Clips of worlds and of bags."""

import pytest
import torch
from small_bag import CAMERAS, write_small_bag

from geoseg_core.datasets.sample import Sample
from geoseg_core.errors import BadInput
from geoseg_core.evaluation.clips import Clip, bag_clip, world_clips
from geoseg_core.synthetic.config import WorldsConfig


def small_clip(sets: int = 5) -> Clip:
    """Sets whose images are as bright as their number says, with object 1 everywhere."""

    def read(number: int) -> Sample:
        images = torch.full((2, 3, 8, 8), number / 10)
        return Sample(images, instance_ids=torch.ones(2, 8, 8, dtype=torch.long), cameras=("ego", "exo"))

    return Clip("small", tuple(range(0, 100 * sets, 100)), read)


def test_a_clip_is_thinned_and_cut():
    clip = small_clip(7).thinned(2, 3)
    assert clip.times_ms == (0, 200, 400)
    assert [round(float(clip.read(number).images[0, 0, 0, 0]) * 10) for number in range(3)] == [0, 2, 4]
    assert small_clip().thinned(1, 0).times_ms == small_clip().times_ms


def test_a_blackout_covers_the_ego_view_alone():
    clip = small_clip().blacked_out(0.1, 0.2)
    for number in range(5):
        sample, plain = clip.read(number), small_clip().read(number)
        assert sample.images[1].equal(plain.images[1]) and sample.instance_ids[1].all()
        is_dark = number in (1, 2)
        assert bool(sample.instance_ids[0].any()) != is_dark
        assert sample.images[0].equal(plain.images[0]) != is_dark
    first, again, second = clip.read(1).images[0], clip.read(1).images[0], clip.read(2).images[0]
    assert first.equal(again) and not first.equal(second)
    assert first.mean() < 0.2 and first.std() > 0.01


@pytest.mark.parametrize("times_s", [(0.0, 0.2), (0.3, 0.4), (0.41, 2.0), (0.12, 0.18)])
def test_a_blackout_of_no_set_or_of_the_first_or_last_one_is_refused(times_s):
    with pytest.raises(BadInput, match="small: expected a blackout of sets between"):
        small_clip().blacked_out(*times_s)


def test_a_world_is_a_clip_of_its_moments():
    (clip,) = world_clips([3], WorldsConfig(width=64, height=48, moments=3, time_step_s=0.25))
    assert (clip.name, clip.times_ms) == ("world 3", (0, 250, 500))
    for number in range(3):
        sample = clip.read(number).check()
        assert sample.images.shape == (2, 3, 48, 64) and sample.cameras == ("ego", "exo_1")
        assert sample.moments.tolist() == [0.25 * number] * 2


def test_a_bag_is_one_clip_of_all_its_cameras(tmp_path):
    write_small_bag(tmp_path / "small", 3)
    clip = bag_clip(tmp_path / "small")
    assert (clip.name, clip.times_ms) == ("small", (0, 100, 200))
    sample = clip.read(2).check()
    assert sample.cameras == CAMERAS and sample.instance_ids.max() == 6
    assert sample.moments.tolist() == pytest.approx([0.2] * 3, abs=1e-6)
