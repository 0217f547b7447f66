"""Real photographs become bags with the depth, calibration and poses that they came with."""

import json

import cv2
import numpy as np
import pytest
from photographs import write_bag, write_desk_scene, write_room_scene

from geoseg_core import cli
from geoseg_core.datasets.rosbag import BagSequence


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
    assert cli.main(["demo", str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["sets"]["received"] == 10 and report["sets"]["processed"] >= 2
    text = capsys.readouterr().out
    assert "refused" not in text and "no answer" not in text
    sheet = cv2.imread(str(tmp_path / "out" / "overlay.png"))
    assert sheet.shape[1] > cameras * 400 and (tmp_path / "out" / "cloud.png").exists()
