"""Strict loading: the right tensors get in, anything else is named and nothing changes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from geoseg_core.errors import BadInput
from geoseg_core.weights.header import HEADER_BYTES_MAX, read_header
from geoseg_core.weights.loading import load_checkpoint, load_state, load_strict


def written(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64), "none": torch.empty(0)}
    save_file(state, tmp_path / "w.safetensors", metadata={"format": "pt"})
    read = load_state(tmp_path / "w.safetensors")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) and read[name].dtype == state[name].dtype for name in state)
    assert read_header(tmp_path / "w.safetensors")["a"].shape == (2, 3)


def test_prefixes_are_taken_off_by_name() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2, device="meta")
    load_strict(target, {f"module.{name}": value for name, value in source.state_dict().items()})
    assert torch.equal(target.weight, source.weight) and torch.equal(target.bias, source.bias)
    with pytest.raises(BadInput, match=r"2 missing \(weight, bias\); 2 extra \(net\.weight, net\.bias\)"):
        load_strict(target, {f"net.{name}": value for name, value in source.state_dict().items()})
    load_strict(target, {f"net.{name}": value for name, value in source.state_dict().items()}, prefixes=("net.",))


def test_what_does_not_fit_is_listed_and_the_module_stays() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(BadInput) as caught:
        load_strict(module, {"weight": torch.zeros(2, 4), "biases": torch.zeros(2)})
    message = str(caught.value)
    assert "1 missing (bias)" in message and "1 extra (biases)" in message
    assert "1 mis-shaped (weight (2, 4) for (2, 3))" in message
    assert torch.equal(module.weight, before)


def test_long_lists_are_cut_with_their_number() -> None:
    with pytest.raises(BadInput, match=r"50 extra \(x0, .*x19 and 30 more\)"):
        load_strict(nn.ReLU(), {f"x{number}": torch.zeros(1) for number in range(50)})


def test_a_tensor_given_twice_is_refused() -> None:
    with pytest.raises(BadInput, match=r"both 'weight' and 'module\.weight'"):
        load_strict(nn.Linear(1, 1), {"weight": torch.zeros(1, 1), "module.weight": torch.ones(1, 1)})


def test_a_checkpoint_is_cast_and_unused_modules_are_left_out(tmp_path: Path) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2, device="meta")
    state = {f"module.{name}": value.detach() for name, value in source.state_dict().items()}
    save_file({**state, "module.head.weight": torch.ones(1)}, tmp_path / "w.safetensors")
    load_checkpoint(target, tmp_path / "w.safetensors", dtype=torch.float16, unused=("head.",))
    assert torch.equal(target.weight, source.weight.half())
    with pytest.raises(BadInput, match=r"w\.safetensors.*1 extra \(head\.weight\)"):
        load_checkpoint(target, tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("header", "data", "length", "words"),
    [
        ({}, b"", 2**63, "a header of 9223372036854775808 bytes"),
        ({}, b"", 3, "a header of 3 bytes in 10 bytes"),
        (b"{", b"", None, "no JSON"),
        (b"[" * 100_000, b"", None, "no JSON"),
        ([], b"", None, "a list, no object"),
        (b'{"a": 1, "a": 2}', b"", None, "a name given twice"),
        ({"a": 3}, b"", None, "'a' described as 3"),
        ({"a": tensor([1], 0, 4, "F99")}, b"1234", None, "'a' described as"),
        ({"a": tensor([-1], 0, 4)}, b"1234", None, "'a' described as"),
        ({"a": tensor([True], 0, 4)}, b"1234", None, "'a' described as"),
        ({"a": tensor([2**40, 2**40], 0, 4)}, b"1234", None, "in 4 bytes"),
        ({"a": tensor([2**40], 0, 2**42)}, b"1234", None, "tensors of 4398046511104 bytes in 4 bytes"),
        ({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, b"1234", None, "'b' at byte 0 where 4 was due"),
        ({"a": tensor([1], 4, 8)}, b"12345678", None, "'a' at byte 4 where 0 was due"),
        ({"a": tensor([2], 0, 8)}, b"1234", None, "tensors of 8 bytes in 4 bytes of data"),
        ({"a": tensor([1], 0, 4)}, b"12345678", None, "tensors of 4 bytes in 8 bytes of data"),
    ],
)
def test_lying_headers_are_refused(tmp_path: Path, header: object, data: bytes, length: int | None, words: str) -> None:
    path = written(tmp_path / "lie.safetensors", header, data, length)
    with pytest.raises(BadInput) as caught:
        load_state(path)
    assert words in str(caught.value) and "lie.safetensors" in str(caught.value)


def test_a_giant_header_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "giant.safetensors"
    with path.open("wb") as file:
        file.write((HEADER_BYTES_MAX + 1).to_bytes(8, "little"))
        file.truncate(HEADER_BYTES_MAX + 100)  # sparse
    with pytest.raises(BadInput, match="a header of 16777217 bytes"):
        load_state(path)


@pytest.mark.parametrize("name", ["nowhere.safetensors", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="expected a whole safetensors file"):
        load_state(tmp_path / name)
    (tmp_path / "short").write_bytes(b"1234")
    with pytest.raises(BadInput, match="in 4 bytes"):
        load_state(tmp_path / "short")
