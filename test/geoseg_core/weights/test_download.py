"""`geoseg weights pull` as it is typed, against a server that speaks the hub's protocol."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hub_server import Hub, HubFile
from safetensors.torch import save

PULL = [sys.executable, "-m", "geoseg_core.cli", "weights"]
# A registry with one small checkpoint, where the published ones are too large to serve.
SMALL = """
import sys
import termios
from geoseg_core.weights import registry
registry.CHECKPOINTS = (registry.Checkpoint("small", "someone/small", "12aa6fa", "w.safetensors", "a licence", "tests",
                                            {size}, "{sha256}"),)
from geoseg_core import cli
sys.exit(cli.main(["weights", *sys.argv[1:]]))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    unset = ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    folders = {"GEOSEG_WEIGHTS": str(tmp_path / "weights"), "HF_HOME": str(tmp_path / "hf")}
    return {**kept, **folders, "HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def pickled(**tensors: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save({"model": tensors, "epoch": 12}, stream)
    return stream.getvalue()


def geoseg(environment: dict[str, str], *words: str, command: list[str] = PULL) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )


def small(data: bytes, digest_of: bytes | None = None) -> list[str]:
    digest = hashlib.sha256(data if digest_of is None else digest_of).hexdigest()
    return [sys.executable, "-c", SMALL.format(size=len(data), sha256=digest)]


def kept_files(environment: dict[str, str]) -> list[str]:
    return sorted(path.name for path in Path(environment["GEOSEG_WEIGHTS"]).rglob("*") if path.is_file())


def test_pull_verify_convert_and_where_of_a_published_pickle(hub: Hub, environment: dict[str, str]) -> None:
    data = pickled(weight=torch.arange(6.0))
    hub.files["/zbbhhh/VGGT-S/resolve/main/main_exp.pth"] = HubFile(data)
    target = Path(environment["GEOSEG_WEIGHTS"]) / "vggt-s" / "main_exp.pth"
    missing = geoseg(environment, "where", "vggt-s")
    assert (missing.returncode, missing.stdout.strip()) == (1, str(target))

    pulled = geoseg(environment, "pull", "vggt-s", "--accept-licence")
    assert pulled.returncode == 0, pulled.stderr
    assert "licence: Apache-2.0" in pulled.stdout and hashlib.sha256(data).hexdigest() in pulled.stdout
    assert target.read_bytes() == data
    assert geoseg(environment, "where", "VGGT-S").stdout.strip() == str(target)

    converted = geoseg(environment, "convert", str(target))
    assert "1 tensors, without epoch" in converted.stdout, converted.stderr
    assert geoseg(environment, "where", "vggt-s").stdout.strip() == str(target.with_suffix(".safetensors"))
    verified = geoseg(environment, "verify", "vggt-s")
    assert verified.returncode == 0 and verified.stdout.count("sha256") == 2
    assert kept_files(environment) == ["main_exp.pth", "main_exp.safetensors"]

    asked_before = len(hub.requests)
    again = geoseg(environment, "pull", "vggt-s", "--accept-licence")
    assert again.returncode == 0 and len(hub.requests) == asked_before, "what is here is not fetched again"


def test_nothing_is_fetched_without_consent_to_the_licence(hub: Hub, environment: dict[str, str]) -> None:
    ended = geoseg(environment, "pull", "vggt-1b")
    assert ended.returncode == 1
    assert "licence: CC BY-NC 4.0" in ended.stdout and "--accept-licence" in ended.stderr
    assert hub.requests == [] and kept_files(environment) == []


def test_a_person_at_a_terminal_is_asked_and_sees_the_progress(hub: Hub, environment: dict[str, str]) -> None:
    data = save({"weight": torch.arange(1000.0)})
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data)
    outcomes = {}
    for answer in ("no", "yes"):
        ours, theirs = os.openpty()
        termios.tcsetwinsize(ours, (24, 100))
        os.write(ours, f"{answer}\n".encode())
        process = subprocess.Popen(
            [*small(data), "pull", "small"], env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
        )
        out = process.communicate(timeout=60)[0].decode()
        screen = os.read(ours, 100_000).decode()
        os.close(ours)
        os.close(theirs)
        outcomes[answer] = process.returncode, out, screen
    assert outcomes["no"][0] == 1 and "accept this licence?" in outcomes["no"][1]
    assert "add --accept-licence" in outcomes["no"][2] and "100%" not in outcomes["no"][2]
    assert outcomes["yes"][0] == 0 and "100%" in outcomes["yes"][2]


def test_an_interrupted_download_is_continued_by_the_next(hub: Hub, environment: dict[str, str]) -> None:
    data = save({"weight": torch.arange(6_000_000.0)})
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data, hold_after=12_000_000)
    command = [*small(data), "pull", "small", "--accept-licence"]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    folder = Path(environment["GEOSEG_WEIGHTS"])
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in folder.rglob("*.part")) < 10_000_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, words = first.communicate(timeout=60)
    assert first.returncode == 130 and "continues where this one stopped" in words
    have = sum(path.stat().st_size for path in folder.rglob("*.part"))
    assert 10_000_000 <= have < len(data) and not (folder / "small" / "w.safetensors").exists()

    second = geoseg(environment, "pull", "small", "--accept-licence", command=small(data))
    assert second.returncode == 0, second.stderr
    assert hub.ranges() == [None, f"bytes={have}-"]
    assert (folder / "small" / "w.safetensors").read_bytes() == data
    assert kept_files(environment) == ["w.safetensors"]
    assert "published as small" in second.stdout


def test_a_remnant_that_is_too_long_is_thrown_away(hub: Hub, environment: dict[str, str]) -> None:
    data = save({"weight": torch.arange(10.0)})
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data)
    part = (
        Path(environment["GEOSEG_WEIGHTS"]) / "small" / f".w.safetensors.{hashlib.sha256(data).hexdigest()[:16]}.part"
    )
    part.parent.mkdir(parents=True)
    part.write_bytes(data + b"more")
    assert geoseg(environment, "pull", "small", "--accept-licence", command=small(data)).returncode == 0
    assert kept_files(environment) == ["w.safetensors"]


def test_two_downloads_of_one_file_do_not_mix(hub: Hub, environment: dict[str, str]) -> None:
    data = save({"weight": torch.arange(10.0)})
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data)
    part = (
        Path(environment["GEOSEG_WEIGHTS"]) / "small" / f".w.safetensors.{hashlib.sha256(data).hexdigest()[:16]}.part"
    )
    part.parent.mkdir(parents=True)
    with FileLock(f"{part}.lock"):
        ended = geoseg(environment, "pull", "small", "--accept-licence", command=small(data))
    assert ended.returncode == 1 and "another process is fetching small" in ended.stderr
    assert hub.ranges() == []


def test_a_broken_connection_is_continued_at_once(hub: Hub, environment: dict[str, str]) -> None:
    data = save({"weight": torch.arange(3_000_000.0)})
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data, break_after=[11_000_000])
    ended = geoseg(environment, "pull", "small", "--accept-licence", command=small(data))
    assert ended.returncode == 0, ended.stderr
    assert hub.ranges()[0] is None and str(hub.ranges()[1]).startswith("bytes=")
    assert (Path(environment["GEOSEG_WEIGHTS"]) / "small" / "w.safetensors").read_bytes() == data


def test_a_wrong_checksum_is_refused_and_not_kept(hub: Hub, environment: dict[str, str]) -> None:
    sent = save({"weight": torch.zeros(1000)})
    meant = save({"weight": torch.ones(1000)})
    stated = hashlib.sha256(meant).hexdigest()
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(sent, stated_sha256=stated)
    ended = geoseg(environment, "pull", "small", "--accept-licence", command=small(sent, digest_of=meant))
    assert ended.returncode == 1
    assert f"expected sha256 {stated}, got {hashlib.sha256(sent).hexdigest()}" in ended.stderr
    assert not [name for name in kept_files(environment) if not name.endswith(".lock")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stated_sha256": "0" * 64}, "expected sha256"),
        ({"commit": "f" * 40}, "expected revision 12aa6fa, the hub offers fffffff"),
        ({"data": b"another length"}, "expected size"),
    ],
)
def test_another_file_than_the_registry_knows_is_not_fetched(
    hub: Hub, environment: dict[str, str], change: dict[str, object], words: str
) -> None:
    data = save({"weight": torch.zeros(1000)})
    offered = {"data": data, "stated_sha256": hashlib.sha256(data).hexdigest(), **change}
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(**offered)  # type: ignore[arg-type]
    ended = geoseg(environment, "pull", "small", "--accept-licence", command=small(data))
    assert ended.returncode == 1 and words in ended.stderr and "nothing was fetched" in ended.stderr
    assert hub.ranges() == []


def test_a_published_file_with_a_broken_header_is_not_kept(hub: Hub, environment: dict[str, str]) -> None:
    data = (2**40).to_bytes(8, "little") + b"{}"
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data)
    ended = geoseg(environment, "pull", "small", "--accept-licence", command=small(data))
    assert ended.returncode == 1 and "a header of 1099511627776 bytes" in ended.stderr
    assert not [name for name in kept_files(environment) if not name.endswith(".lock")]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (HubFile(b"", status=403, error_code="GatedRepo"), "gated; accept its terms at https://huggingface.co/someone"),
        (HubFile(b"", status=401, error_code="RepoNotFound"), "RepositoryNotFoundError"),
        (None, "RemoteEntryNotFoundError"),
    ],
)
def test_what_the_hub_refuses_is_named(hub: Hub, environment: dict[str, str], file: HubFile | None, words: str) -> None:
    if file is not None:
        hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = file
    ended = geoseg(environment, "pull", "small", "--accept-licence", command=small(b"12345678"))
    assert ended.returncode == 1 and words in ended.stderr and "Traceback" not in ended.stderr


def test_a_token_goes_to_the_hub_and_nowhere_else(hub: Hub, environment: dict[str, str]) -> None:
    data = save({"weight": torch.zeros(10)})
    hub.files["/someone/small/resolve/12aa6fa/w.safetensors"] = HubFile(data)
    with_token = {**environment, "HF_TOKEN": "hf_secret"}
    assert geoseg(with_token, "pull", "small", "--accept-licence", command=small(data)).returncode == 0
    assert hub.tokens == {"hub: Bearer hf_secret"} and hub.ranges() == [None]


def test_without_a_network_the_download_says_so(environment: dict[str, str]) -> None:
    ended = geoseg({**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}, "pull", "vggt-1b", "--accept-licence")
    assert ended.returncode == 1
    assert "127.0.0.1:9/facebook/VGGT-1B" in ended.stderr and "it continues where" in ended.stderr


def test_without_the_extra_the_download_names_it(environment: dict[str, str]) -> None:
    script = "import sys; sys.modules['huggingface_hub'] = None\n" + SMALL.format(size=1, sha256="0")
    ended = geoseg(environment, "pull", "small", "--accept-licence", command=[sys.executable, "-c", script])
    assert ended.returncode == 1 and "pip install 'geoseg[weights]'" in ended.stderr
    assert geoseg(environment, "list", command=[sys.executable, "-c", script]).returncode == 0
