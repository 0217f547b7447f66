"""The benchmarks run and say what they measured. What they measure is not judged here: the machine may be busy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_bag import write_small_bag

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "bag"
    write_small_bag(path, sets=6)
    return path


def run(script, out, environment, *arguments):
    command = [sys.executable, ROOT / "benchmarks" / f"{script}.py", "--out", out, *arguments]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT, env=environment, timeout=120)
    return json.loads((out / f"{script}.json").read_text())


def test_pipeline(bag, tmp_path, ros_environment):
    record = run("pipeline", tmp_path, ros_environment, bag, "--passes", "1")
    assert {row["stage"] for row in record["rows"]} == {"encode", "instances", "cross_view", "total"}
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in record["rows"])
    assert record["settings"]["sets"] == 6 and record["machine"]["cpu"]


def test_transport(tmp_path, ros_environment):
    record = run("transport", tmp_path, ros_environment, "--size", "320x240", "--rate", "20", "--seconds", "1")
    assert [row["camera"] for row in record["rows"]] == ["ego", "exo_left", "exo_right"]
    assert all(row["sent"] == 20 and row["received"] + row["lost"] == 20 for row in record["rows"])
    assert all(row["received"] > 0 and 0 < row["p50_ms"] <= row["p95_ms"] for row in record["rows"])


def test_live(bag, tmp_path, ros_environment):
    record = run("live", tmp_path, ros_environment, "--bag", bag, "--rate", "5", "--seconds", "5")
    settings = record["settings"]
    assert settings["sent"] == 25 and settings["masks"] + settings["lost"] == 25 and settings["masks"] > 10
    times = {row["time"]: row for row in record["rows"]}
    assert times["core"]["p50_ms"] < times["stamp to masks"]["p50_ms"]
    assert times["overhead, masks"]["sets"] == settings["masks"] - 10


def test_clustering(tmp_path, ros_environment):
    record = run("clustering", tmp_path, ros_environment, "--views", "4", "--size", "112x140", "--passes", "1")
    assert [row["way"] for row in record["rows"]] == ["sample", "whole", "sample"]
    assert all(row["seconds"] > 0 and row["truth_ari"] > 0.8 for row in record["rows"])
    assert record["settings"]["views"] == 4 and record["machine"]["cpu"]
