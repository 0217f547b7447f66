"""docs/bag_format.md is right: its example runs, and its table names the topics that the reader looks for."""

from pathlib import Path

import numpy as np
import pytest

from geoseg_core.datasets.bag_format import OBJECTS, TF, TF_STATIC, camera_topics, find_cameras, objects_from_json
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.imaging import ENCODINGS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "bag_format.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text()


def test_example_writes_a_bag_that_is_read(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = page.split("```python\n")[1].split("```")[0]
    exec(compile(code, "example", "exec"), {})
    sequence = BagSequence(tmp_path / "my_bag")
    (labelled,) = sequence
    ego, exo = labelled.frames.views
    assert (ego.camera, exo.camera, sequence.world_frame) == ("ego", "exo", "world")
    assert (labelled.labels["exo"] == 1).sum() == 80 * 80
    assert np.abs(ego.image[240, 340].astype(int) - [200, 30, 30]).max() < 12
    assert ego.depth_m[0, 0] == 1.0 and ego.intrinsics[0, 0] == 500.0
    assert exo.camera_to_world[0, 3] == pytest.approx(0.1)
    assert sequence.objects[0].name == "red_box"


def test_table_names_every_topic_and_the_object_list_is_valid(page):
    for topic in [*camera_topics("C"), TF, TF_STATIC, OBJECTS]:
        assert f"| `{topic}` |" in page
    start = page.index('    {"objects"')
    assert [each.role for each in objects_from_json(page[start : page.index("]}", start) + 2])] == [
        "object", "robot", "support"
    ]  # fmt: skip


def test_encodings_of_the_page_are_known(page):
    row = next(line for line in page.splitlines() if line.startswith("| `/C/image` |"))
    named = [word.strip("` ") for word in row.split("|")[3].split(",") if "`" in word]
    assert set(named) <= set(ENCODINGS)
    assert set(ENCODINGS) - set(named) == {
        "8UC1", "mono16", "16UC1", "32FC1", *(each for each in ENCODINGS if each.startswith("bayer"))
    }  # fmt: skip


def test_cameras_are_found_by_their_topics():
    topics = ["/b/image", "/b/camera_info", "/a/ego/image/compressed", "/a/ego/camera_info", "/c/camera_info",
              "/d/image", "/camera_info", "/image", "/a/image", "/a/camera_info"]  # fmt: skip
    assert find_cameras(topics) == ("a/ego", "a", "b")
