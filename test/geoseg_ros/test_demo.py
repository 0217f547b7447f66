"""The demo with real processes and real DDS, on a small bag that is written here."""

import json
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.task import Future
from safetensors.torch import save_file
from scenes import render_set, tabletop
from small_bag import CAMERAS, write_small_bag
from small_models import VGGT, small_vggt

from geoseg_core import cli
from geoseg_core.datasets.truth import LabelledSet
from geoseg_core.errors import BadInput
from geoseg_core.pipeline import PipelineConfig
from geoseg_core.views import FrameSet
from geoseg_core.weights.chosen import config_metadata
from geoseg_ros.commands.demo import stage_latency
from geoseg_ros.demo import live
from geoseg_ros.demo.script import choose_requests, first_complete, stand_in_truth, wholeness
from geoseg_ros.processes import geoseg_command

NAMES = {each: f"thing_{each}" for each in range(1, 7)}


@pytest.fixture(scope="module")
def first_set():
    frames, labels = render_set(tabletop(), 10**9)
    return LabelledSet(frames, dict(zip(CAMERAS, labels, strict=True)))


def children_of(pid):
    found = subprocess.run(["ps", "-o", "args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if "geoseg_core.cli" in line]


def test_objects_are_followed_live_on_images_alone_and_then_with_depth(tmp_path, ros_environment, capsys):
    write_small_bag(tmp_path / "bag", sets=40)
    assert cli.main(["demo", str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    for way in ("ego_to_exo", "exo_to_ego"):
        assert set(report["cross_view"]) == {"tiny", "rgbd"} and report["cross_view"]["rgbd"][way]["iou"] > 0.8
        assert len(report["cross_view"]["rgbd"][way]["per_object"]) == 3
    assert report["instances"]["rgbd"]["ap50"] > 0.8 and report["instances"]["rgbd"]["id_switches"] == 0
    assert 0 <= report["instances"]["tiny"]["ap50"] <= 1
    assert report["prompts"]["rgbd"]["one_click"]["prompts"] == 6 and report["prompts"]["tiny"]["box"]["prompts"] > 0
    assert report["sets"]["received"] == 40 and report["sets"]["processed"] >= 1
    assert {"core", "instances", "latency"} <= set(report["latency_ms"])
    assert report["protocol"] == "live"
    baseline = json.loads((tmp_path / "out" / "rgbd" / "report.json").read_text())
    assert baseline["sets"]["processed"] > 3 and set(baseline["cross_view"]) == {"rgbd"}
    assert "end_to_end" in baseline["latency_ms"]
    rows = {line.split("  ")[0]: line.split()[-2:] for line in text.splitlines()}
    assert rows["method"] == ["tiny", "rgbd"] and rows["prompts"] == ["box", "one_click"]
    assert rows["sets, dropped"] == [str(each["sets"]["dropped"]) for each in (report, baseline)]
    assert "ego→exo IoU, thing_" in text and "-" not in rows["instances, ap50"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"overlay.png", "cloud.png", "cloud_0.ply", "iou.png", "bringup.log", "replay.log"} <= written
    assert "messages on 6 topics" in (tmp_path / "out" / "replay.log").read_text()
    written = {path.name for path in (tmp_path / "out" / "rgbd").iterdir()}
    assert {"overlay.png", "cloud.png", "cloud_0.ply", "latency.png", "bringup.log", "replay.log"} <= written
    assert children_of(os.getpid()) == []


def test_a_network_is_chosen_by_parameters(tmp_path, ros_environment):
    weights = tmp_path / "small.safetensors"
    save_file(small_vggt().state_dict(), weights, metadata=config_metadata(VGGT))
    write_small_bag(tmp_path / "bag", sets=12)
    geometry = {"encoder": "vggt", "weights": weights, "vggt.side": 56, "device": "cpu"}
    words = [word for name, value in geometry.items() for word in ("--set", f"pipeline.geometry.{name}={value}")]
    assert cli.main(["demo", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), *words]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["sets"]["processed"] >= 1 and set(report["instances"]) == {"vggt"}
    assert f"encoder vggt, weights small ({weights})" in (tmp_path / "out" / "bringup.log").read_text()
    assert not (tmp_path / "out" / "rgbd").exists()


def test_a_node_that_does_not_start_ends_the_demo_with_the_reason(tmp_path, ros_environment, capsys, monkeypatch):
    monkeypatch.setenv("GEOSEG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_small_bag(tmp_path / "bag", sets=2)
    words = ["--set", "pipeline.geometry.encoder=pi3"]
    assert cli.main(["demo", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), *words]) == 1
    text = capsys.readouterr().err
    assert "expected an active node" in text and "run `geoseg weights pull pi3`" in text


def test_one_camera_without_truth_is_followed_without_figures(tmp_path, ros_environment, capsys):
    write_small_bag(tmp_path / "bag", sets=8, truths=(), cameras=("ego",))
    words = ["--out", str(tmp_path / "out"), "--set", "pipeline.geometry.encoder=rgbd"]
    assert cli.main(["demo", str(tmp_path / "bag"), *words]) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cross_view"]["rgbd"]["ego_to_exo"]["iou"] is None
    assert report["sets"]["processed"] > 2
    assert "the bag has no ground truth" in text and "object_" in text


def test_a_node_that_does_not_start_is_told_with_its_log(tmp_path, ros_environment, monkeypatch, capsys):
    write_small_bag(tmp_path / "bag", sets=2)
    failing = ["sh", "-c", "echo no node today; exit 4"]
    monkeypatch.setattr("geoseg_ros.demo.live.geoseg_command", lambda *words: failing)
    assert cli.main(["demo", str(tmp_path / "bag"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "bringup ended with status 4" in error and "no node today" in error


def test_ctrl_c_ends_the_demo_and_its_processes(tmp_path, ros_environment):
    write_small_bag(tmp_path / "bag", sets=2)
    command = [*geoseg_command("demo", str(tmp_path / "bag")), "--out", str(tmp_path / "out")]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=os.getcwd())
    deadline = time.monotonic() + 60
    while not children_of(demo.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = children_of(demo.pid)
    demo.send_signal(signal.SIGINT)
    text, _ = demo.communicate(timeout=60)
    assert len(children) == 1 and demo.returncode == 130
    assert text.splitlines()[-1] == "demo: interrupted; its processes have ended"


def test_prompts_are_waited_for_after_the_replay_but_not_for_ever(monkeypatch):
    children = [SimpleNamespace(status=status, check=lambda: None) for status in (None, 0)]
    follower, answer = SimpleNamespace(last_result_s=0.0, masks={}, end_to_end_ms=[]), Future()
    monkeypatch.setattr(live, "QUIET_S", 0.05)
    begun = time.monotonic()

    def answer_late():
        time.sleep(0.01)
        if time.monotonic() - begun > 0.3:
            answer.set_result(None)

    live._follow_replay(follower, answer_late, children, [answer])
    assert time.monotonic() - begun > 0.3
    monkeypatch.setattr(live, "PROMPT_TIMEOUT_S", 0.1)
    live._follow_replay(follower, lambda: time.sleep(0.01), children, [Future()])


def test_the_clicks_hit_the_largest_objects_in_two_views(first_set):
    requests = choose_requests(first_set, NAMES, "ego")
    assert [each.prompt.camera == "ego" for each in requests] == [True, False] * 3
    assert len({each.truth_id for each in requests}) == 3
    for each in requests:
        u, v = each.prompt.points_px[0].astype(int)
        assert first_set.labels[each.prompt.camera][v, u] == each.truth_id
    worst = {
        each: min(np.count_nonzero(first_set.labels["ego"] == each),
                  max(np.count_nonzero(first_set.labels[exo] == each) for exo in CAMERAS[1:]))
        for each in NAMES
    }  # fmt: skip
    assert {each.truth_id for each in requests} == set(sorted(worst, key=worst.get)[-3:])


def test_boxes_stand_round_the_same_objects_in_the_same_views(first_set):
    clicks, boxes = (choose_requests(first_set, NAMES, "ego", boxes=each) for each in (False, True))
    assert [(each.truth_id, each.prompt.camera) for each in clicks] == [
        (each.truth_id, each.prompt.camera) for each in boxes
    ]
    for each in boxes:
        left, top, right, bottom = np.round(each.prompt.box_px + [0.5, 0.5, 0.5, 0.5]).astype(int)
        mask = first_set.labels[each.prompt.camera] == each.truth_id
        assert np.count_nonzero(mask[top:bottom, left:right]) == np.count_nonzero(mask)
        assert len(each.prompt.points_px) == 0


def test_objects_that_are_hidden_in_the_ego_view_are_not_chosen(first_set):
    labels = {**first_set.labels, "ego": np.where(first_set.labels["ego"] == 4, 0, first_set.labels["ego"])}
    requests = choose_requests(LabelledSet(first_set.frames, labels), NAMES, "ego")
    assert 4 not in {each.truth_id for each in requests}


def test_without_truth_the_instances_of_the_first_set_stand_in(first_set):
    labelled, names = stand_in_truth(LabelledSet(first_set.frames, {}), PipelineConfig())
    assert set(labelled.labels) == set(CAMERAS) and len(names) == 3
    assert len(choose_requests(labelled, names, "ego")) == 6


def test_whole_things_seen_by_many_cameras_come_first():
    frame, disc, cut = np.zeros((3, 100, 100), bool)
    frame[10:90, 10:90] = True
    frame[14:86, 14:86] = False
    disc[30:60, 30:60] = True
    cut[30:60, 70:] = True
    nothing = np.zeros_like(disc)
    assert wholeness([disc, disc]) > wholeness([frame, frame]) > wholeness([disc, nothing]) > wholeness([cut, nothing])
    assert wholeness([disc]) == (1, 900.0) and wholeness([nothing]) == (0, 0.0)


def test_clicks_are_chosen_on_the_first_set_with_all_cameras_and_labels(first_set):
    bare = LabelledSet(first_set.frames, {})
    partial = LabelledSet(FrameSet(first_set.frames.views[1:], missing=("ego",)), first_set.labels)
    assert first_complete([partial, bare, first_set], with_labels=True) is first_set
    assert first_complete([partial, bare, first_set], with_labels=False) is bare
    assert first_complete([partial, bare], with_labels=True) is bare
    assert first_complete([partial], with_labels=True) is partial
    with pytest.raises(BadInput, match="at least one frame set"):
        first_complete([], with_labels=True)


def test_a_view_without_labels_is_not_clicked(first_set):
    labels = {camera: first_set.labels[camera] for camera in CAMERAS[1:]}
    requests = choose_requests(LabelledSet(first_set.frames, labels), NAMES, "ego")
    assert len(requests) == 3 and "ego" not in {each.prompt.camera for each in requests}


def test_stage_times_are_read_from_the_diagnostics():
    values = {"core_ms_p50": "3.5", "core_ms_p95": "9.25", "rate_hz": "10.0"}
    assert stage_latency(values) == {"core": {"p50": 3.5, "p95": 9.25}}
