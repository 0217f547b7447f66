"""SA-1B style folders and any folder of photographs as samples; COCO's compressed run lengths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from published import coco_text, write_image, write_sa1b, write_text

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.photographs import PhotographSamples, sam_segmenter
from geoseg_core.datasets.sa1b import Sa1bSamples
from geoseg_core.errors import BadInput, MissingExtra
from geoseg_core.run_lengths import counts_from_text, decode_coco, encode_mask

AS_IT_IS = ReaderConfig(height=0, width=0)


def test_compressed_counts_are_those_that_pycocotools_writes():
    # A 3x3 image whose middle pixel is set: 4 zeros, 1 one, 4 zeros.
    assert counts_from_text("414") == [4, 1, 4]
    # From the fourth run on differences count: 5, 2, 3, then 2 + 3, 3 - 1; 40 takes two characters ("X1").
    assert counts_from_text(b"5233O") == [5, 2, 3, 5, 2]
    assert counts_from_text("X1") == [40]
    assert decode_coco({"size": [3, 3], "counts": "414"}).nonzero() == (np.array([1]), np.array([1]))


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_text_and_lists_give_the_mask_back(mask):
    size = list(mask.shape)
    np.testing.assert_array_equal(decode_coco({"size": size, "counts": coco_text(mask)}), mask)
    np.testing.assert_array_equal(decode_coco({"size": size, "counts": encode_mask(mask).tolist()}), mask)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_mask_or_refused(text):
    try:
        mask = decode_coco({"size": [4, 5], "counts": text})
    except BadInput:
        return
    assert mask.shape == (4, 5)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "expected .*size"),
        ({"size": [3]}, "expected .*size"),
        ({"size": [float("inf"), 3], "counts": []}, "expected .*size"),
        ({"size": [2, 2], "counts": [2**64 + 4]}, "sum to 2"),
        # Their sum is 4, modulo 2 ** 64.
        ({"size": [2, 2], "counts": [2**62, 2**62, 2**62, 2**62, 4]}, "sum to 2"),
        ({"size": [3, 3], "counts": 7}, "as text or as a list"),
        ({"size": [3, 3], "counts": ["1"]}, "as text or as a list"),
        ({"size": [3, 3], "counts": [1]}, "sum to 3"),
        ({"size": [0, 3], "counts": []}, "pixels"),
        ({"size": [10**6, 10**6], "counts": "0"}, "pixels"),
        ({"size": [3, 3], "counts": "41X"}, "end within a number"),
        ({"size": [3, 3], "counts": "!"}, "compressed form"),
    ],
)
def test_what_is_no_segmentation_is_refused(segmentation, message):
    with pytest.raises(BadInput, match=message):
        decode_coco(segmentation)


def test_sa1b_masks_lie_the_smaller_on_the_larger(tmp_path):
    write_sa1b(tmp_path / "sa_000000")
    samples = Sa1bSamples(tmp_path, AS_IT_IS)
    sample = samples[0]
    assert len(samples) == 1
    assert sample.images.shape == (1, 3, 10, 20)
    assert not sample.metric
    # The mask of poor quality (columns 0 and 1) is left out.
    assert sample.instance_ids[0, 3].tolist() == [0] * 4 + [1] * 2 + [2] * 4 + [1] * 6 + [0] * 4
    assert Sa1bSamples(tmp_path, AS_IT_IS, least_quality=0.0)[0].instance_ids[0, 0, 0] == 2


def test_sa1b_samples_have_the_size_that_is_asked_for(tmp_path):
    write_sa1b(tmp_path)
    sample = Sa1bSamples(tmp_path, ReaderConfig(height=10, width=10))[0]
    assert sample.instance_ids[0, 0].tolist() == [1] * 10
    assert sample.images.shape == (1, 3, 10, 10)


def test_bad_photographs_are_named_and_passed_over(tmp_path):
    write_sa1b(tmp_path, 1)
    write_text(tmp_path / "sa_2.json", "{}")
    write_image(tmp_path / "sa_3.jpg", np.zeros((4, 4, 3), np.uint8))
    write_text(tmp_path / "sa_3.json", '{"annotations": [{"segmentation": {"size": [2, 2], "counts": [4]}}]}')
    write_image(tmp_path / "sa_4.jpg", np.zeros((4, 4, 3), np.uint8))
    write_text(tmp_path / "sa_4.json", '{"annotations": 3}')
    write_image(tmp_path / "sa_5.jpg", np.zeros((4, 4, 3), np.uint8))
    write_text(tmp_path / "sa_5.json", '{"annotations": [4]}')
    samples = Sa1bSamples(tmp_path, AS_IT_IS)
    assert {samples[index].source for index in range(len(samples))} == {"sa-1b sa_1.json"}
    assert "expected an image sa_2.jpg" in samples.faults["sa_2.json"]
    assert "masks of the image's size (4, 4), got (2, 2)" in samples.faults["sa_3.json"]
    assert "list of annotations" in samples.faults["sa_4.json"]
    assert "sa_5.json: mask: expected" in samples.faults["sa_5.json"]


def test_photographs_need_no_masks(tmp_path):
    write_image(tmp_path / "deep" / "one.PNG", np.full((6, 8, 3), (10, 20, 30), np.uint8))
    write_text(tmp_path / "notes.txt", "no picture")
    samples = PhotographSamples(tmp_path, AS_IT_IS)
    assert len(samples) == 1
    assert (samples[0].images[0, :, 0, 0] * 255).round().tolist() == [10, 20, 30]
    assert samples[0].instance_ids is None


def test_a_segmenter_gives_photographs_masks(tmp_path):
    write_image(tmp_path / "one.png", np.zeros((6, 8, 3), np.uint8))

    def halves(image):
        left = np.zeros(image.shape[:2], bool)
        left[:, :4] = True
        corner = np.zeros(image.shape[:2], bool)
        corner[0, 0] = True
        return [corner, left]

    ids = PhotographSamples(tmp_path, AS_IT_IS, halves)[0].instance_ids[0]
    assert ids[0].tolist() == [2, 1, 1, 1, 0, 0, 0, 0]


def test_masks_without_transformers_name_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"geoseg\[vocabulary\]"):
        sam_segmenter()


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(BadInput, match="at least one usable scene"):
        PhotographSamples(tmp_path, AS_IT_IS)
    (tmp_path / "one.jpg").write_bytes(b"damaged")
    with pytest.raises(BadInput, match=r"one\.jpg: compressed image"):
        PhotographSamples(tmp_path, AS_IT_IS)[0]
