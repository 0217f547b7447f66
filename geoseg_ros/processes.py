"""Child processes that never outlive their parent and whose failures are told with the end of their log."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from geoseg_core.errors import GeosegError

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT_S = 10.0
TAIL_LINES = 15
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ChildFailed(GeosegError):
    """A process that ended when it should not have."""

    def __init__(self, name: str, status: int | None, log: Path, tail: str) -> None:
        ended = "did not end" if status is None else f"ended with status {status}"
        super().__init__(f"{name} {ended}; the end of {log}:\n{tail}")


def die_with_parent() -> None:
    """Called in the child: the kernel kills it when its parent dies, whatever killed that (Linux)."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def geoseg_command(*arguments: str) -> list[str]:
    """The command line of a `geoseg` subcommand, run by this Python."""
    return [sys.executable, "-m", "geoseg_core.cli", *arguments]


class Child:
    """A command in its own process, its output in a log file; leaving the `with` block stops it."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        self._command = list(command)
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Child":
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (the parent starts no threads before its children)
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def check(self) -> None:
        """Raise ChildFailed if it has ended, other than with status 0."""
        if self.status not in (None, 0):
            raise self.failure()

    def failure(self) -> ChildFailed:
        """What to raise about it."""
        return ChildFailed(self.name, self.status, self.log, self.tail())

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def stop(self) -> None:
        """SIGINT, and SIGKILL for one that does not end in time."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            self._process.kill()
        self._process.wait()
