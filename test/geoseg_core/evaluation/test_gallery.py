"""Pictures, plots, video and clouds of a run."""

import cv2
import numpy as np
import pytest

from geoseg_core.evaluation import gallery as gallery_module
from geoseg_core.evaluation.evaluator import SetFigures
from geoseg_core.evaluation.gallery import Gallery, Instant
from geoseg_core.evaluation.plots import write_plots
from geoseg_core.results import LabelledCloud


def instant(number, with_cloud=True):
    labels = np.zeros((60, 80), np.uint16)
    labels[10:30, 10 + number % 30 : 40] = 1
    points = np.random.default_rng(number).random((200, 3)).astype(np.float32)
    ids = np.ones(200, np.uint16)
    cloud = LabelledCloud(points, np.zeros((200, 3), np.uint8), ids, np.ones(200, np.float32))
    image = np.full((60, 80, 3), 80, np.uint8)
    return Instant(number * 10**8, (image, image), (labels, labels), (np.eye(4),), cloud if with_cloud else None)


def test_all_pictures_of_a_run_are_written(tmp_path):
    gallery = Gallery(tmp_path / "new")
    for number in range(1, 51):
        gallery.add(instant(number))
    names = {path.name for path in gallery.close()}
    assert names == {"overlay.mp4", "overlay.png", "cloud.png", *(f"cloud_{each}.ply" for each in range(5))}
    assert all((tmp_path / "new" / name).stat().st_size > 100 for name in names)
    assert cv2.imread(str(tmp_path / "new" / "overlay.png")).shape[1] == 80 + 6 + 80
    video = cv2.VideoCapture(str(tmp_path / "new" / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 50


def test_a_run_without_clouds_or_sets(tmp_path):
    gallery = Gallery(tmp_path)
    assert gallery.close() == []
    gallery = Gallery(tmp_path)
    gallery.add(instant(1, with_cloud=False))
    assert {path.name for path in gallery.close()} == {"overlay.mp4", "overlay.png"}


def test_a_missing_codec_is_named_and_the_rest_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_module, "VIDEO_CODEC", "none")
    gallery = Gallery(tmp_path)
    gallery.add(instant(1))
    assert "overlay.mp4" not in {path.name for path in gallery.close()}
    assert gallery.notes == ["no overlay.mp4: OpenCV has no none codec here"]


def test_plots_are_written_for_what_there_is(tmp_path):
    history = [
        SetFigures(0, {"ego_to_exo": {"mug": 0.9}}, {"mug": 3}, {}),
        SetFigures(10**8, {"ego_to_exo": {"mug": 0.8}, "exo_to_ego": {"mug": 0.7}}, {"mug": 4}, {}),
    ]
    paths = write_plots(tmp_path, history, {"total": [1.0, 2.0], "segment": []})
    assert [path.name for path in paths] == ["iou.png", "ids.png", "latency.png"]
    assert all(cv2.imread(str(path)).std() > 1 for path in paths)
    assert write_plots(tmp_path, [SetFigures(0)], {}) == []


@pytest.mark.parametrize("count", [1, 3, 19, 20, 21, 200])
def test_clouds_are_spread_over_the_run(tmp_path, count):
    gallery = Gallery(tmp_path)
    for number in range(1, count + 1):
        gallery.add(instant(number, with_cloud=number % 2 == 1))
    files = sorted(path for path in gallery.close() if path.suffix == ".ply")
    assert len(files) == min((count + 1) // 2, 5)
    numbers = [next(each for each in range(1, count + 1) if points_of(each) in file.read_bytes()) for file in files]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1 and numbers[-1] >= 0.7 * count


def points_of(number):
    return instant(number).cloud.xyz[0].tobytes()
