"""Files that would run code, or that lie: refused by name wherever one can be given, before anything of them is used.

What a pickle can do is in geoseg_core/weights/test_convert.py, headers are in test_loading.py, checksums in
test_download.py and test_registry.py, a bag that is none in geoseg_ros/test_replay_record.py, and damage by the
thousand in test_fuzz.py.
"""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from live import live_node
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from small_bag import write_small_bag

from geoseg_core.weights.store import shipped_files
from geoseg_ros import msg, srv

NETWORKS = {
    "geometry.weights": "tiny",
    "cross_view.weights": "tiny-union-head",
    "cross_view.memory": "tiny-union-head",
    "instances.weights": "tiny-instances",
    "prompts.weights": "tiny-mv-sam",
}


class RunsCode:
    """Makes the file `canary` when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self._canary}",)


def write_pickle(path: Path, canary: Path, shipped: str) -> None:
    path.write_bytes(pickle.dumps(RunsCode(canary)))


def write_torch_pickle(path: Path, canary: Path, shipped: str) -> None:
    torch.save({"model": RunsCode(canary)}, path)


def write_giant_header(path: Path, canary: Path, shipped: str) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


def write_truncated(path: Path, canary: Path, shipped: str) -> None:
    path.write_bytes(shipped_files()[shipped].read_bytes()[:-1000])


HOSTILE = [write_pickle, write_torch_pickle, write_giant_header, write_truncated]


@pytest.fixture
def canary(tmp_path: Path):
    """A file that must not come into being."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def put(live, name: str, value: str) -> None:
    wanted = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
    parameters = [Parameter(name=f"pipeline.{name}", value=wanted)]
    assert live.call(SetParameters, "set_parameters", parameters=parameters).results[0].successful


def turned(live, transition: int) -> bool:
    return live.call(ChangeState, "change_state", transition=Transition(id=transition)).success


def test_hostile_weights_keep_a_node_unconfigured(tmp_path: Path, canary: Path) -> None:
    settings = {f"pipeline__{name.replace('.', '__')}": shipped for name, shipped in NETWORKS.items()}
    settings |= {"pipeline__cross_view__memory": "none", "pipeline__prompts__method": "mv_sam"}
    settings |= {"pipeline__geometry__encoder": "tiny", "pipeline__geometry__device": "cpu", "autostart": False}
    with live_node(tmp_path, **settings) as live:
        for name, shipped in NETWORKS.items():
            for write in HOSTILE if name == "geometry.weights" else [write_torch_pickle]:
                path = tmp_path / f"{name}_{write.__name__}.safetensors"
                write(path, canary, shipped)
                put(live, name, str(path))
                assert not turned(live, Transition.TRANSITION_CONFIGURE)
                assert f"not configured: {path}: expected " in live.log.read_text()
            put(live, name, str(settings[f"pipeline__{name.replace('.', '__')}"]))
        assert turned(live, Transition.TRANSITION_CONFIGURE)
        assert live.process.poll() is None and "Traceback" not in live.log.read_text()


def test_hostile_memories_are_refused_and_what_is_followed_stays(tmp_path: Path, canary: Path) -> None:
    box = msg.Prompt(camera="ego", box_px=[10.0, 10.0, 50.0, 40.0])
    with live_node(tmp_path) as live:
        number = live.call(srv.TrackObject, "track_object", prompt=box).object_id
        kept = tmp_path / "kept.safetensors"
        assert live.call(srv.SaveMemory, "save_memory", path=str(kept)).success
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(kept.read_bytes()[:-100])
        foreign = tmp_path / "foreign.safetensors"
        shutil.copy(shipped_files()["tiny-mv-sam"], foreign)
        for write in HOSTILE[:3]:
            write(tmp_path / f"{write.__name__}.safetensors", canary, "")
        for path in {*tmp_path.glob("*.safetensors")} - {kept}:
            answer = live.call(srv.LoadMemory, "load_memory", path=str(path))
            assert not answer.success and str(path) in answer.message and "expected" in answer.message, answer.message
        assert list(live.call(srv.ListObjects, "list_objects").object_ids) == [number]
        assert "Traceback" not in live.log.read_text()


def ended_with_one_line(command: str, *words: object, **environment: str) -> str:
    """What a geoseg command said that was refused; it is one line, without a trace."""
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_core.cli", command, *map(str, words)],
        env=os.environ | environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"geoseg {command}: ") and len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_hostile_weights_end_commands_with_one_line(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "weights.safetensors"
    words = f"{path}: expected a whole safetensors file, got "
    for write in HOSTILE:
        write(path, canary, "tiny")
        assert words in ended_with_one_line("weights", "verify", path)
    write_torch_pickle(path, canary, "tiny")
    settings = ("--set", "geometry.encoder=tiny", "--weights", path, "--out", tmp_path / "out", "--sets", 1)
    assert words in ended_with_one_line("evaluate", *settings)


def test_a_hostile_checkpoint_is_not_converted(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "weights.pth"
    write_torch_pickle(path, canary, "")
    assert "a pickle that would run code (posix.system)" in ended_with_one_line("weights", "convert", path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_hostile_parameter_file_runs_nothing(tmp_path: Path, canary: Path, ros_environment) -> None:
    path = tmp_path / "parameters.yaml"
    tag = f'!!python/object/apply:os.system ["touch {canary}"]'
    path.write_text(f"/**:\n  ros__parameters:\n    world_frame: {tag}\n")
    said = ended_with_one_line("doctor", "--config", path, "--seconds", 0.2, **ros_environment)
    assert "'world_frame'" in said and "expecting type 'STRING'" in said
    command = [sys.executable, "-m", "geoseg_ros.nodes.perception", "--ros-args", "--params-file", str(path)]
    done = subprocess.run(command, env=ros_environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("geoseg perception: parameter ")


def tagged(bag: Path, canary: Path) -> None:
    information = bag / "metadata.yaml"
    tag = f'!!python/object/apply:os.system ["touch {canary}"]'
    information.write_text(information.read_text().replace("custom_data: null", f"custom_data: {tag}"))


def pointing_elsewhere(bag: Path, canary: Path) -> None:
    information = bag / "metadata.yaml"
    information.write_text(information.read_text().replace("bag.mcap", "../../../../../../etc/passwd"))


def truncated(bag: Path, canary: Path) -> None:
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(bag: Path, canary: Path) -> None:
    (file,) = bag.glob("*.mcap")
    data = np.frombuffer(file.read_bytes(), np.uint8).copy()
    data[16::97] ^= 1
    file.write_bytes(data.tobytes())


@pytest.mark.parametrize("damage", [tagged, pointing_elsewhere, truncated, flipped])
def test_hostile_bags_end_commands_with_one_line(
    damage: Callable, tmp_path: Path, canary: Path, ros_environment: dict[str, str]
) -> None:
    bag = tmp_path / "bag"
    write_small_bag(bag, 2)
    before = (bag / "metadata.yaml").read_text(), [each.read_bytes() for each in bag.glob("*.mcap")]
    damage(bag, canary)
    assert before != ((bag / "metadata.yaml").read_text(), [each.read_bytes() for each in bag.glob("*.mcap")])
    assert f"bag {bag}" in ended_with_one_line("replay", bag, **ros_environment)
    assert f"bag {bag}" in ended_with_one_line("evaluate", bag, "--out", tmp_path / "out", **ros_environment)
