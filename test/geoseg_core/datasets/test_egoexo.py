"""Ego-Exo4D correspondence takes as samples, from a little folder in the published layout."""

import json

import pytest
from published import write_take, write_text

from geoseg_core.datasets.config import ReaderConfig
from geoseg_core.datasets.egoexo import EgoExoSamples
from geoseg_core.errors import BadInput

SMALL = ReaderConfig(height=54, width=96, fit="pad")


def write_split(root, **takes):
    write_text(root / "split.json", json.dumps(takes))


def test_a_take_gives_ego_and_exo_views_of_one_moment(tmp_path):
    write_take(tmp_path)
    write_split(tmp_path, train=["cmu_bike01_2"])
    sample = EgoExoSamples(tmp_path, SMALL)[0]
    assert sample.cameras[0] == "ego"
    assert sample.cameras[1] in ("cam01", "cam02")
    assert sample.images.shape == (2, 3, 54, 96)
    assert sample.moments.tolist() in ([1.0, 1.0], [2.0, 2.0])
    assert sample.depth is None and sample.intrinsics is None and not sample.metric
    # Ego: 54x54 with 21 columns of margin; the bike (1) in its upper left quarter.
    assert sample.instance_ids[0, 0, 21:48].unique().tolist() == [1]
    assert sample.instance_ids[0, :, :21].unique().tolist() == [0]
    # Exo: the right half of the image.
    assert sample.instance_ids[1, 7].tolist() == [0] * 48 + [1] * 48


def test_objects_keep_their_numbers_over_frames_and_views(tmp_path):
    write_take(tmp_path, frames=(30,))
    write_split(tmp_path, train=["cmu_bike01_2"])
    # Frame 30 is the one where the ego camera sees the pump (2) too; frame 90 has no exo mask and is never taken.
    samples = EgoExoSamples(tmp_path, ReaderConfig(height=54, width=96, fit="pad", samples_per_scene=5))
    assert all(samples[index].moments[0] == 1 for index in range(5))
    assert samples[0].instance_ids.unique().tolist() == [0, 1, 2]


def test_three_views_are_different_cameras(tmp_path):
    write_take(tmp_path)
    write_split(tmp_path, train=["cmu_bike01_2"])
    config = ReaderConfig(height=54, width=96, views=3)
    assert sorted(EgoExoSamples(tmp_path, config)[0].cameras) == ["cam01", "cam02", "ego"]


def test_bad_takes_are_named_and_passed_over(tmp_path):
    write_take(tmp_path, "good")
    damaged = write_take(tmp_path, "damaged", frames=(30,))
    annotation = json.loads((damaged / "annotation.json").read_text())
    annotation["masks"]["bike_0"]["aria01_214-1"]["30"]["counts"] = "!"
    (damaged / "annotation.json").write_text(json.dumps(annotation))
    (write_take(tmp_path, "cut") / "annotation.json").write_text('{"masks": ')
    (write_take(tmp_path, "blind") / "annotation.json").write_text('{"masks": {"a": {"cam01": {"30": {}}}}}')
    (write_take(tmp_path, "odd") / "annotation.json").write_text('{"masks": []}')
    (write_take(tmp_path, "flat") / "annotation.json").write_text('{"masks": {"a": {"aria": {"30": {}}, "cam01": 0}}}')
    write_take(tmp_path, "alone", exo=())
    write_split(tmp_path, train=["good", "damaged", "cut", "blind", "odd", "flat", "alone", "missing"])
    samples = EgoExoSamples(tmp_path, SMALL)
    assert len(samples) == 2
    assert all("good" in samples[index].source for index in range(2))
    assert set(samples.faults) == {"damaged", "cut", "blind", "odd", "flat", "alone", "missing"}
    assert "'bike_0', aria01_214-1, frame 30: mask" in samples.faults["damaged"]
    assert "expected JSON" in samples.faults["cut"]
    assert "one camera with 'aria'" in samples.faults["blind"]
    assert all("expected masks by object" in samples.faults[name] for name in ("odd", "flat"))
    assert "1 other views, got none" in samples.faults["alone"]
    assert "annotation.json: expected JSON with a dict, got No such file" in samples.faults["missing"]


def test_a_missing_image_is_named(tmp_path):
    folder = write_take(tmp_path, frames=(30,))
    write_split(tmp_path, train=["cmu_bike01_2"])
    (folder / "aria01_214-1" / "30.jpg").unlink()
    with pytest.raises(BadInput, match=r"30\.jpg: expected a JPEG or PNG image, got No such file"):
        EgoExoSamples(tmp_path, SMALL)[0]


def test_an_unknown_split_is_refused(tmp_path):
    write_split(tmp_path, train=[])
    with pytest.raises(BadInput, match="list of takes for 'val'"):
        EgoExoSamples(tmp_path, SMALL, "val")
    with pytest.raises(BadInput, match="there is none"):
        EgoExoSamples(tmp_path, SMALL)
