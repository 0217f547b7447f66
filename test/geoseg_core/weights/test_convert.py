"""Pickled checkpoints: what is in them comes out unchanged, what is hostile does nothing and is named."""

import collections
import io
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geoseg_core.errors import BadInput, UnsafeCheckpoint
from geoseg_core.weights import convert as convert_module
from geoseg_core.weights import sandbox
from geoseg_core.weights.convert import convert
from geoseg_core.weights.header import read_metadata
from geoseg_core.weights.loading import load_state
from geoseg_core.weights.store import require_space, sha256_of


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def saved(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def rezipped(path: Path, compression: int = zipfile.ZIP_STORED, change: Callable[[bytes], bytes] = bytes) -> Path:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


@pytest.mark.parametrize(("zipped", "key"), [(True, None), (True, "model"), (False, "state_dict")])
def test_tensors_come_out_as_they_were(tmp_path: Path, zipped: bool, key: str | None) -> None:
    shared = torch.arange(12.0)
    state = {
        "module.turned": torch.randn(3, 4).t(),
        "module.half": torch.randn(5).to(torch.bfloat16),
        "module.count": torch.tensor(7),
        "module.empty": torch.empty(0, 3),
        "module.shared": shared,
        "module.part": shared[3:6],
        "module.weight": nn.Parameter(torch.ones(2)),
    }
    rest = {"optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "scheduler": collections.Counter({8: 1})}
    source = saved(tmp_path / "w.pth", state if key is None else {key: state, **rest, "epoch": 12}, zipped)
    made = convert(source)
    assert made.path == tmp_path / "w.safetensors" and made.tensors == len(state)
    assert made.left_out == (() if key is None else ("optimizer", "scheduler", "epoch"))
    read = load_state(made.path)
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name
    assert read_metadata(made.path)["source_sha256"] == sha256_of(source)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    source = saved(tmp_path / "w.pth", {"a": torch.zeros(1)})
    (tmp_path / "w.safetensors").write_text("mine")
    with pytest.raises(BadInput, match="is there already"):
        convert(source)
    assert (tmp_path / "w.safetensors").read_text() == "mine"
    convert(source, tmp_path / "deep" / "other.safetensors")
    assert load_state(tmp_path / "deep" / "other.safetensors").keys() == {"a"}


def hostile(canary: Path, port: int) -> dict[str, Any]:
    return {
        "posix.system": Call(os.system, f"touch {canary}"),
        "eval": Call(eval, f"open({str(canary)!r}, 'w').close()"),
        "Popen": Call(subprocess.Popen, ["touch", str(canary)]),
        "socket.create_connection": Call(socket.create_connection, ("127.0.0.1", port)),
        "io.open": Call(io.open, str(canary), "w"),
        "torch.hub.download_url_to_file": Call(torch.hub.download_url_to_file, f"http://127.0.0.1:{port}", str(canary)),
        "torch.nn.modules.linear.Linear": nn.Linear(2, 2),
    }


@pytest.mark.parametrize("name", list(hostile(Path(), 0)))
def test_hostile_pickles_are_refused_by_name_and_do_nothing(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        content = hostile(canary, listener.getsockname()[1])[name]
        source = saved(tmp_path / "evil.pth", {"model": content, "a": torch.zeros(1)})
        with pytest.raises(UnsafeCheckpoint, match="would run code") as caught:
            convert(source)
        assert name in str(caught.value) and "weights_only" not in str(caught.value)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pth"]


def test_a_bare_pickle_does_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Call(os.system, f"touch {tmp_path / 'canary'}"), protocol=2))
    with pytest.raises(UnsafeCheckpoint, match=r"posix\.system"):
        convert(tmp_path / "evil.pth")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["posix.system", "io.open", "socket.create_connection"])
def test_the_second_barrier_holds_where_the_first_is_taken_away(tmp_path: Path, name: str) -> None:
    canary, out = tmp_path / "canary", tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        content = hostile(canary, listener.getsockname()[1])[name]
        source = saved(tmp_path / "evil.pth", {"model": content})
        script = (
            "import sys, torch; load = torch.load\n"
            "torch.load = lambda *words, **options: load(*words, **{**options, 'weights_only': False})\n"
            "from geoseg_core.weights import sandbox; sandbox.main(sys.argv[1:])"
        )
        command = [sys.executable, "-c", script, str(source), str(out), str(2**30), "{}"]
        ended = subprocess.run(command, capture_output=True, text=True)
        result = json.loads(ended.stdout)
        assert result["unsafe"] and "is forbidden while a checkpoint is read" in result["refused"]
        with pytest.raises(TimeoutError):
            listener.accept()
    assert not canary.exists() and not out.exists()


def test_the_namespace_alone_has_no_network() -> None:
    script = (
        "import socket, sys; from geoseg_core.weights import sandbox\n"
        "if not sandbox.leave_network(): sys.exit(77)\n"
        "socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5)"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        ended = subprocess.run([sys.executable, "-c", script, port], capture_output=True, text=True)
    if ended.returncode == 77:
        pytest.skip("this kernel permits no network namespace")
    assert "Network is unreachable" in ended.stderr


def test_where_no_namespace_is_permitted_the_answer_names_what_is_left(tmp_path: Path) -> None:
    source = saved(tmp_path / "w.pth", {"a": torch.zeros(1)})
    script = (
        "import sys; from geoseg_core.weights import sandbox\n"
        "sandbox.CLONE_NEWUSER = sandbox.CLONE_NEWNET = -1; sandbox.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, str(source), str(tmp_path / "out"), str(2**30), '{"format": "pt"}']
    ended = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(ended.stdout)["barriers"] == ["an audit hook", "a limit of 1024 MiB"]


def test_the_process_that_reads_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(sandbox, "__file__", str(tmp_path / "spy.py"))
    (tmp_path / "spy.py").write_text(
        "import json, os; print(json.dumps({'refused': str(os.environ), 'unsafe': False}))"
    )
    with pytest.raises(BadInput) as caught:
        convert(saved(tmp_path / "w.pth", {"a": torch.zeros(1)}))
    assert "PATH" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        ("raise MemoryError", UnsafeCheckpoint, r"status 1 \(MemoryError\)"),
        ("import os; os.abort()", UnsafeCheckpoint, r"status -6 \(no word\)"),
        ("raise LookupError('odd')", BadInput, r"status 1 \(LookupError: odd\)"),
    ],
)
def test_an_unforeseen_end_of_the_reading_process_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, kind: type[BadInput], words: str
) -> None:
    monkeypatch.setattr(sandbox, "__file__", str(tmp_path / "end.py"))
    (tmp_path / "end.py").write_text(end)
    with pytest.raises(BadInput, match=words) as caught:
        convert(saved(tmp_path / "w.pth", {"a": torch.zeros(1)}))
    assert type(caught.value) is kind


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    source = saved(tmp_path / "w.pth", {"a": torch.zeros(1)})
    with pytest.raises(BadInput, match="expected a place to write to"):
        convert(source, source / "out.safetensors")


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    with pytest.raises(BadInput, match=r"expected 1000000000\.00 GB of free space"):
        require_space(tmp_path, 10**18)


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    source = rezipped(saved(tmp_path / "w.pth", {"a": torch.zeros(10_000_000)}), zipfile.ZIP_DEFLATED)
    assert source.stat().st_size < 100_000
    with pytest.raises(UnsafeCheckpoint, match="compressed entries"):
        convert(source)


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "w.pth", {"a": torch.zeros(1000)})
    assert sandbox.refuse_bombs(source)
    data = bytearray(source.read_bytes())
    for match in re.finditer(b"PK\x01\x02", bytes(data)):
        data[match.start() + 24 : match.start() + 28] = (10**6).to_bytes(4, "little")
    source.write_bytes(data)
    with pytest.raises(sandbox.Refused, match="claim more bytes than the file has"):
        sandbox.refuse_bombs(source)


def test_a_tensor_larger_than_its_file_is_refused() -> None:
    with pytest.raises(sandbox.Refused, match="tensors of 4000000000000 bytes in a file of 1500") as caught:
        sandbox.named_tensors({"a": torch.zeros(1).expand(10**12)}, 1500)
    assert caught.value.unsafe


def test_a_lie_about_a_tensor_is_refused(tmp_path: Path) -> None:
    forty = b"K\x28"
    source = saved(tmp_path / "w.pth", {"a": torch.zeros(40)})
    rezipped(source, change=lambda data: data.replace(forty, b"J\x00\x00\x00\x40"))
    with pytest.raises(BadInput, match="expected a checkpoint of named tensors"):
        convert(source)
    assert not (tmp_path / "w.safetensors").exists()


def test_more_memory_than_allowed_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "w.pth", {"a": torch.zeros(20_000_000)}, zipped=False)
    with pytest.raises(UnsafeCheckpoint, match="memory"):
        convert(source, memory_bytes=32 * 2**20)
    assert convert(source).tensors == 1


def test_a_pickle_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested: tuple[Any, ...] = ()
    for _ in range(60):
        nested = (nested, nested)
    # As a key it is hashed, which takes 2^60 steps; written by hand, since to save it would take as many.
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol=2).dump(nested)
    data = stream.getvalue()
    endless = data[:2] + b"}" + data[2:-1] + b"K\x01s."
    source = saved(tmp_path / "w.pth", {"a": 1})
    rezipped(source, change=lambda _: endless)
    monkeypatch.setattr(convert_module, "SECONDS_BASE", 4)
    with pytest.raises(UnsafeCheckpoint, match="read within 4 s"):
        convert(source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(1)], "no table of named tensors"),
        ({}, "no table of named tensors"),
        ({"model": {"a": 1}, "epoch": 3}, r"no table of named tensors.*\(model, epoch\)"),
        ({"a": torch.zeros(2).to_sparse()}, r"sparse or quantised tensors \(a\)"),
    ],
)
def test_what_holds_no_weights_is_refused(content: Any, words: str) -> None:
    with pytest.raises(sandbox.Refused, match=words) as caught:
        sandbox.named_tensors(content, 1000)
    assert not caught.value.unsafe


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "w.pth", {"a": torch.zeros(1000)}).read_bytes()
    for number, data in enumerate((b"", bytes(range(256)) * 4, whole[: len(whole) // 2])):
        path = tmp_path / f"broken{number}.pth"
        path.write_bytes(data)
        with pytest.raises(BadInput, match=path.name):
            convert(path)
    with pytest.raises(BadInput, match="a file that can be read"):
        convert(tmp_path / "nowhere.pth")
