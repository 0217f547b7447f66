"""Turn a fresh clone into a running program: system packages, .venv, ROS 2 and torch wheels, interfaces.

Uses the standard library alone. Every step leaves a stamp with a hash of what it was made from, so that
a step that is done costs nothing and an interrupted set-up continues where it stopped.

    setup.py            do whatever is not done yet
    setup.py build      the same, and run colcon even where nothing seems to have changed
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python3"
STATE = VENV / ".geoseg"
LOCK = ROOT / "requirements" / "robot.lock"
TORCH = "torch==2.13.0"
VERSIONS = ((3, 11), (3, 12), (3, 13))

SIGN_OF_LIFE_S = 15

BUILD_TOOLS = ["g++", "make", "cmake"]
# Open3D loads libusb, libGL, libEGL and libX11 when it is imported; MuJoCo renders headless with OSMesa.
SHARED_LIBRARIES = ["libusb-1.0-0", "libgl1", "libegl1", "libx11-6", "libosmesa6"]
# Left by a sourced ROS workspace or an activated environment: they would mix two installations. MAKEFLAGS is that of
# the make that called us.
FOREIGN_VARIABLES = [
    "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "MAKEFLAGS",
]  # fmt: skip
INDEX_ADVICE = "Look whether the network and the package index (see `pip config list`) answer and the disk has room."


class StepFailed(Exception):
    """A step that could not be done; the message says why and what to do."""


class Step(NamedTuple):
    """One step: done when `is_done()`, else `do()`; `record()` remembers that it was."""

    title: str
    is_done: Callable[[], bool]
    do: Callable[[], None]
    record: Callable[[], object] = lambda: None


def main() -> int:
    """Do every step that is not done yet; 0 when all is in place."""
    if sys.prefix != sys.base_prefix:
        # An activated environment, perhaps the very one that is about to be made anew.
        os.execv(sys._base_executable, [sys._base_executable, "-I", *sys.argv])  # type: ignore[attr-defined]
    for name in FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    wait_for_other_setups()
    steps = list(all_steps(force_build="build" in sys.argv[1:]))
    began = time.monotonic()
    outcomes = [run_step(f"[{number}/{len(steps)}]", step) for number, step in enumerate(steps, 1)]
    if any(outcomes):
        say(f"set-up finished in {time.monotonic() - began:.0f} s; the command is .venv/bin/geoseg")
    return 0


def all_steps(force_build: bool) -> Iterable[Step]:
    """The steps in the order in which they are done."""
    yield Step("system packages", lambda: not missing_packages(), install_system_packages)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    yield stamped("venv", "virtual environment .venv", [python, ROOT], make_venv)
    yield stamped("lock", "locked packages, ROS 2 Jazzy among them", [LOCK.read_bytes()], install_locked)
    yield stamped("torch", f"{TORCH}, the build that fits this machine", [TORCH], install_torch)
    yield stamped("cmake", "paths in the wheels' CMake files", [LOCK.read_bytes()], patch_cmake_exports)
    yield stamped("build", "interfaces and package, with colcon", build_inputs(), colcon_build, force=force_build)


def stamped(name: str, title: str, inputs: Iterable[object], action: Callable[[], None], force: bool = False) -> Step:
    """A step that is done while its stamp holds the hash of its inputs."""
    stamp = STATE / name
    wanted = hashlib.sha256("\0".join(map(repr, inputs)).encode()).hexdigest()

    def do() -> None:
        stamp.unlink(missing_ok=True)
        action()

    def record() -> None:
        STATE.mkdir(exist_ok=True)
        stamp.write_text(wanted)

    return Step(title, lambda: not force and stamp.is_file() and stamp.read_text() == wanted, do, record)


def run_step(label: str, step: Step) -> bool:
    """Do one step with a line before and after it; whether there was anything to do."""
    if step.is_done():
        return False
    say(f"{label} {step.title}")
    started = time.monotonic()
    try:
        step.do()
    except StepFailed as failure:
        sys.exit(
            f"\nset-up: step {label} ({step.title}) failed.\n{failure}\n"
            "Then run the same command again: it continues with this step."
        )
    step.record()
    say(f"{label} done in {time.monotonic() - started:.0f} s")
    return True


def missing_packages() -> list[str]:
    """Debian packages that the other steps need and that are not here; empty where there is no dpkg."""
    if not shutil.which("dpkg-query"):
        return []
    wanted = BUILD_TOOLS + SHARED_LIBRARIES
    query = ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *wanted]
    answer = subprocess.run(query, capture_output=True, text=True).stdout
    missing = [name for name in wanted if f"{name} installed" not in answer.splitlines()]
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not importlib.util.find_spec("ensurepip"):
        missing.append(f"{python}-venv")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append(f"{python}-dev")
    return missing


def install_system_packages() -> None:
    missing = missing_packages()
    if os.geteuid() and not shutil.which("sudo"):
        raise StepFailed(
            f"Expected root or sudo, found neither. Ask who has them for: apt-get install -y {' '.join(missing)}"
        )
    prefix = ["sudo"] if os.geteuid() else []
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    advice = "Look whether the network and the package sources (/etc/apt/sources.list*) answer."
    say(f"      {' '.join(missing)}")
    run("apt", [*prefix, "apt-get", "update", "-q"], advice, show=r"^(Err|E:|W:)")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    run("apt", [*prefix, *install], advice, show=r"^(Need to get|Fetched|Err)")


def make_venv() -> None:
    if sys.version_info[:2] not in VERSIONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in VERSIONS)
        raise StepFailed(
            f"Expected Python {known} (ROS 2 Jazzy wheels exist for these), got {sys.version.split()[0]} "
            f"at {sys.executable}. Name another one: make setup PYTHON=/path/to/python3.11"
        )
    advice = "Name another Python: make setup PYTHON=/path/to/python3.11"
    run("venv", [sys.executable, "-I", "-m", "venv", "--clear", str(VENV)], advice)


def install_locked() -> None:
    arguments = ["--require-hashes", "--no-deps", "-r", str(LOCK)]
    pip_install("lock", arguments, total=len(re.findall(r"^\S+==", LOCK.read_text(), re.MULTILINE)))


def install_torch() -> None:
    # Its version is fixed but not its hash: an index may offer a build with or without CUDA.
    pip_install("torch", [TORCH])


def pip_install(name: str, arguments: list[str], total: int = 0) -> None:
    pip = [str(PYTHON), "-m", "pip", "install", "--progress-bar=off", *arguments]
    # One line for each large file; the small ones are counted in it.
    large = r"\d\d\.\d MB\)|GB\)|^Installing|^ERROR"
    run(name, pip, INDEX_ADVICE, show=large, count="^(Collecting|Processing)", total=total)


def patch_cmake_exports() -> None:
    """Put this environment's paths where the wheels' CMake files name those of the machine that built them."""
    include = sysconfig.get_path("include")
    for path in (VENV / "share").rglob("*.cmake"):
        text = path.read_text()
        patched = re.sub(r"/opt/python/cp\d+-cp\d+/include/python[\d.]+", lambda _: include, text)
        patched = re.sub(r"/opt/python/cp\d+-cp\d+/lib", lambda _: str(VENV / "lib"), patched)
        if patched != text:
            path.write_text(patched)


def build_inputs() -> list[object]:
    """What the installed package is made of; the Python sources are imported from the source tree itself."""
    folders = ["msg", "srv", "action", "compat", "scripts"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [ROOT / name for name in ("CMakeLists.txt", "package.xml", "geoseg_ros/__init__.py")]
    nodes = sorted(path.name for path in (ROOT / "geoseg_ros" / "nodes").glob("*.py"))
    contents = [(str(path.relative_to(ROOT)), path.read_bytes()) for path in sorted(files) if path.suffix != ".pyc"]
    return [LOCK.read_bytes(), nodes, contents]


def colcon_build() -> None:
    """Install into .venv, so that its programs find the interfaces without a setup file being sourced."""
    os.environ["AMENT_PREFIX_PATH"] = os.environ["CMAKE_PREFIX_PATH"] = str(VENV)
    colcon = [str(PYTHON), "-m", "colcon", "--log-base", str(ROOT / "build" / "log"), "build"]
    colcon += ["--base-paths", str(ROOT), str(ROOT / "compat" / "tf2_msgs"), "--build-base", str(ROOT / "build")]
    colcon += ["--install-base", str(VENV), "--merge-install", "--executor", "sequential"]
    colcon += ["--event-handlers", "console_cohesion+", "--cmake-args", "--no-warn-unused-cli"]
    colcon += ["-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={PYTHON}", "-DGEOSEG_DEVELOP=ON"]
    advice = "Correct what the log names; after a change of compiler or Python, `make clean` first."
    run("build", colcon, advice, show=r"^(Starting|Finished|Failed)")


def run(name: str, command: list[str], advice: str, show: str = "$^", count: str = "$^", total: int = 0) -> None:
    """Run a command, all of it into a log, lines that match `show` to the screen, else a sign of life now and then.

    Lines that match `count` are counted, up to `total`.

    Raises:
        StepFailed: it is not there or ended with an error; with the command, the last lines and the advice.
    """
    log_path = ROOT / "build" / "setup" / f"{name}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    started = spoken = time.monotonic()
    lines: list[str] = []
    counted = 0
    with open(log_path, "w") as log, start(command) as process:
        for line in lines_of(process):
            if line is not None:
                log.write(line)
                lines.append(line.strip())
                counted += bool(re.search(count, line))
            if line is not None and re.search(show, line):
                prefix = f"{counted}/{total} " if total else ""
            elif time.monotonic() - spoken > SIGN_OF_LIFE_S:
                prefix = f"{time.monotonic() - started:.0f} s: "
            else:
                continue
            say(f"      {prefix}{(lines or [''])[-1][:100]}")
            spoken = time.monotonic()
    if process.returncode:
        tail = "\n".join(f"    {line}" for line in lines[-15:])
        ending = f"Exit status {process.returncode}, last lines of {log_path}:"
        raise StepFailed(f"Command: {shlex.join(command)}\n{ending}\n{tail}\n{advice}")


def start(command: list[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        raise StepFailed(f"Command: {shlex.join(command)}\nIt could not be started: {error}") from error


def lines_of(process: subprocess.Popen[str]) -> Iterable[str | None]:
    """The lines of its output as they come; None after every second of silence."""
    waiting: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or []:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=1)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def wait_for_other_setups() -> None:
    """One set-up at a time in one checkout; the lock ends with the process."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up is at work in this checkout: waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nset-up: interrupted. Run the same command again: it continues where it stopped.")
