"""Real photographs become bags with the depth, calibration and poses that they came with."""

import numpy as np
from photographs import write_bag, write_desk_scene, write_room_scene

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
