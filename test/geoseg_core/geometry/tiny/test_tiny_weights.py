"""The weights that come with the package: there, small enough, described, and they see."""

from itertools import islice
from pathlib import Path

import numpy as np

from geoseg_core.datasets.rosbag import BagSequence
from geoseg_core.evaluation.geometry import relative_pose, rotation_error_deg
from geoseg_core.geometry.choice import GeometryConfig, load_encoder
from geoseg_core.views import FrameSet, View
from geoseg_core.weights.store import shipped_files

ROOT = Path(__file__).parents[4]


def test_shipped_weights_are_small_and_have_a_card():
    files = shipped_files()
    assert "tiny" in files
    assert sum(path.stat().st_size for path in files.values()) <= 60e6
    for name, path in files.items():
        assert path.stat().st_size <= 24e6
        assert (path.parent / f"{name}.md").read_text().startswith(f"# {name}")


def test_it_finds_cameras_on_a_bag_that_it_never_saw():
    encoder = load_encoder(GeometryConfig("tiny", device="cpu")).encoder
    errors = []
    for labelled in islice(BagSequence(ROOT / "bags" / "tabletop"), 0, 40, 8):
        shown = labelled.frames.views
        scene = encoder.encode(FrameSet(tuple(View(view.camera, view.image, view.stamp_ns) for view in shown)))
        for other in range(1, len(shown)):
            pair = [(views[0].camera_to_world, views[other].camera_to_world) for views in (scene.views, shown)]
            errors.append(rotation_error_deg(*(relative_pose(*poses) for poses in pair)))
    assert np.median(errors) < 12
