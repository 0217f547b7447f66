"""Real photographs become bags with the depth, calibration and poses that they came with."""

import json

import cv2
import numpy as np
import pytest
from photographs import write_bag, write_desk_scene, write_room_scene

from geoseg_core import cli
from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.pipeline import ScenePipeline
from geoseg_core.prompts import Prompt


def test_room_views_become_three_calibrated_cameras(shared_data, tmp_path):
    write_bag(write_room_scene(shared_data, tmp_path), tmp_path / "bag", sets=2)
    sequence = BagSequence(tmp_path / "bag")
    sets = list(sequence)
    assert sequence.cameras == ("ego", "exo_left", "exo_right") and len(sets) == 2
    known = np.load(shared_data / "room_views" / "condition.npz")
    for number, view in enumerate(sets[1].frames.views):
        np.testing.assert_allclose(view.intrinsics, known["intrinsics"][number], rtol=1e-6)
        np.testing.assert_allclose(view.camera_to_world, known["poses"][number], atol=1e-5)
        np.testing.assert_allclose(view.depth_m, known["depths"][number], atol=0.0006)


def test_the_desk_becomes_one_camera(shared_data, tmp_path):
    write_bag(write_desk_scene(shared_data, tmp_path), tmp_path / "bag", sets=1)
    (labelled,) = BagSequence(tmp_path / "bag")
    (view,) = labelled.frames.views
    assert view.size == (480, 640) and view.camera_to_world is None
    assert 1.0 < np.median(view.depth_m[view.depth_m > 0]) < 3.0


@pytest.mark.parametrize(("write_scene", "cameras"), [(write_room_scene, 3), (write_desk_scene, 1)])
def test_photographs_go_through_the_live_nodes(shared_data, tmp_path, ros_environment, capsys, write_scene, cameras):
    write_bag(write_scene(shared_data, tmp_path), tmp_path / "bag", sets=10)
    words = ["--out", str(tmp_path / "out"), "--set", "pipeline.geometry.encoder=rgbd"]
    assert cli.main(["demo", str(tmp_path / "bag"), *words]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["sets"]["received"] == 10 and report["sets"]["processed"] >= 2
    text = capsys.readouterr().out
    assert "refused" not in text and "no answer" not in text
    sheet = cv2.imread(str(tmp_path / "out" / "overlay.png"))
    assert sheet.shape[1] > cameras * 400 and (tmp_path / "out" / "cloud.png").exists()


ROOM_THINGS = {  # a point on each thing in each camera that sees it well
    "chair": {"ego": (150, 240), "exo_left": (106, 255)},
    "table": {"ego": (375, 238), "exo_left": (336, 205), "exo_right": (352, 250)},
    "sofa": {"ego": (380, 190), "exo_left": (323, 160), "exo_right": (337, 195)},
}
DESK_THINGS = {  # a point on each thing, and how many pixels it has about
    "globe": ((105, 50), 8000),
    "book": ((198, 175), 4000),
    "die": ((148, 222), 1900),
    "bag": ((510, 145), 5500),
    "left chair": ((110, 340), 19000),
    "right chair": ((480, 262), 4000),
}


def photographed(write_scene, shared_data, tmp_path):
    """A pipeline that has seen a photographed scene three times."""
    write_bag(write_scene(shared_data, tmp_path), tmp_path / "bag", sets=3)
    pipeline = ScenePipeline()
    for labelled in BagSequence(tmp_path / "bag"):
        pipeline.process(labelled.frames)
    return pipeline


def test_a_click_on_furniture_finds_it_and_nothing_else_in_every_view(shared_data, tmp_path):
    pipeline = photographed(write_room_scene, shared_data, tmp_path)
    for name, places in ROOM_THINGS.items():
        for source, point in places.items():
            answer = pipeline.segment(Prompt.click(source, *point))
            masks = {view.camera: view.masks[0].mask for view in answer.views}
            for other, marks in ROOM_THINGS.items():
                spots = {camera: np.s_[v - 3 : v + 4, u - 3 : u + 4] for camera, (u, v) in marks.items()}
                hits = {camera: bool(masks[camera][spot].any()) for camera, spot in spots.items()}
                assert set(hits.values()) == {other == name}, (name, source, other, hits)


def test_a_click_on_the_desk_finds_one_thing(shared_data, tmp_path):
    pipeline = photographed(write_desk_scene, shared_data, tmp_path)
    masks = {}
    for name, (point, pixels) in DESK_THINGS.items():
        masks[name] = pipeline.segment(Prompt.click("ego", *point)).views[0].masks[0].mask
        assert 0.6 * pixels < masks[name].sum() < 1.4 * pixels, (name, masks[name].sum())
    assert np.sum(list(masks.values()), axis=0).max() == 1
