"""The benchmarks run and say what they measured. What they measure is not judged here: the machine may be busy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_bag import write_small_bag

from geoseg_core.instances.tiny.config import TinyInstancesConfig
from geoseg_core.prompting.mv_sam.tiny import TinyMvSamConfig
from geoseg_core.training.recipes.union_head import tiny_head
from geoseg_core.weights.chosen import stored_config

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "bag"
    write_small_bag(path, sets=6)
    return path


def run(script, out, environment, *arguments):
    command = [sys.executable, ROOT / "benchmarks" / f"{script}.py", "--out", out, *arguments]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT, env=environment, timeout=280)
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


def test_synchronizer(tmp_path, ros_environment):
    record = run("synchronizer", tmp_path, ros_environment, "--cameras", "3", "--seconds", "5")
    (row,) = record["rows"]
    assert row["cameras"] == 3 and row["messages"] > 850 and row["sets"] > 50
    assert 0 < row["p50_us"] <= row["p99_us"] <= row["most_us"]


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


def test_ablation(bag, tmp_path, ros_environment):
    small = {"width": 16, "heads": 2, "fusion_width": 24, "fusion_inner": 8, "fusion_hidden": 32, "token_inner": 8}
    values = {f"model.{name}": value for name, value in small.items()}
    values |= {"data.worlds.width": 64, "data.worlds.height": 48, "loop.batch": 2, "loop.final_samples": 2}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    words += ["--steps", "2", "--variants", "plain", "complete", "stride_4", "--data", bag, "--pairs", "1"]
    runs = tmp_path / "runs"
    record = run("ablation", tmp_path, ros_environment, runs, *words)
    uses = [(row["head"], row["refinements"], row["points"]) for row in record["rows"]]
    swept = [*((refinements, 5) for refinements in range(4)), *((1, points) for points in (1, 3, 8))]
    assert uses == [("plain", 0, 5), *(("complete", *use) for use in swept)]
    # A bottleneck of 32 px does not divide views of 48.
    assert set(record["settings"]["trainings"]) == {"plain", "complete"}
    plain = runs / "plain" / "weights.safetensors"
    sizes = stored_config(plain, tiny_head())
    assert (sizes.fusion, sizes.guided, sizes.prior) == ("none", False, False)
    before = plain.stat().st_mtime_ns
    words += ["--complete", runs / "complete" / "weights.safetensors"]
    again = run("ablation", tmp_path, ros_environment, runs, *words)
    assert plain.stat().st_mtime_ns == before
    found = {row["head"]: row["ego_to_exo_iou"] for row in again["rows"] if not row["refinements"]}
    assert found["complete"] == found["given"]


def test_prompts(bag, tmp_path, ros_environment):
    record = run("prompts", tmp_path, ros_environment, bag, "--views", "3", "--clicks", "2", "--passes", "1")
    times = {row["what"]: row["ms"] for row in record["rows"]}
    assert set(times) == {"encode", "embed", "first answer", "next answer"}
    assert 0 < times["next answer"] < times["first answer"]


def test_prompt_order(bag, tmp_path, ros_environment):
    words = ("--encoders", "pi3", "--sets", "1", "--clicks", "1")
    record = run("prompt_order", tmp_path, ros_environment, bag, *words)
    (row,) = record["rows"]
    # Every other order of three views.
    assert row["encoder"] == "pi3" and 0 < row["masks"] <= 5 * 3 and row["worst"] > 0.99


def test_finders(bag, tmp_path, ros_environment):
    record = run("finders", tmp_path, ros_environment, bag, "--sets", "2", "--passes", "1")
    assert [row["what"] for row in record["rows"]] == ["encode", "queries", "field"]
    assert all(0 < row["p50_ms"] <= row["max_ms"] for row in record["rows"])


def test_instances_ablation(bag, tmp_path, ros_environment):
    small = {"model.queries.width": 16, "model.queries.queries": 4, "model.trunk": "16,16,16", "model.across": 1}
    values = small | {"data.worlds.width": 64, "data.worlds.height": 48, "loop.batch": 2, "loop.final_samples": 2}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    words += ["--steps", "1", "--variants", "late", "lora", "--data", bag, "--sets", "1"]
    record = run("instances_ablation", tmp_path, ros_environment, tmp_path / "runs", *words)
    assert [row["variant"] for row in record["rows"]] == ["late", "lora"]
    assert all(row["abs_rel"] > 0 and row["ap50"] is not None for row in record["rows"])
    late = stored_config(tmp_path / "runs" / "late" / "weights.safetensors", TinyInstancesConfig())
    assert late.queries.insertion == "late" and (tmp_path / "runs" / "lora" / "encoder.safetensors").is_file()


def test_prompts_ablation(tmp_path, ros_environment):
    values = {"model.decoder.width": 16, "model.decoder.inner": 8, "model.decoder.hidden": 16}
    values |= {"data.worlds.width": 64, "data.worlds.height": 48, "loop.batch": 2, "loop.final_samples": 2}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    words += ["--steps", "1", "--variants", "complete", "two_d", "--data", "worlds:1", "--things", "1"]
    record = run("prompts_ablation", tmp_path, ros_environment, tmp_path / "runs", *words, "--views", "1", "2")
    rows = [(row["variant"], row["views"]) for row in record["rows"]]
    assert rows == [("complete", 0), ("two_d", 0), ("complete", 1), ("complete", 2)]
    assert all(0 <= row["points_miou"] <= row["points_macc"] <= 1 for row in record["rows"])
    assert [row["click_others_miou"] is None for row in record["rows"]] == [False, False, True, False]
    two_d = stored_config(tmp_path / "runs" / "two_d" / "weights.safetensors", TinyMvSamConfig())
    assert two_d.decoder.positions == "2d" and set(record["settings"]["trainings"]) == {"complete", "two_d"}


def test_memory(bag, tmp_path, ros_environment):
    words = ("--frames", "200", "--objects", "1", "--views", "ego", "--sets", "2")
    record = run("memory", tmp_path, ros_environment, bag, *words)
    assert [row["frames"] for row in record["rows"]] == ["1-100", "1-100", "101-200"]
    assert all(row["both_ms"] > 0 and row["ratio"] > 0 for row in record["rows"])
    first, *others = (row["bank_mib"] for row in record["rows"])
    assert first > 0 and all(each == first for each in others)
    assert (tmp_path / "memory.png").stat().st_size > 5_000
