"""NVOS and SPIn-NeRF as samples of one marked object, from little folders in the published layouts."""

import numpy as np
import pytest
from published import patch, write_image, write_nvos, write_spin_nerf

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.marked import spread
from geoseg_core.datasets.nvos import nvos_samples
from geoseg_core.datasets.spin_nerf import image_of, short_name, spin_nerf_samples
from geoseg_core.errors import BadInput

AS_IT_IS = ReaderConfig(height=0, width=0, views=10)


def numbers(sample):
    """Which of the pictures it has, in its order."""
    return (sample.images[:, 0, 0, 0] * 25.5).round().int().tolist()


def test_nvos_marks_a_view_by_scribbles_and_knows_the_truth_of_another_one(tmp_path):
    write_nvos(tmp_path)
    sample = nvos_samples(tmp_path, tmp_path, AS_IT_IS)[0]
    assert numbers(sample) == [3, 1, 0, 2, 4] and sample.cameras[:2] == ("IMG_3", "IMG_1")
    assert sample.images.shape == (5, 3, 30, 40)
    assert (sample.scored, sample.scene) == ((1,), "fern")
    assert sample.instance_ids[1].sum() == 10 * 40 and (sample.instance_ids[1, :10] == 1).all()
    assert sample.instance_ids[[0, 2, 3, 4]].sum() == 0
    assert (sample.marks == 1).sum() == 20 and (sample.marks[4:6, 10:20] == 1).all()
    assert (sample.marks == -1).sum() == 80 and (sample.marks[28:] == -1).all()
    few = nvos_samples(tmp_path, tmp_path, ReaderConfig(height=15, width=20, views=3))[0]
    assert numbers(few) == [3, 1, 0] and few.instance_ids[1].sum() == 5 * 20


def test_nvos_has_two_objects_of_one_scene_and_leaves_one_out(tmp_path):
    for name in ("horns_center", "horns_left", "orchids"):
        write_nvos(tmp_path, name)
    samples = nvos_samples(tmp_path, tmp_path, AS_IT_IS)
    assert [samples.scene_sample(number).scene for number in range(len(samples))] == ["horns_center", "horns_left"]


def test_spin_nerf_marks_the_first_view_by_its_mask_and_knows_the_truth_of_the_others(tmp_path):
    write_spin_nerf(tmp_path)
    sample = spin_nerf_samples(tmp_path, tmp_path / "MVSeg_data", AS_IT_IS)[0]
    assert numbers(sample) == [0, 1, 2, 3, 4, 5] and (sample.scored, sample.scene) == ((1, 2, 3), "fern")
    assert (sample.marks[:6] == 1).all() and (sample.marks[6:] == -1).all()
    assert [int(ids.sum()) for ids in sample.instance_ids] == [0, 8 * 40, 10 * 40, 12 * 40, 0, 0]
    few = spin_nerf_samples(tmp_path, tmp_path / "MVSeg_data", ReaderConfig(height=0, width=0, views=3))[0]
    assert numbers(few) == [0, 1, 3] and few.scored == (1, 2)


def test_large_images_are_shrunk_in_their_aspect(tmp_path):
    write_spin_nerf(tmp_path)
    for number in range(6):
        write_image(tmp_path / "fern" / "images_4" / f"IMG_{number}.png", np.zeros((30, 2016, 3), np.uint8))
    sample = spin_nerf_samples(tmp_path, tmp_path / "MVSeg_data", AS_IT_IS)[0]
    assert sample.images.shape == (6, 3, 15, 1008) and sample.marks.shape == (15, 1008)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("reference_image/fern/IMG_3.png", "one image, of the view with the scribbles"),
        ("scribbles/fern/pos_0_fern.png", "one image pos"),
        ("scribbles/fern/neg_0_fern.png", "one image neg"),
        ("masks/fern/IMG_1_mask.png", "_mask.png"),
        ("fern/images/IMG_1.png", "found none of .*IMG_1"),
    ],
)
def test_what_nvos_lacks_is_named(missing, message, tmp_path):
    write_nvos(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(BadInput, match=message):
        nvos_samples(tmp_path, tmp_path, AS_IT_IS)


def test_other_missing_pieces_are_named(tmp_path):
    write_nvos(tmp_path / "nvos")
    (tmp_path / "nvos" / "fern").rename(tmp_path / "nvos" / "farn")
    with pytest.raises(BadInput, match="images of fern in one of .*fern_undistort"):
        nvos_samples(tmp_path / "nvos", tmp_path / "nvos", AS_IT_IS)
    with pytest.raises(BadInput, match="a folder for each scene"):
        nvos_samples(tmp_path, tmp_path, AS_IT_IS)
    write_spin_nerf(tmp_path)
    labels = tmp_path / "MVSeg_data"
    write_image(labels / "fork" / "image000.png", patch(0, 0))
    samples = spin_nerf_samples(tmp_path, labels, AS_IT_IS)
    assert len(samples) == 1 and "masks of two views" in samples.faults["fork"]
    write_image(labels / "fork" / "image001.png", patch(0, 0))
    assert "in a folder 'fork'" in spin_nerf_samples(tmp_path, labels, AS_IT_IS).faults["fork"]
    write_image(labels / "fern (llff)" / "image009.png", patch(0, 0))
    with pytest.raises(BadInput, match="image009"):
        spin_nerf_samples(tmp_path, labels, AS_IT_IS)


def test_a_scene_that_cannot_be_read_is_not_replaced_by_another_one(tmp_path):
    for name in ("fern", "trex"):
        write_nvos(tmp_path, name)
    (tmp_path / "fern" / "images" / "IMG_1.png").write_bytes(b"cut")
    samples = nvos_samples(tmp_path, tmp_path, AS_IT_IS)
    with pytest.raises(BadInput, match="IMG_1.png"):
        samples.scene_sample(0)
    write_image(tmp_path / "scribbles" / "trex" / "pos_0_trex.png", patch(slice(0), slice(0)))
    with pytest.raises(BadInput, match="something marked"):
        samples.scene_sample(1)


def test_masks_find_their_images_by_name_prefix_or_number(tmp_path):
    images = [tmp_path / f"{name}.png" for name in ("000010", "000020", "image007")]
    names = ("000020", "1_000010", "image001", "image007", "image003", "2_000010")
    assert [image_of(name, images) for name in names] == [1, 0, 1, 2, -1, -1]
    folders = ("fern (llff)", "Truck (Tanks & Temples)", "lego_real_night_radial")
    assert [short_name(tmp_path / name) for name in folders] == ["fern", "truck", "lego"]


def test_views_are_spread_evenly():
    assert spread([1, 2, 3, 4, 5], 3) == [1, 3, 5] and spread([1, 2], 5) == [1, 2]
    assert spread([1, 2], 0) == [] and spread([], 3) == []
